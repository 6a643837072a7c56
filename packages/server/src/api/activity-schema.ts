/** The shapes of events, notifications and deliveries in answers, and the filters of their lists. */
import { z } from 'zod';
import { CHANNEL_NAME, NO_CHANNEL } from '../domain/channel.ts';
import { DELIVERY_STATES, type DeliveryState } from '../domain/delivery.ts';
import { EVENT_STATES, type EventState } from '../domain/event.ts';
import { REASONS, type ReasonCode } from '../domain/reason.ts';
import { NOTIFICATION_WORDS } from './event-view.ts';
import { createdQuery, listQuery } from './paging.ts';
import { callerId, wireTime } from './schema.ts';

const json = z.record(z.string(), z.unknown());
const why = { reason: z.string(), sentence: z.string(), hint: z.string() };

const Digest = z
  .object({
    id: z.string(),
    key: z.string().describe('What goes together.'),
    opened_at: wireTime,
    closes_at: wireTime,
    closed_at: wireTime.nullable().describe('Null: it waits for more.'),
    delivery_id: z.string().nullable().describe('Of its message; null: there is none yet, or nothing was left to say.'),
    notification_id: z.string().nullable(),
    status: z.string().nullable().describe('Of its message.'),
    reason: z.string().nullable(),
  })
  .meta({ id: 'Digest' });

export const Delivery = z.object({
  id: z.string(),
  event_id: z.string(),
  notification_id: z.string().nullable(),
  user_id: z.string().nullable(),
  destination_id: z.string().nullable().describe('Of an account instead of a user.'),
  channel: z.string().describe('`*` for a recipient that was dropped.'),
  address: z.string().nullable().describe('Masked.'),
  status: z.string(),
  ...why,
  attempt_count: z.int(),
  retry_count: z.int().describe('Attempts after the first.'),
  max_retries: z.int().nullable().describe('Null: as the policy of its channel or its destination says.'),
  next_attempt_at: wireTime.nullable(),
  error_message: z.string().nullable(),
  cancel_requested: z.boolean(),
  created_at: wireTime,
  expires_at: wireTime.nullable(),
  sent_at: wireTime.nullable().describe('When its first attempt began.'),
  finished_at: wireTime.nullable(),
  delivered_at: wireTime.nullable(),
  digest: Digest.nullable().describe('Of an item of a digest.'),
});

const TimelineLine = z.object({
  at: wireTime,
  what: z.string(),
  channel: z.string().optional(),
  delivery_id: z.string().optional(),
  digest_id: z.string().optional(),
  reason: z.string().optional(),
  sentence: z.string().optional(),
  hint: z.string().optional(),
  provider: z.string().optional(),
  outcome: z.string().optional(),
  status: z.int().optional().describe('HTTP or SMTP code.'),
  duration_ms: z.int().optional(),
  detail: z.string().optional(),
  response: z.string().optional().describe('The first 4 KiB of what the far end answered.'),
  next_attempt_at: wireTime.optional(),
});

export const DeliveryDetail = Delivery.extend({ timeline: z.array(TimelineLine) });

export const EventSummary = z.object({
  id: z.string(),
  type: z.string(),
  status: z.string(),
  severity: z.string(),
  tags: z.array(z.string()),
  accepted_at: wireTime,
  scheduled_for: wireTime.nullable(),
  expires_at: wireTime.nullable(),
  routed_at: wireTime.nullable(),
  cancelled_at: wireTime.nullable(),
  correlation_id: z.string().nullable(),
  traceparent: z.string().nullable(),
  data: json,
});

const Progress = z
  .object({
    total_users: z
      .int()
      .describe('Whom the event addresses. Of a set of users as counted when it was begun, and exact once the event is routed.'),
    decided_users: z.int().describe('Of those, by now. The sum of the four below.'),
    created: z.int().describe('Users with a notification.'),
    failed: z.int().describe('Users whose notification could not be made, with the reason among `skipped`.'),
    throttled: z.int(),
    skipped: z.int().describe('Users who are not told for another reason: unknown, not active, excluded.'),
  })
  .nullable()
  .describe('Users, as routing goes through them. Null before it has begun.');

export const EventProgress = z.object({ id: z.string(), status: z.string(), progress: Progress });

export const EventDetail = EventSummary.extend({
  version: z.string().nullable().describe('Of its event type, as it was when the event was accepted.'),
  warnings: z.array(z.string()).describe('What its event type found missing or unfit, and let pass.'),
  progress: Progress,
  counts: z.object({
    recipients: z.int(),
    pending: z.int(),
    held: z.int(),
    sending: z.int(),
    delivered: z.int(),
    failed: z.int(),
    skipped: z.int(),
    cancelled: z.int(),
    expired: z.int(),
  }),
  notifications: z.array(z.object({ id: z.string(), user_id: z.string(), deliveries: z.array(Delivery) })).describe('The first 100.'),
  next_cursor: z.string().nullable().describe('`after` of /v1/notifications?event_id= for the rest.'),
  deliveries: z.array(Delivery).describe('Of destinations, the first 100.'),
  skipped: z
    .array(z.object({ user_id: z.string().nullable(), destination_id: z.string().nullable(), channel: z.string(), ...why }))
    .describe('The first 100.'),
});

export const NotificationSummary = z.object({
  id: z.string(),
  event_id: z.string(),
  user_id: z.string(),
  type: z.string(),
  subject: z.string(),
  body: z.string(),
  action_url: z.string().nullable(),
  severity: z.string(),
  tags: z.array(z.string()),
  metadata: json,
  status: z.string().describe('One word: clicked, read, or the furthest that any delivery got.'),
  reason: z.string().nullable(),
  retry_count: z.int(),
  error_message: z.string().nullable(),
  created_at: wireTime,
  sent_at: wireTime.nullable(),
  delivered_at: wireTime.nullable(),
  read_at: wireTime.nullable(),
  clicked_at: wireTime.nullable(),
  archived_at: wireTime.nullable(),
  failed_at: wireTime.nullable(),
  deleted_at: wireTime.nullable(),
  deliveries: z.array(Delivery),
});

export const NotificationDetail = NotificationSummary.extend({
  scheduled_for: wireTime.nullable(),
  max_retries: z.int().nullable().describe('Null: the policy of each channel.'),
  timeline: z.array(TimelineLine),
});

export const Cancelled = z.object({
  outcome: z.enum(['cancelled', 'too_late']),
  cancelled: z.int(),
  too_late: z.int(),
  sent_at: wireTime.nullable(),
});

const word = <T extends string>(names: Readonly<Record<T, unknown>>) => z.enum(Object.keys(names) as T[]);
const content = { type: callerId.optional(), tag: callerId.optional(), tag_prefix: callerId.optional() };
/** Any name: rows outlive a channel that was taken out of the configuration. */
const channel = z.union([z.string().regex(CHANNEL_NAME), z.literal(NO_CHANNEL)]);
const delivery = { channel: channel.optional(), reason: word<ReasonCode>(REASONS).optional() };
const eventId = z.string().max(100).optional();

export const EventsQuery = z.strictObject({
  ...listQuery,
  ...createdQuery,
  ...content,
  ...delivery,
  status: word<EventState>(EVENT_STATES).optional(),
  user: callerId.optional().describe('Events that became a notification of this user.'),
});

/** Of one user's list. */
export const UserNotificationsQuery = z.strictObject({
  ...listQuery,
  ...createdQuery,
  ...content,
  ...delivery,
  status: z.enum(NOTIFICATION_WORDS).optional(),
  deleted: z.enum(['true', 'false']).default('false').describe('Shows deleted ones too.'),
});
export const NotificationsQuery = UserNotificationsQuery.extend({ event_id: eventId, user: callerId.optional() });

export const DeliveriesQuery = z.strictObject({
  ...listQuery,
  ...createdQuery,
  ...content,
  ...delivery,
  status: word<DeliveryState>(DELIVERY_STATES).optional(),
  event_id: eventId,
  destination_id: z.string().max(100).optional(),
  user: callerId.optional().describe('Finds what belongs to a notification; a recipient that was dropped is found by event.'),
});
