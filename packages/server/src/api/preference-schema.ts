/** Preferences as they are sent and answered: of a user, and of a tenant for everybody. */
import { z } from 'zod';
import { IN_APP, type AddressRule, type ChannelFacts, type ChannelName } from '../domain/channel.ts';
import { MAX_DIGEST_DAYS, MAX_DIGEST_MS, MIN_DIGEST_MS, NO_DIGEST } from '../domain/digest.ts';
import { INLINE_TYPE, SEVERITIES, type Severity } from '../domain/event.ts';
import { LAYERS, type ChannelPreference, type Preferences } from '../domain/preference.ts';
import { DAYS, longestQuiet, MAX_QUIET_DAYS } from '../domain/quiet-hours.ts';
import { parseDuration } from '../lib/duration.ts';
import { addressSchema } from './address-schema.ts';
import { tag, type AddressChecks } from './event-schema.ts';
import { callerId, queryList, timestamp, wireTime } from './schema.ts';
import { timeZone } from './user-schema.ts';

export type KnownChannels = ReadonlyMap<ChannelName, ChannelFacts>;

/** Read with every event that concerns the user. */
const MAX_GROUPS = 200;
const MAX_TAGS = 100;

const severity = z.enum(Object.keys(SEVERITIES) as Severity[]);
const severities = z.array(severity).max(Object.keys(SEVERITIES).length);
const tags = z.array(tag).max(MAX_TAGS);
const time = z.string().regex(/^(?:[01]\d|2[0-3]):[0-5]\d$/, 'A time from 00:00 to 23:59.');

const quietHours = z
  .strictObject({
    enabled: z.boolean(),
    start: time,
    end: time.describe('Not after the start: on the next day. As the start: 24 hours later.'),
    time_zone: timeZone.optional().describe("IANA name. Absent: the user's, else UTC."),
    days: z.array(z.enum(DAYS)).max(DAYS.length).optional().describe('On which a window begins. Absent: every day.'),
    let_through: severities.optional().describe('Severities that are sent all the same. Absent: urgent.'),
  })
  .refine((hours) => !(longestQuiet(hours) > MAX_QUIET_DAYS), {
    path: ['days'],
    error: `At most ${MAX_QUIET_DAYS} days in a row may be quiet. To be told nothing, switch the channel off.`,
    params: { code: 'too_long' },
    when: ({ issues }) => issues.length === 0,
  })
  .meta({ id: 'QuietHours' });

const digest = z
  .string()
  .refine((text) => text === NO_DIGEST || isInterval(text), {
    error: `A time from 1m to ${MAX_DIGEST_DAYS}d, for example 15m, or off.`,
    params: { code: 'invalid_interval' },
  })
  .describe('What comes within that time is sent as one message: the first item opens it. `off`: at once, whatever the event type says.');

function isInterval(text: string): boolean {
  const ms = parseDuration(text) ?? 0;
  return ms >= MIN_DIGEST_MS && ms <= MAX_DIGEST_MS;
}

const filters = {
  enabled: z.boolean().optional(),
  severities: severities.optional().describe('Any of them. Empty: all.'),
  include_tags: tags.optional().describe('At least one of them. Empty: any.'),
  exclude_tags: tags.optional().describe('None of them; wins over `include_tags`.'),
};

/** Neither held nor collected: the inbox shows each at once. */
function channelSchema({ name, address }: ChannelFacts, checks: AddressChecks | null): z.ZodType<ChannelPreference> {
  const waits = name === IN_APP ? undefined : { quiet_hours: quietHours.optional(), digest: digest.optional() };
  const schema: z.ZodType = z.strictObject({
    ...filters,
    ...waits,
    ...(address && checks ? fieldsOf(address, checks) : {}),
  });
  return schema as z.ZodType<ChannelPreference>; // its fields' names come from the channel
}

function fieldsOf(address: AddressRule, checks: AddressChecks) {
  const { field, alias, words } = address;
  const schema = addressSchema(address, checks).optional();
  return { [field]: schema.describe(words), ...(alias !== undefined && { [alias]: schema.describe(`The same as \`${field}\`.`) }) };
}

function schemaOf(known: KnownChannels, checks: AddressChecks | null): z.ZodType<Preferences> {
  const channels = z
    .strictObject(Object.fromEntries([...known.values()].map((facts) => [facts.name, channelSchema(facts, checks).optional()])))
    .meta({ id: checks ? 'ChannelPreferences' : 'ChannelDefaults' });
  const groups = z.record(callerId, channels).refine((record) => Object.keys(record).length <= MAX_GROUPS, {
    error: `At most ${MAX_GROUPS}.`,
    params: { code: 'too_big' },
  });
  return z.strictObject({
    channels: channels.default({}),
    categories: groups.optional().describe('By category of the event types.'),
    event_types: groups.optional(),
    quiet_hours: quietHours.optional().describe('For every channel but the inbox.'),
  });
}

export function preferencesSchema(known: KnownChannels, checks: AddressChecks): z.ZodType<Preferences> {
  return schemaOf(known, checks);
}

/** Nobody's address. */
export function defaultsSchema(known: KnownChannels): z.ZodType<Preferences> {
  return schemaOf(known, null);
}

export const EffectiveQuery = z.strictObject({
  type: callerId.default(INLINE_TYPE),
  category: callerId.optional(),
  severity: severity.default('medium'),
  tags: queryList(tag).default([]),
  critical: z
    .enum(['true', 'false'])
    .default('false')
    .transform((text) => text === 'true'),
  at: timestamp.optional().describe('Instead of now.'),
});

export const EffectiveAnswer = z.object({
  type: z.string(),
  category: z.string().nullable(),
  severity: z.string(),
  tags: z.array(z.string()),
  critical: z.boolean(),
  at: wireTime,
  channels: z.array(
    z.object({
      channel: z.string(),
      result: z.enum(['deliver', 'hold', 'skip']),
      reason: z.string().nullable().describe('Null: nothing stops it.'),
      sentence: z.string(),
      hint: z.string(),
      said_by: z.enum(LAYERS).nullable().describe('The preference that decided it; null: none.'),
      held_until: wireTime.nullable(),
      address: z.string().nullable().describe('Masked.'),
    }),
  ),
});
