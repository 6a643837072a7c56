/** What is stored, as it is answered. Pure: rows in, wire out. */
import { DELIVERY_STATES, deliveryState, nameOf, type DeliveryState } from '../domain/delivery.ts';
import { EVENT_STATES, SEVERITIES, type AudienceCounts } from '../domain/event.ts';
import { REASONS, reasonOf } from '../domain/reason.ts';
import { publicId } from '../lib/id.ts';
import type { CancelAnswer } from '../store/cancel.ts';
import type { DigestRecord } from '../store/digest-outcomes.ts';
import type { DeliveryRecord, EventRecord, NotificationRecord } from '../store/timeline.ts';
import { toWire } from './schema.ts';

/** Enough to recognise an address, too little to use it: `a…@example.org`, `https://example.org/…`, `…78`. */
export function maskAddress(address: string | null): string | null {
  if (address === null) return null;
  if (URL.canParse(address)) return `${new URL(address).origin}/…`;
  const at = address.lastIndexOf('@');
  if (at > 0) return `${address.slice(0, 1)}…${address.slice(at)}`;
  return `…${address.slice(-2)}`;
}

function explained(reason: number) {
  const code = reasonOf(reason);
  const { sentence, hint } = REASONS[code];
  return { reason: code, sentence, hint };
}

/** Where an item waits until when, and the message that it became. */
function viewDigest({ id, key, openedAt, closesAt, closedAt, deliveryId, notificationId, status, reason }: DigestRecord) {
  return {
    id: publicId('dgs', id),
    key,
    opened_at: toWire(openedAt),
    closes_at: toWire(closesAt),
    closed_at: toWire(closedAt),
    delivery_id: deliveryId && publicId('dlv', deliveryId),
    notification_id: notificationId && publicId('ntf', notificationId),
    status,
    reason: reason === null ? null : reasonOf(reason),
  };
}

export function viewDelivery(row: DeliveryRecord) {
  const status = deliveryState(row.status);
  return {
    id: publicId('dlv', row.id),
    event_id: publicId('evt', row.eventId),
    notification_id: row.notificationId && publicId('ntf', row.notificationId),
    user_id: row.userId,
    destination_id: row.destinationId && publicId('dst', row.destinationId),
    channel: row.channel,
    address: maskAddress(row.address),
    status,
    ...explained(row.reason),
    attempt_count: row.attemptCount,
    retry_count: Math.max(row.attemptCount - 1, 0),
    max_retries: row.maxAttempts === null ? null : row.maxAttempts - 1,
    next_attempt_at: status === 'pending' || status === 'held' ? toWire(row.dueAt ?? waitsUntil(row)) : null,
    error_message: row.lastError,
    cancel_requested: row.cancelRequested,
    created_at: toWire(row.createdAt),
    expires_at: toWire(row.expiresAt),
    sent_at: toWire(row.sentAt),
    finished_at: toWire(row.finishedAt),
    delivered_at: status === 'delivered' ? toWire(row.finishedAt) : null,
    digest: row.digest ? viewDigest(row.digest) : null,
  };
}

function waitsUntil({ digest }: DeliveryRecord): Date | null {
  return digest && !digest.closedAt ? digest.closesAt : null;
}

export function viewSkip(row: DeliveryRecord) {
  const destination = row.destinationId && publicId('dst', row.destinationId);
  return { user_id: row.userId, destination_id: destination, channel: row.channel, ...explained(row.reason) };
}

export function viewEventSummary(row: EventRecord) {
  return {
    id: publicId('evt', row.id),
    type: row.type,
    status: nameOf(EVENT_STATES, row.status),
    severity: nameOf(SEVERITIES, row.severity),
    tags: [...row.tags],
    accepted_at: toWire(row.acceptedAt),
    scheduled_for: toWire(row.scheduledFor),
    expires_at: toWire(row.expiresAt),
    routed_at: toWire(row.routedAt),
    cancelled_at: toWire(row.cancelledAt),
    correlation_id: row.correlationId,
    traceparent: row.traceparent,
    data: { ...row.request.data },
  };
}

function decidedOn({ created, failed, throttled, skipped }: AudienceCounts): number {
  return created + failed + throttled + skipped;
}

/** Of a set of users, as far as it has come. Null: nobody has been decided on yet. */
export function viewProgress({ status, audience }: Pick<EventRecord, 'status' | 'audience'>, users: AudienceCounts) {
  const { created, failed, throttled, skipped } = users;
  const decided = decidedOn(users);
  const begun = audience !== null || decided > 0 || status === EVENT_STATES.routed;
  return begun ? { total_users: audience?.size ?? decided, decided_users: decided, created, failed, throttled, skipped } : null;
}

export function viewCounts(byStatus: ReadonlyMap<number, number>, users: AudienceCounts) {
  const of = (state: DeliveryState) => byStatus.get(DELIVERY_STATES[state]) ?? 0;
  return {
    recipients: decidedOn(users),
    pending: of('pending'),
    held: of('held'),
    sending: of('sending'),
    delivered: of('delivered'),
    failed: of('failed'),
    skipped: of('skipped'),
    cancelled: of('cancelled'),
    expired: of('expired'),
  };
}

export function viewRecipient(row: NotificationRecord, deliveries: readonly DeliveryRecord[]) {
  return { id: publicId('ntf', row.id), user_id: row.userId, deliveries: deliveries.map(viewDelivery) };
}

export const NOTIFICATION_WORDS = ['clicked', 'read', 'delivered', 'sending', 'pending', 'failed', 'skipped'] as const;
export type NotificationWord = (typeof NOTIFICATION_WORDS)[number];

const WORD_OF: Readonly<Record<DeliveryState, NotificationWord>> = {
  pending: 'pending',
  sending: 'sending',
  held: 'pending',
  delivered: 'delivered',
  failed: 'failed',
  skipped: 'skipped',
  cancelled: 'skipped',
  expired: 'skipped',
};

/** One word for a notification on several channels: the furthest that any of them got. Clicked and read go before all. */
export function wordOf(row: Pick<NotificationRecord, 'clickedAt' | 'readAt'>, deliveries: readonly DeliveryRecord[]): NotificationWord {
  if (row.clickedAt) return 'clicked';
  if (row.readAt) return 'read';
  const words = new Set(deliveries.map(({ status }) => WORD_OF[deliveryState(status)]));
  return NOTIFICATION_WORDS.find((word) => words.has(word)) ?? 'skipped';
}

export function viewNotification(row: NotificationRecord, deliveries: readonly DeliveryRecord[]) {
  const status = wordOf(row, deliveries);
  const leading =
    deliveries.find((delivery) => WORD_OF[deliveryState(delivery.status)] === status) ??
    deliveries.find(({ channel }) => channel === 'in_app') ??
    deliveries[0];
  return {
    id: publicId('ntf', row.id),
    event_id: publicId('evt', row.eventId),
    user_id: row.userId,
    type: row.type,
    subject: row.subject,
    body: row.body,
    action_url: row.actionUrl,
    severity: nameOf(SEVERITIES, row.severity),
    tags: [...row.tags],
    metadata: { ...row.metadata },
    status,
    reason: leading ? reasonOf(leading.reason) : null,
    retry_count: deliveries.reduce((sum, { attemptCount }) => sum + Math.max(attemptCount - 1, 0), 0),
    error_message: deliveries.find(({ lastError }) => lastError !== null)?.lastError ?? null,
    ...timesOf(row, deliveries),
    deliveries: deliveries.map(viewDelivery),
  };
}

function timesOf(row: NotificationRecord, deliveries: readonly DeliveryRecord[]) {
  const finished = (state: DeliveryState) =>
    deliveries.filter(({ status }) => status === DELIVERY_STATES[state]).map(({ finishedAt }) => finishedAt);
  return {
    created_at: toWire(row.createdAt),
    sent_at: toWire(earliest(deliveries.map(({ sentAt }) => sentAt))),
    delivered_at: toWire(earliest([...finished('delivered'), row.inboxAt])),
    read_at: toWire(row.readAt),
    clicked_at: toWire(row.clickedAt),
    archived_at: toWire(row.archivedAt),
    failed_at: toWire(earliest(finished('failed'))),
    deleted_at: toWire(row.deletedAt),
  };
}

function earliest(times: readonly (Date | null)[]): Date | null {
  return times.reduce((first, time) => (time && (!first || time < first) ? time : first), null);
}

export function viewCancel({ outcome, cancelled, tooLate, sentAt }: CancelAnswer) {
  return { outcome, cancelled, too_late: tooLate, sent_at: toWire(sentAt) };
}
