/** What may stand in `event.yaml`: one schema, a field each. */
import { z } from 'zod';
import { EVENT_THROTTLE_PER, SEVERITIES, type RecipientRule, type Severity } from '../domain/event.ts';
import { MAX_DIGEST_DAYS, MAX_DIGEST_MS, MIN_DIGEST_MS } from '../domain/digest.ts';
import { MAX_PER_WINDOW, MAX_WINDOW_S } from '../domain/throttle.ts';
import { comesWithin, cronProblem } from '../lib/cron.ts';
import { parseDuration } from '../lib/duration.ts';
import { checkChannels, type KnownChannels } from './channel-rules.ts';
import { parsePath, type JsonPath } from './json-path.ts';

const MAX_RULES = 20;
const MAX_TAGS = 32;

const id = z.string().min(1).max(256);
const severity = z.enum(Object.keys(SEVERITIES) as Severity[]);
/** A text with `{{ … }}` in it. */
const text = z.string().min(1).max(500);
const path = z.string().transform((value, context) => {
  const parsed = parsePath(value);
  if (parsed) return { path: parsed, text: value };
  context.addIssue({ code: 'custom', message: 'must be a path such as $.user_id, $.members[*].id or $.teams[0]' });
  return z.NEVER;
});
const duration = z.string().transform((value, context) => {
  const ms = parseDuration(value);
  if (ms !== undefined && ms > 0) return ms;
  context.addIssue({ code: 'custom', message: 'must be a time such as 30m, 12h or 7d' });
  return z.NEVER;
});

const recipient = z.union([
  z.literal('default').transform(() => 'default' as const),
  z.strictObject({ role: id }).transform((rule) => ({ rules: [rule] as readonly RecipientRule[] })),
  z.strictObject({ users: z.array(id).min(1).max(1_000) }).transform(({ users }) => ({ rules: users })),
  z
    .strictObject({ active_within: z.string().regex(/^[1-9]\d{0,4}[smhd]$/) })
    .transform((rule) => ({ rules: [rule] as readonly RecipientRule[] })),
  z.strictObject({ topic: text }),
  z.strictObject({ path }).transform((rule) => rule.path),
]);
const excluded = z.union([
  z.strictObject({ path }).transform((rule) => rule.path),
  z.strictObject({ users: z.array(id).min(1).max(1_000) }),
]);

/** One rule of `recipients`: those who answer for the account, fixed ones, a topic's subscribers, or a path into the data. */
export type RecipientSource =
  | 'default'
  | { readonly rules: readonly RecipientRule[] }
  | { readonly topic: string }
  | { readonly path: JsonPath; readonly text: string };

const MAX_WINDOW_MS = MAX_WINDOW_S * 1_000;

const throttle = z.strictObject({
  limit: z.int().min(1).max(MAX_PER_WINDOW),
  window: duration.refine((ms) => ms >= 1_000 && ms <= MAX_WINDOW_MS, 'must be a time from 1s to 30d'),
  per: z
    .array(z.enum(['user', ...EVENT_THROTTLE_PER]))
    .refine((per) => per.includes('user'), `must name user, and may name ${EVENT_THROTTLE_PER.join(', ')} besides`),
  over: z.enum(['skip', 'digest']).default('skip'),
});

const interval = duration.refine((ms) => ms >= MIN_DIGEST_MS && ms <= MAX_DIGEST_MS, `must be a time from 1m to ${MAX_DIGEST_DAYS}d`);
const cron = z
  .string()
  .max(100)
  .refine((rule) => cronProblem(rule) === undefined, 'must be five fields, such as 0 9 * * 1-5')
  .refine(
    (rule) => cronProblem(rule) !== undefined || comesWithin(rule, MAX_DIGEST_MS),
    `must come round at least every ${MAX_DIGEST_DAYS} days`,
  );

const digest = z
  .strictObject({ key: text.optional(), every: interval.optional(), cron: cron.optional(), only_if: z.enum(['unread']).optional() })
  .refine(({ every, cron: pattern }) => (every === undefined) !== (pattern === undefined), 'must have either every or cron');

/** One channel of `channels`. */
const channelFields = {
  severities: z.array(severity).min(1).optional(),
  delay: duration.optional(),
  only_if: z.literal('unread', 'must be unread').optional(),
};

const fields = {
  title: z.string().min(1).max(200).optional(),
  category: z
    .string()
    .regex(/^[\w.-]{1,64}$/, 'must be 1 to 64 letters, digits, dots, dashes or underscores')
    .optional(),
  severity: severity.default('medium'),
  critical: z.boolean().default(false),
  tags: z.array(text).max(MAX_TAGS).default([]),
  tags_required: z.boolean().default(false),
  recipients: z.array(recipient).max(MAX_RULES).default([]),
  exclude: z.array(excluded).max(MAX_RULES).default([]),
  /** Not said: the account's destinations are told of what has recipients. */
  destinations: z.boolean().optional(),
  throttle: throttle.optional(),
  digest: digest.optional(),
  expires_after: duration.optional(),
  action_url: text.optional(),
  layout: z
    .string()
    .regex(/^[\w-]{1,64}$/, 'must be the name of a file in _layouts, without its ending')
    .optional(),
  lenient: z.boolean().default(false),
  data: z.record(z.string(), z.unknown()).optional(),
};

/** `known` are the channels that this installation knows; null: any, for what has been checked before. */
export function definitionSchema(known: KnownChannels | null) {
  const channels = z.record(z.string(), z.strictObject(channelFields).nullable()).superRefine((rules, context) => {
    checkChannels(rules, known, context);
  });
  return z.strictObject({ ...fields, channels: channels.optional() });
}

export type Definition = z.output<ReturnType<typeof definitionSchema>>;

/** What an empty file says. */
export const NOTHING_SAID: Definition = definitionSchema(null).parse({});

/** Names that are known there, to suggest the nearest one. */
export function namesAt([first, ...rest]: readonly PropertyKey[], channels: KnownChannels | null): readonly string[] {
  if (first === undefined) return [...Object.keys(fields), 'channels'];
  if (first === 'throttle' && rest.length === 0) return Object.keys(throttle.shape);
  if (first === 'digest' && rest.length === 0) return Object.keys(digest.shape);
  if (first !== 'channels') return [];
  return rest.length === 0 ? Object.keys(channels ?? {}) : Object.keys(channelFields);
}

/** What a value that fits none of the forms should be. */
export function formsOf([first]: readonly PropertyKey[]): string {
  return first === 'exclude'
    ? 'must be { path: $.… } or { users: […] }'
    : 'must be default, { role: … }, { path: $.… }, { topic: … }, { users: […] } or { active_within: 30d }';
}
