/** What happened, as it is stored: read for lists and for "why?". Ids and their times bound every statement that has them. */
import type { AudienceCounts, EventRequest, Tx } from '../domain/event.ts';
import { firstIdAt, timeOf } from '../lib/id.ts';
import { bounds } from './arrays.ts';
import { within } from './database.ts';
import { withDigests, type InDigest } from './digest-outcomes.ts';

/** Numbers are those of the database: names are given at the edge. */
export interface EventRecord {
  readonly id: string;
  readonly type: string;
  readonly status: number;
  readonly severity: number;
  readonly tags: readonly string[];
  readonly acceptedAt: Date;
  readonly scheduledFor: Date | null;
  readonly expiresAt: Date | null;
  readonly routedAt: Date | null;
  readonly cancelledAt: Date | null;
  readonly correlationId: string | null;
  readonly traceparent: string | null;
  readonly request: EventRequest;
  readonly version: string | null;
  /** Of a set of users: how far telling them has come, of how many. Null before, and for every other event. */
  readonly audience: (AudienceCounts & { readonly size: number }) | null;
}

export interface NotificationRecord {
  readonly id: string;
  readonly eventId: string;
  readonly userId: string;
  readonly type: string;
  readonly subject: string;
  readonly body: string;
  readonly actionUrl: string | null;
  readonly severity: number;
  readonly tags: readonly string[];
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly createdAt: Date;
  readonly warnings?: readonly string[] | null | undefined;
  readonly inboxAt: Date | null;
  readonly readAt: Date | null;
  readonly clickedAt: Date | null;
  readonly archivedAt: Date | null;
  readonly deletedAt: Date | null;
}

export interface DeliveryRecord extends InDigest {
  readonly id: string;
  readonly eventId: string;
  readonly notificationId: string | null;
  readonly userId: string | null;
  readonly destinationId: string | null;
  /** `*` for a recipient that was dropped. */
  readonly channel: string;
  readonly address: string | null;
  readonly status: number;
  readonly reason: number;
  readonly critical: boolean;
  readonly dueAt: Date | null;
  readonly expiresAt: Date | null;
  readonly createdAt: Date;
  readonly sentAt: Date | null;
  readonly finishedAt: Date | null;
  readonly attemptCount: number;
  readonly maxAttempts: number | null;
  readonly cancelRequested: boolean;
  readonly lastError: string | null;
  /** Of its channel's templates. */
  readonly warnings?: readonly string[] | null | undefined;
}

/** A row of `attempts`. */
export interface EntryRecord {
  readonly deliveryId: string;
  readonly number: number;
  readonly kind: number;
  readonly at: Date;
  readonly durationMs: number | null;
  readonly provider: string | null;
  readonly outcome: number | null;
  readonly reason: number;
  readonly status: number | null;
  readonly detail: string | null;
  readonly response: string | null;
  readonly nextAttemptAt: Date | null;
}

export const EVENT_COLUMNS = `e.id, e.type, e.status, e.severity, e.tags, e.accepted_at as "acceptedAt", e.scheduled_for as "scheduledFor", e.expires_at as "expiresAt",
  e.routed_at as "routedAt", e.cancelled_at as "cancelledAt", e.correlation_id as "correlationId", e.traceparent, e.request, e.version,
  case when e.audience_size is not null then json_build_object('size', e.audience_size, 'created', e.audience_created, 'failed', e.audience_failed,
    'throttled', e.audience_throttled, 'skipped', e.audience_skipped) end as audience`;
const NOTIFICATION = `n.id, n.event_id as "eventId", n.user_id as "userId", n.type, n.subject, n.body, n.action_url as "actionUrl", n.severity, n.tags, n.metadata, n.created_at as "createdAt", n.inbox_at as "inboxAt", n.read_at as "readAt", n.clicked_at as "clickedAt", n.archived_at as "archivedAt", n.deleted_at as "deletedAt", n.warnings`;
const DELIVERY = `d.id, d.event_id as "eventId", d.notification_id as "notificationId", d.user_id as "userId", d.destination_id as "destinationId", d.channel, d.address, d.status, d.reason, d.critical,
  d.due_at as "dueAt", d.expires_at as "expiresAt", d.created_at as "createdAt", d.sent_at as "sentAt", d.finished_at as "finishedAt", d.attempt_count as "attemptCount",
  d.max_attempts as "maxAttempts", d.cancel_requested as "cancelRequested", d.last_error as "lastError", d.warnings, d.digest_id as "digestId"`;
const ENTRY = `a.delivery_id as "deliveryId", a.number, a.kind, a.at, a.duration_ms as "durationMs", a.provider, a.outcome, a.reason, a.status, a.detail, a.response,
  a.next_attempt_at as "nextAttemptAt"`;

/** Ids from `low` on and below `high`. */
export interface IdRange {
  readonly low: string;
  readonly high: string;
}

/** Ids of the milliseconds from `from` to `to`, both included. */
function idsBetween(from: Date, to: Date): IdRange {
  return { low: firstIdAt(from), high: firstIdAt(new Date(to.getTime() + 1)) };
}

/** An event's notifications and deliveries carry its due time in their ids. */
export function idsOfEvent({ scheduledFor, acceptedAt }: Pick<EventRecord, 'scheduledFor' | 'acceptedAt'>): IdRange {
  const dueAt = scheduledFor ?? acceptedAt;
  return idsBetween(dueAt, dueAt);
}

interface ById {
  readonly tenantId: string;
  /** UUID. */
  readonly id: string;
}

export async function findEvent(tx: Tx, { tenantId, id }: ById): Promise<EventRecord | undefined> {
  const { rows } = await within(tx).query<EventRecord>({
    name: 'timeline-event',
    text: `select ${EVENT_COLUMNS} from carillon.events e where e.id = $1 and e.tenant_id = $2`,
    values: [id, tenantId],
  });
  return rows[0];
}

export async function findNotification(tx: Tx, { tenantId, id }: ById): Promise<NotificationRecord | undefined> {
  const { rows } = await within(tx).query<NotificationRecord>({
    name: 'timeline-notification',
    text: `select ${NOTIFICATION} from carillon.notifications n where n.id = $1 and n.tenant_id = $2`,
    values: [id, tenantId],
  });
  return rows[0];
}

export async function findDelivery(tx: Tx, { tenantId, id }: ById): Promise<DeliveryRecord | undefined> {
  const { rows } = await within(tx).query<DeliveryRecord>({
    name: 'timeline-delivery',
    text: `select ${DELIVERY} from carillon.deliveries d where d.id = $1 and d.tenant_id = $2`,
    values: [id, tenantId],
  });
  return (await withDigests(tx, tenantId, rows))[0];
}

export interface Paging {
  /** Exclusive. */
  readonly cursor: string | null;
  /** Newest first, from `cursor` on; `forward` reads the other way, and its rows come oldest first. */
  readonly forward: boolean;
  readonly limit: number;
  readonly range: IdRange;
}

/** Tags and type mean the same in every list. */
export interface ContentFilter {
  readonly type: string | null;
  readonly tag: string | null;
  readonly tagPrefix: string | null;
}

/** `$2`–`$5` of every list: its bounds, cursor and size. */
function page(alias: string, forward: boolean): { where: string; order: string } {
  return {
    where: `${alias}.tenant_id = $1 and ${alias}.id >= $2 and ${alias}.id < $3 and ($4::uuid is null or ${alias}.id ${forward ? '>' : '<'} $4)`,
    order: `order by ${alias}.id ${forward ? 'asc' : 'desc'} limit $5`,
  };
}

/** `$6`–`$8` of the lists of events and notifications. */
function content(alias: string): string {
  return `($6::text is null or ${alias}.type = $6) and ($7::text is null or $7 = any(${alias}.tags))
      and ($8::text is null or exists (select from unnest(${alias}.tags) as t (tag) where starts_with(t.tag, $8)))`;
}

const contentValues = ({ type, tag, tagPrefix }: ContentFilter) => [type, tag, tagPrefix];

/** The cursor narrows the range too: what lies before it is not read again. */
function pageValues(tenantId: string, { range, cursor, forward, limit }: Paging): unknown[] {
  const low = forward && cursor !== null && cursor > range.low ? cursor : range.low;
  const high = !forward && cursor !== null && cursor < range.high ? cursor : range.high;
  return [tenantId, low, high, cursor, limit];
}

const direction = (forward: boolean) => (forward ? 'forward' : 'backward');

export type EventQuery = Paging &
  ContentFilter & {
    readonly tenantId: string;
    readonly status: number | null;
    /** Who has a notification of it. */
    readonly userId: string | null;
    /** Of one of its deliveries, both of the same. */
    readonly channel: string | null;
    readonly reason: number | null;
  };

/** The first id of that time's millisecond, and of the one after it. */
const firstAt = (time: string, plusMs: 0 | 1) =>
  `(lpad(to_hex(round(extract(epoch from ${time}) * 1000)::bigint + ${plusMs}), 12, '0') || '${'0'.repeat(20)}')::uuid`;

/** An event's deliveries carry its due time in their ids. */
const DUE = 'coalesce(e.scheduled_for, e.accepted_at)';
const HAS_DELIVERY = `($10::text is null and $11::smallint is null or exists (
                select from carillon.deliveries d where d.event_id = e.id and d.tenant_id = $1 and d.id >= ${firstAt(DUE, 0)} and d.id < ${firstAt(DUE, 1)}
                   and ($10::text is null or d.channel = $10) and ($11::smallint is null or d.reason = $11)))`;

/** A user's events are found by his notifications. */
export async function listEvents(tx: Tx, query: EventQuery): Promise<EventRecord[]> {
  const { where, order } = page('e', query.forward);
  const ofUser = query.userId !== null;
  const { rows } = await within(tx).query<EventRecord>({
    name: `timeline-events${ofUser ? '-user' : ''}-${direction(query.forward)}`,
    text: `select ${EVENT_COLUMNS} from ${ofUser ? EVENTS_OF_USER : 'carillon.events e'}
            where ${where} and ${content('e')} and ($9::smallint is null or e.status = $9) and ${HAS_DELIVERY} ${order}`,
    values: [
      ...pageValues(query.tenantId, query),
      ...contentValues(query),
      query.status,
      query.channel,
      query.reason,
      ...(ofUser ? [query.userId] : []),
    ],
  });
  return rows;
}

export type NotificationQuery = Paging &
  ContentFilter & {
    readonly tenantId: string;
    readonly eventId: string | null;
    readonly userId: string | null;
    /** Whether deleted ones are shown too. */
    readonly deleted: boolean;
  };

/** A text of its own for each user's list: a plan for "any user" could not use the user's index. */
export async function listNotifications(tx: Tx, query: NotificationQuery): Promise<NotificationRecord[]> {
  const { where, order } = page('n', query.forward);
  const ofUser = query.userId !== null;
  const { rows } = await within(tx).query<NotificationRecord>({
    name: `timeline-notifications${ofUser ? '-user' : ''}-${direction(query.forward)}`,
    text: `select ${NOTIFICATION} from carillon.notifications n
            where ${where} and ${content('n')} and ($9::uuid is null or n.event_id = $9) and ($10::boolean or n.deleted_at is null)${ofUser ? ' and n.user_id = $11' : ''} ${order}`,
    values: [
      ...pageValues(query.tenantId, query),
      ...contentValues(query),
      query.eventId,
      query.deleted,
      ...(ofUser ? [query.userId] : []),
    ],
  });
  return rows;
}

/** All deliveries of these notifications, skips included. */
export async function deliveriesOf(
  tx: Tx,
  tenantId: string,
  notifications: readonly Pick<NotificationRecord, 'id' | 'eventId'>[],
): Promise<DeliveryRecord[]> {
  if (notifications.length === 0) return [];
  const ids = notifications.map(({ id }) => id);
  const [first, last] = bounds(ids);
  const { low, high } = idsBetween(timeOf(first), timeOf(last));
  const { rows } = await within(tx).query<DeliveryRecord>({
    name: 'timeline-deliveries-of',
    text: `select ${DELIVERY} from carillon.deliveries d
            where d.tenant_id = $1 and d.event_id = any($2) and d.notification_id = any($3) and d.id >= $4 and d.id < $5 order by d.id`,
    values: [tenantId, [...new Set(notifications.map(({ eventId }) => eventId))], ids, low, high],
  });
  return withDigests(tx, tenantId, rows);
}

export type DeliveryQuery = Paging &
  ContentFilter & {
    readonly tenantId: string;
    readonly eventId: string | null;
    readonly userId: string | null;
    readonly destinationId: string | null;
    readonly channel: string | null;
    readonly status: number | null;
    readonly reason: number | null;
    /** Only those of no notification and no user: an account's destinations. */
    readonly destinations: boolean;
  };

/** The first or last id of another id's millisecond. */
const edge = (id: string, digit: '0' | 'f') =>
  `(left(${id}::text, 13) || '-${[4, 4, 12].map((length) => digit.repeat(length)).join('-')}')::uuid`;

/** A delivery shares its event and its millisecond with its notification. `offset 0`: asked for each notification, from its own partition. */
const OF_USER = `(select n.event_id, ${edge('n.id', '0')} as low, ${edge('n.id', 'f')} as high from carillon.notifications n
                   where n.tenant_id = $1 and n.user_id = $7 and n.id >= ${edge('$2::uuid', '0')} and n.id <= ${edge('$3::uuid', 'f')} offset 0) as told
            cross join lateral (select * from carillon.deliveries d where d.event_id = told.event_id and d.id >= told.low and d.id <= told.high offset 0) as d`;

const EVENTS_OF_USER = `(select distinct n.event_id from carillon.notifications n
                   where n.tenant_id = $1 and n.user_id = $12 and n.id >= ${edge('$2::uuid', '0')} offset 0) as told
            cross join lateral (select * from carillon.events e where e.id = told.event_id and e.tenant_id = $1 offset 0) as e`;

/** `$12`–`$14` of the list of deliveries: they look at the event. */
const HAS_CONTENT = `($12::text is null and $13::text is null and $14::text is null or exists (
                select from carillon.events e where e.id = d.event_id and e.tenant_id = $1 and ($12::text is null or e.type = $12) and ($13::text is null or $13 = any(e.tags))
                   and ($14::text is null or exists (select from unnest(e.tags) as t (tag) where starts_with(t.tag, $14)))))`;

/** An event's and a destination's deliveries are found by their index, a user's by his notifications. */
export async function listDeliveries(tx: Tx, query: DeliveryQuery): Promise<DeliveryRecord[]> {
  const { where, order } = page('d', query.forward);
  const by = query.eventId !== null ? 'event' : query.userId !== null ? 'user' : query.destinationId !== null ? 'destination' : 'all';
  const found = {
    event: 'd.event_id = $6 and ($7::text is null or d.user_id = $7)',
    user: '$6::uuid is null and d.user_id = $7',
    destination: '$6::uuid is null and $7::text is null and d.destination_id = $15',
    all: '$6::uuid is null and $7::text is null',
  }[by];
  const { rows } = await within(tx).query<DeliveryRecord>({
    name: `timeline-deliveries-${by}-${direction(query.forward)}`,
    text: `select ${DELIVERY} from ${by === 'user' ? OF_USER : 'carillon.deliveries d'}
            where ${where} and ${found} and ($8::text is null or d.channel = $8) and ($9::smallint is null or d.status = $9) and ($10::smallint is null or d.reason = $10)
              and (not $11::boolean or d.user_id is null) and ${HAS_CONTENT} and ($15::uuid is null or d.destination_id = $15) ${order}`,
    values: [
      ...pageValues(query.tenantId, query),
      query.eventId,
      query.userId,
      query.channel,
      query.status,
      query.reason,
      query.destinations,
      ...contentValues(query),
      query.destinationId,
    ],
  });
  return withDigests(tx, query.tenantId, rows);
}

/** In order. */
export async function entriesOf(tx: Tx, tenantId: string, deliveryIds: readonly string[]): Promise<EntryRecord[]> {
  if (deliveryIds.length === 0) return [];
  const { rows } = await within(tx).query<EntryRecord>({
    name: 'timeline-entries',
    text: `select ${ENTRY} from carillon.attempts a
            where a.tenant_id = $1 and a.delivery_id = any($2) and a.delivery_id between $3 and $4 order by a.delivery_id, a.number`,
    values: [tenantId, deliveryIds, ...bounds(deliveryIds)],
  });
  return rows;
}
