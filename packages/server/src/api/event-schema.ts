/** What producers send, checked, and as the event that the rest of the program knows. */
import { hash } from 'node:crypto';
import { z } from 'zod';
import type { ChannelName } from '../domain/channel.ts';
import { DIGEST_TYPE } from '../domain/digest.ts';
import { CarillonError } from '../domain/error.ts';
import type { Asked, Filled } from '../domain/event-type.ts';
import {
  INLINE_TYPE,
  SEVERITIES,
  type AcceptItem,
  type CarillonEvent,
  type EventRequest,
  type RequestKey,
  type Severity,
} from '../domain/event.ts';
import { isLink } from '../lib/link.ts';
import { checkHeaderText } from '../lib/mailbox.ts';
import { callerId, timestamp } from './schema.ts';

export type Verdict = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** The channels that a request may name; one that is not set up is skipped and not refused. */
export interface ChannelChecks {
  readonly channelNames: readonly ChannelName[];
}

/** How addresses are checked; what is asked of the network comes later, when sending. */
export interface AddressChecks {
  readonly checkMailbox: (text: string) => Verdict;
  readonly checkUrl: (text: string) => Verdict;
}

const MAX_RECIPIENTS = 1_000;
const MAX_TAGS = 32;
const MAX_TAG_BYTES = 128;
const MAX_BODY_BYTES = 64 * 1024;
const MAX_RETRIES = 20;
const DAY_MS = 86_400_000;

/** E.164: what every carrier takes. */
export const phone = z.string().regex(/^\+[1-9]\d{6,14}$/, 'E.164, for example +4915112345678.');

export function mailbox({ checkMailbox }: AddressChecks) {
  return checked(checkMailbox, 'invalid_mailbox').meta({ format: 'email' });
}

export function webhookUrl({ checkUrl }: AddressChecks) {
  return checked(checkUrl, 'invalid_url').meta({ format: 'uri' });
}

function checked(check: (text: string) => Verdict, code: string) {
  return z.string().check((context) => {
    const verdict = check(context.value);
    if (!verdict.ok)
      context.issues.push({ code: 'custom', input: context.value, message: verdict.reason, params: { code }, continue: true });
  });
}

const type = callerId.refine((text) => text !== INLINE_TYPE && text !== DIGEST_TYPE, {
  error: '`inline` is the type of POST /v1/notifications, `digest` the one of what a digest sends.',
  params: { code: 'reserved' },
});
export const tag = callerId.refine((text) => Buffer.byteLength(text) <= MAX_TAG_BYTES, {
  error: 'At most 128 bytes.',
  params: { code: 'invalid_tag' },
});
const actionUrl = z.string().refine(isLink, {
  error: 'A http, https or mailto link of at most 2,048 characters, or a path of at most 500.',
  params: { code: 'invalid_link' },
});
const subject = z
  .string()
  .min(1)
  .check((context) => {
    const refusal = checkHeaderText(context.value);
    if (refusal !== undefined)
      context.issues.push({ code: 'custom', input: context.value, message: refusal, params: { code: 'invalid_subject' }, continue: true });
  });
const body = z
  .string()
  .min(1)
  .refine((text) => Buffer.byteLength(text) <= MAX_BODY_BYTES, { error: 'At most 64 KiB.', params: { code: 'too_big' } });
const json = z.record(z.string(), z.unknown());
const itemKey = callerId.refine((text) => text.length <= 255, { error: 'At most 255 characters.', params: { code: 'too_big' } });

function recipient(checks: AddressChecks) {
  return z.union([
    callerId,
    z.strictObject({
      user_id: callerId,
      email: mailbox(checks).optional(),
      phone: phone.optional(),
      webhook_url: webhookUrl(checks).optional(),
    }),
    z.strictObject({ role: callerId }),
    z.strictObject({ topic: callerId }),
    z.strictObject({ all: z.literal(true) }),
    z.strictObject({ active_within: z.string().regex(/^[1-9]\d{0,4}[smhd]$/, 'A number and s, m, h or d, for example 30d.') }),
  ]);
}

/** Both kinds of item, checked: POST /v1/notifications leaves `type` and `data` out. */
export interface EventWire {
  readonly type?: string | undefined;
  readonly data?: Readonly<Record<string, unknown>> | undefined;
  readonly to?: EventRequest['to'] | undefined;
  readonly exclude?: readonly string[] | undefined;
  readonly subject?: string | undefined;
  readonly body?: string | undefined;
  readonly action_url?: string | undefined;
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  readonly channels?: EventRequest['channels'];
  readonly severity?: Severity | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly critical?: boolean | undefined;
  readonly throttle_exempt?: boolean | undefined;
  readonly throttle_key?: string | undefined;
  readonly max_retries?: number | undefined;
  readonly correlation_id?: string | undefined;
  readonly ordering_key?: string | undefined;
  readonly scheduled_for?: Date | undefined;
  readonly expires_at?: Date | undefined;
  readonly idempotency_key?: string | undefined;
  /** Not on the wire: of a CloudEvent, whose `id` and `source` are its key. */
  readonly key?: RequestKey;
  readonly traceparent?: string;
}

export function eventSchemas(checks: AddressChecks & ChannelChecks) {
  const common = {
    to: z.array(recipient(checks)).max(MAX_RECIPIENTS).optional(),
    exclude: z.array(callerId).max(MAX_RECIPIENTS).optional().describe('Users who are not told, whatever names them.'),
    channels: z.array(z.enum(checks.channelNames)).min(1).max(checks.channelNames.length).optional(),
    severity: z.enum(Object.keys(SEVERITIES) as Severity[]).optional(),
    tags: z.array(tag).max(MAX_TAGS).optional(),
    action_url: actionUrl.optional(),
    metadata: json.optional(),
    critical: z.boolean().optional(),
    throttle_exempt: z.boolean().optional(),
    throttle_key: callerId.optional(),
    max_retries: z.int().min(0).max(MAX_RETRIES).optional(),
    correlation_id: callerId.optional(),
    ordering_key: callerId
      .optional()
      .describe('At each address, what has the same key goes out one at a time, in the order of acceptance.'),
    scheduled_for: timestamp.optional(),
    expires_at: timestamp.optional(),
    idempotency_key: itemKey.optional(),
  };
  const event = z.strictObject({ type, data: json.optional(), ...common });
  const notification = z
    .strictObject({ subject: subject.optional(), body: body.optional(), ...common })
    .refine((item) => item.subject !== undefined || item.body !== undefined, {
      path: ['subject'],
      error: '`subject` or `body` is needed.',
      params: { code: 'required' },
    });
  return { event, notification };
}

export interface EventContext {
  readonly tenantId: string;
  readonly now: Date;
  /** UUID, of the same time. */
  readonly id: string;
  readonly traceparent: string | null;
  readonly maxScheduleDays: number;
  /** What its type says; null without one. */
  readonly filled: Filled | null;
}

/** What the type of an event is asked to fill in. */
export function askedOf(wire: EventWire): Asked {
  const { data = {}, to = [], severity, tags, channels, action_url: link } = wire;
  return { data, to, severity, tags, channels: channels && [...new Set(channels)], actionUrl: link };
}

/** Throws `recipients_missing` and `schedule_invalid`: what a schema can't tell without the catalog and the time. */
export function toEvent(wire: EventWire, context: EventContext): CarillonEvent {
  const { tenantId, now, id, traceparent, filled } = context;
  const { to, severity = 'medium', tags = [] } = filled ?? askedOf(wire);
  if (to.length === 0) refuseNobody(filled);
  checkTimes(wire, now, context.maxScheduleDays);
  return {
    id,
    tenantId,
    type: wire.type ?? INLINE_TYPE,
    severity,
    tags,
    acceptedAt: now,
    ...timesOf(wire, now, filled),
    correlationId: wire.correlation_id ?? null,
    traceparent: traceparentOf(wire, traceparent),
    request: filled ? filledRequest(wire, filled) : toRequest(wire, to),
    version: filled ? filled.version : null,
    cursor: null,
  };
}

/** What is for the account's destinations needs nobody else. */
function refuseNobody(filled: Filled | null): void {
  if (filled?.destinations) return;
  throw new CarillonError('recipients_missing', 'Nobody would be told.', {
    errors: [{ pointer: '/to', code: 'required', detail: 'At least one recipient.' }],
  });
}

/** A CloudEvent's own goes before the header. */
function traceparentOf({ traceparent: own }: EventWire, given: string | null): string | null {
  return own === undefined ? given : readTraceparent(own);
}

function timesOf(wire: EventWire, now: Date, filled: Filled | null): Pick<CarillonEvent, 'dueAt' | 'scheduledFor' | 'expiresAt'> {
  const { scheduled_for: scheduledFor = null, expires_at: given } = wire;
  const dueAt = scheduledFor ?? now;
  const ownMs = filled?.expiresAfterMs ?? null;
  return { dueAt, scheduledFor, expiresAt: given ?? (ownMs === null ? null : new Date(dueAt.getTime() + ownMs)) };
}

/** Only what the caller said: undefined fields take no room in the row. */
function toRequest(
  {
    exclude,
    channels,
    data,
    subject: title,
    body: text,
    action_url,
    metadata,
    critical,
    throttle_exempt,
    throttle_key,
    max_retries,
    ordering_key,
  }: EventWire,
  to: EventRequest['to'],
): EventRequest {
  return {
    to,
    exclude: excludedOf({ exclude }, []),
    channels: channels && [...new Set(channels)],
    data: data ?? {},
    subject: title,
    body: text,
    action_url,
    metadata,
    critical,
    throttle_exempt,
    throttle_key,
    max_retries,
    ordering_key,
  };
}

function excludedOf({ exclude = [] }: Pick<EventWire, 'exclude'>, byType: readonly string[]): readonly string[] | undefined {
  const ids = [...new Set([...exclude, ...byType])];
  return ids.length > 0 ? ids : undefined;
}

function filledRequest(wire: EventWire, filled: Filled): EventRequest {
  const { to, data, channels, actionUrl, critical, category, exclude, delays, warnings, throttle, digest, destinations, tenantTemplates } =
    filled;
  return {
    ...toRequest(wire, to),
    data,
    channels,
    action_url: actionUrl,
    critical: wire.critical ?? (critical || undefined),
    category,
    exclude: excludedOf(wire, exclude),
    throttle,
    digest,
    destinations: destinations === false ? false : undefined,
    delays,
    tenant_templates: tenantTemplates || undefined,
    warnings: warnings.length > 0 ? warnings : undefined,
  };
}

function checkTimes({ scheduled_for: scheduledFor, expires_at: expiresAt }: EventWire, now: Date, maxScheduleDays: number): void {
  if (scheduledFor && scheduledFor <= now) refuseTime('/scheduled_for', 'It must lie in the future.');
  if (scheduledFor && scheduledFor.getTime() - now.getTime() > maxScheduleDays * DAY_MS)
    refuseTime('/scheduled_for', `It may lie at most ${maxScheduleDays} days ahead.`);
  if (expiresAt && expiresAt <= now) refuseTime('/expires_at', 'It must lie in the future.');
  if (expiresAt && scheduledFor && expiresAt <= scheduledFor) refuseTime('/expires_at', 'It must lie after `scheduled_for`.');
}

function refuseTime(pointer: string, detail: string): never {
  throw new CarillonError('schedule_invalid', detail, { errors: [{ pointer, code: 'schedule_invalid', detail }] });
}

/** An item's own key covers all of it, in whichever order its fields were sent. */
export function toItem(wire: EventWire, context: EventContext): AcceptItem {
  const event = toEvent(wire, context);
  if (wire.key) return { event, itemKey: wire.key };
  if (wire.idempotency_key === undefined) return { event, itemKey: null };
  return { event, itemKey: { route: 'item', key: wire.idempotency_key, hash: hash('sha256', JSON.stringify(wire), 'buffer') } };
}

const TRACEPARENT = /^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** W3C Trace Context, version 00. One that is not valid is as if it were not there, as that document asks. */
export function readTraceparent(header: string | string[] | undefined): string | null {
  return typeof header === 'string' && TRACEPARENT.test(header) && header.startsWith('00') ? header : null;
}
