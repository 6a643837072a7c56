/** What an event type may say of a channel. */
import type { z } from 'zod';
import { IN_APP } from '../domain/channel.ts';
import { formatDuration } from '../lib/duration.ts';

/** Of this installation, by name. A longer delay would not leave room for everything else that can hold a delivery up. */
export type KnownChannels = Readonly<Record<string, { readonly maxDelayMs: number }>>;

interface ChannelRule {
  readonly delay?: number | undefined;
  readonly only_if?: 'unread' | undefined;
}

type Rules = Readonly<Record<string, ChannelRule | null>>;

/** `known`: null for what has been checked before. */
export function checkChannels(rules: Rules, known: KnownChannels | null, context: z.RefinementCtx): void {
  const keys = Object.keys(rules).filter((name) => known && !Object.hasOwn(known, name));
  if (keys.length > 0) context.addIssue({ code: 'unrecognized_keys', keys, input: rules });
  for (const [name, rule] of Object.entries(rules))
    for (const [field, message] of problemsOf(name, rule ?? {}, { known, hasInbox: IN_APP in rules }))
      context.addIssue({ code: 'custom', path: [name, field], message, input: rule });
}

interface Beside {
  readonly known: KnownChannels | null;
  readonly hasInbox: boolean;
}

function problemsOf(
  name: string,
  { delay, only_if: onlyIf }: ChannelRule,
  { known, hasInbox }: Beside,
): [field: string, message: string][] {
  return [
    ...(delay === undefined ? [] : delayProblems(name, delay, known?.[name]?.maxDelayMs ?? Infinity)),
    ...(onlyIf === undefined ? [] : conditionProblems(delay, hasInbox)),
  ].map(([field, problem]) => [field, `must ${problem}`]);
}

type Found = readonly (readonly [field: string, problem: string])[];

function delayProblems(name: string, ms: number, maxMs: number): Found {
  if (name === IN_APP) return [['delay', 'not stand here: the inbox shows at once; set scheduled_for']];
  return ms > maxMs ? [['delay', `be at most ${shown(maxMs)}: more does not fit in retention.days`]] : [];
}

function conditionProblems(delay: number | undefined, hasInbox: boolean): Found {
  if (delay === undefined) return [['only_if', 'come with delay: nobody has read what has just been sent']];
  return hasInbox ? [] : [['only_if', 'come with the channel in_app: only what is in the inbox can be read there']];
}

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

function shown(ms: number): string {
  const unit = ms >= HOUR_MS ? HOUR_MS : MINUTE_MS;
  return formatDuration(Math.floor(ms / unit) * unit);
}
