/** Destinations as they are sent and answered. A channel's own facts say what its configuration looks like. */
import { z } from 'zod';
import { type AddressRule, type ChannelFacts, type ChannelName } from '../domain/channel.ts';
import { CarillonError, type FieldError } from '../domain/error.ts';
import { shownAddress, type Destination, type DestinationConfig, type DestinationSettings } from '../domain/destination.ts';
import { SEVERITIES, type Severity } from '../domain/event.ts';
import { formatDuration, parseDuration } from '../lib/duration.ts';
import { checkHeaders } from '../lib/egress-url.ts';
import { publicId } from '../lib/id.ts';
import type { StoredDestination } from '../store/destinations.ts';
import { mailbox, phone, webhookUrl, type AddressChecks } from './event-schema.ts';
import { callerId, timestamp, toWire, wireTime } from './schema.ts';
import { invalid } from './validation.ts';

const MAX_EVENTS = 500;
const MAX_TAGS = 100;
const MAX_MAILBOXES = 100;
const MAX_HEADERS = 50;
const MAX_RETRIES = 20;
const MAX_DELAYS = 20;
const MAX_DELAY_MS = 24 * 3_600_000;
const DEFAULT_RETRY = { max_retries: 3, delays: ['30s', '2m', '10m'] };

const tags = z.array(callerId).max(MAX_TAGS);
const delay = z.string().refine(isDelay, { error: 'A time from 1s to 24h, for example 30s.', params: { code: 'invalid_duration' } });
const Retry = z.strictObject({
  max_retries: z.int().min(0).max(MAX_RETRIES).default(DEFAULT_RETRY.max_retries),
  delays: z.array(delay).min(1).max(MAX_DELAYS).default(DEFAULT_RETRY.delays).describe('The last one repeats.'),
});
const events = z
  .record(callerId, z.boolean().nullable())
  .refine((value) => Object.keys(value).length <= MAX_EVENTS, { error: `At most ${MAX_EVENTS} events.`, params: { code: 'too_big' } })
  .describe('Event type, or * for all: true or false. Unlisted or null is off, unless * is on. `inline` is meant by its own name only.');

function isDelay(text: string): boolean {
  const ms = parseDuration(text);
  return ms !== undefined && ms >= 1_000 && ms <= MAX_DELAY_MS;
}

const fields = {
  name: z.string().trim().min(1).max(128),
  config: z.record(z.string(), z.unknown()).describe('What the channel needs: `webhook_url` and `headers`, `email_addresses`, …'),
  active: z.boolean(),
  events,
  severities: z
    .array(z.enum(Object.keys(SEVERITIES) as Severity[]))
    .max(4)
    .describe('Empty: any.'),
  include_tags: tags.describe('At least one of them. Empty: any.'),
  exclude_tags: tags.describe('None of them; wins over `include_tags`.'),
  retry: Retry,
};

export function destinationSchemas(channelNames: readonly ChannelName[]) {
  const created = z.strictObject({
    name: fields.name,
    channel: z.enum(channelNames),
    config: fields.config,
    active: fields.active.default(true),
    events: fields.events.default({}),
    severities: fields.severities.default([]),
    include_tags: fields.include_tags.default([]),
    exclude_tags: fields.exclude_tags.default([]),
    retry: fields.retry.prefault({}),
  });
  return { created, changed: z.strictObject(fields).partial() };
}

export const RecoverBody = z.strictObject({
  since: timestamp.optional().describe('Deliveries of events from then on, those that have failed too. Not set: all that is held.'),
});
export const RotateBody = z.strictObject({ overlap: delay.default('24h').describe('How long the old secret signs too.') });

type Created = z.output<ReturnType<typeof destinationSchemas>['created']>;
type Changed = z.output<ReturnType<typeof destinationSchemas>['changed']>;

function toRetry(retry: z.output<typeof Retry>): Pick<DestinationSettings, 'maxRetries' | 'retryDelaysMs'> {
  return { maxRetries: retry.max_retries, retryDelaysMs: retry.delays.map((text) => parseDuration(text) ?? 0) };
}

export function toSettings(wire: Created): DestinationSettings {
  return {
    name: wire.name,
    active: wire.active,
    events: wire.events,
    severities: [...new Set(wire.severities)],
    includeTags: wire.include_tags,
    excludeTags: wire.exclude_tags,
    ...toRetry(wire.retry),
  };
}

/** What is not sent stays as it is. */
export function merged(now: Destination, wire: Changed): DestinationSettings {
  return {
    name: wire.name ?? now.name,
    active: wire.active ?? now.active,
    events: wire.events ?? now.events,
    severities: wire.severities ? [...new Set(wire.severities)] : now.severities,
    includeTags: wire.include_tags ?? now.includeTags,
    excludeTags: wire.exclude_tags ?? now.excludeTags,
    ...(wire.retry ? toRetry(wire.retry) : { maxRetries: now.maxRetries, retryDelaysMs: now.retryDelaysMs }),
  };
}

const LIST_FIELD = 'email_addresses';

/** Throws `invalid` with pointers into `config`. */
export function toConfig(
  facts: ChannelFacts | undefined,
  config: Readonly<Record<string, unknown>>,
  checks: AddressChecks,
): DestinationConfig {
  if (!facts?.address) refuse({ pointer: '/channel', code: 'invalid_channel', detail: 'This channel has no addresses of its own.' });
  const list = facts.address.format === 'mailbox';
  const field = list ? LIST_FIELD : facts.address.field;
  if (isMissing(config[field])) refuse({ pointer: `/config/${field}`, code: 'required', detail: missing(facts, field) });
  const parsed = z.strictObject({ config: configSchema(facts.address, facts, checks) }).safeParse({ config });
  if (!parsed.success) throw invalid(parsed.error);
  const value: Readonly<Record<string, unknown>> & { readonly headers?: Readonly<Record<string, string>> } = parsed.data.config;
  return { addresses: [...new Set([value[field]].flat() as string[])], list, headers: value.headers ?? {} };
}

function configSchema(address: AddressRule, { signed = false }: ChannelFacts, checks: AddressChecks) {
  const one = addressSchema(address, checks);
  const where = address.format === 'mailbox' ? { [LIST_FIELD]: z.array(one).max(MAX_MAILBOXES) } : { [address.field]: one };
  return z.strictObject(signed ? { ...where, headers: headers.default({}) } : where);
}

function isMissing(value: unknown): boolean {
  return value === undefined || value === null || value === '' || (Array.isArray(value) && value.length === 0);
}

/** Said when it is saved; a destination can't exist without. */
function missing({ title }: ChannelFacts, field: string): string {
  return field === LIST_FIELD ? `${title} needs at least one address in ${field}.` : `${title} needs ${field}.`;
}

function refuse(error: FieldError): never {
  throw new CarillonError('invalid', error.detail, { errors: [error] });
}

const headers = z.record(z.string(), z.string()).check((context) => {
  const many = Object.keys(context.value).length > MAX_HEADERS;
  const message = many ? `At most ${MAX_HEADERS} headers.` : checkHeaders(context.value);
  if (message !== undefined)
    context.issues.push({ code: 'custom', input: context.value, message, params: { code: 'invalid_header' }, continue: true });
});

function addressSchema({ format, pattern, words }: AddressRule, checks: AddressChecks): z.ZodType<string> {
  switch (format) {
    case 'mailbox':
      return mailbox(checks);
    case 'url':
      return webhookUrl(checks);
    case 'phone':
      return phone;
    case 'text':
    case 'json': {
      const text = z.string().min(1).max(4_096);
      return pattern === undefined ? text : text.regex(new RegExp(pattern), `It must be ${words}.`);
    }
  }
}

export const DestinationAnswer = z.object({
  id: z.string(),
  name: z.string(),
  channel: z.string(),
  config: z
    .record(z.string(), z.unknown())
    .describe('Without what is secret: an address that is a credential is cut, headers are named only.'),
  active: z.boolean(),
  events: z.record(z.string(), z.boolean().nullable()),
  severities: z.array(z.string()),
  include_tags: z.array(z.string()),
  exclude_tags: z.array(z.string()),
  retry: z.object({ max_retries: z.int(), delays: z.array(z.string()) }),
  secret_set: z.boolean().describe('The secret itself: GET …/secret.'),
  secret_rotates_until: wireTime.nullable().describe('Until then the secret before it signs too.'),
  disabled_at: wireTime.nullable().describe('By Carillon, after failures.'),
  disabled_reason: z.string().nullable().describe('gone: the far end answered 410. failing: days of nothing but failure.'),
  failing_since: wireTime.nullable(),
  last_error: z.string().nullable(),
  created_at: wireTime,
  updated_at: wireTime,
});

export function viewDestination(destination: StoredDestination, facts: ChannelFacts | undefined): z.output<typeof DestinationAnswer> {
  return {
    id: publicId('dst', destination.id),
    name: destination.name,
    channel: destination.channel,
    config: viewConfig(destination, facts),
    active: destination.active,
    events: { ...destination.events },
    severities: [...destination.severities],
    include_tags: [...destination.includeTags],
    exclude_tags: [...destination.excludeTags],
    retry: { max_retries: destination.maxRetries, delays: destination.retryDelaysMs.map(formatDuration) },
    secret_set: facts?.signed ?? false,
    secret_rotates_until: toWire(destination.previousUntil),
    disabled_at: toWire(destination.disabledAt),
    disabled_reason: destination.disabledReason,
    failing_since: toWire(destination.failingSince),
    last_error: destination.lastError,
    created_at: toWire(destination.createdAt),
    updated_at: toWire(destination.updatedAt),
  };
}

/** A channel that was taken out of the configuration tells nothing of its addresses. */
function viewConfig({ addresses, list, headers: own }: DestinationConfig, facts: ChannelFacts | undefined): Record<string, unknown> {
  if (!facts?.address) return {};
  if (list) return { [LIST_FIELD]: [...addresses] };
  const [address = ''] = addresses;
  const shown = { [facts.address.field]: facts.address.secret ? shownAddress(address) : address };
  return facts.signed ? { ...shown, headers: Object.fromEntries(Object.keys(own).map((name) => [name, '…'])) } : shown;
}

export const TestAnswer = z.object({
  outcome: z.enum(['delivered', 'failed']),
  status: z.int().nullable(),
  response: z.string().nullable().describe('The first 4 KiB of what the far end answered.'),
  duration_ms: z.int(),
  reason: z.string(),
  message: z.string(),
});
