/** The story of one notification, in order. Pure: rows in, wire out. */
import { ENTRY_KINDS, OUTCOMES, deliveryState, nameOf } from '../domain/delivery.ts';
import { REASONS, reasonOf, type ReasonCode } from '../domain/reason.ts';
import { publicId } from '../lib/id.ts';
import type { DeliveryRecord, EntryRecord, EventRecord, NotificationRecord } from '../store/timeline.ts';
import { toWire } from './schema.ts';

/** One line. What a line has nothing to say about is left out. */
export interface TimelineEntry {
  readonly at: string;
  /** `accepted`, `scheduled`, `routed`, an entry kind, a final state, `read`, `clicked`, … */
  readonly what: string;
  readonly channel?: string | undefined;
  readonly delivery_id?: string | undefined;
  readonly digest_id?: string | undefined;
  readonly reason?: ReasonCode | undefined;
  readonly sentence?: string | undefined;
  readonly hint?: string | undefined;
  readonly provider?: string | undefined;
  readonly outcome?: string | undefined;
  readonly status?: number | undefined;
  readonly duration_ms?: number | undefined;
  readonly detail?: string | undefined;
  readonly response?: string | undefined;
  readonly next_attempt_at?: string | undefined;
}

export interface Story {
  /** Null when its partition is gone already. */
  readonly event: EventRecord | null;
  readonly notification: NotificationRecord;
  readonly deliveries: readonly DeliveryRecord[];
  readonly entries: readonly EntryRecord[];
}

/** What came first is said first, whatever the clocks of two machines say of the same moment. */
export function viewTimeline({ event, notification, deliveries, entries }: Story): TimelineEntry[] {
  const rest = [
    ...deliveries.flatMap((delivery) =>
      ofDelivery(
        delivery,
        entries.filter(({ deliveryId }) => deliveryId === delivery.id),
      ),
    ),
    ...marks({
      read: notification.readAt,
      clicked: notification.clickedAt,
      archived: notification.archivedAt,
      deleted: notification.deletedAt,
    }),
    ...marks({ cancelled: event?.cancelledAt ?? null }),
  ];
  const sorted = rest.toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  return [
    ...(event ? accepted(event) : []),
    { at: toWire(notification.createdAt), what: 'routed' },
    ...warnings(event, notification),
    ...sorted,
  ];
}

/** One delivery's own lines. */
export function ofDelivery(delivery: DeliveryRecord, entries: readonly EntryRecord[]): TimelineEntry[] {
  const digest = delivery.digestId ? { digest_id: publicId('dgs', delivery.digestId) } : {};
  const about = { channel: delivery.channel, delivery_id: publicId('dlv', delivery.id), ...digest };
  const missed = (delivery.warnings ?? []).map((detail) => ({
    at: toWire(delivery.sentAt ?? delivery.createdAt),
    what: 'warning',
    detail,
    ...about,
  }));
  const lines = [...missed, ...entries.map((entry) => ({ ...viewEntry(entry), ...about }))];
  if (!delivery.finishedAt) return lines;
  return [...lines, { at: toWire(delivery.finishedAt), what: deliveryState(delivery.status), ...about, ...because(delivery.reason) }];
}

function viewEntry(entry: EntryRecord): TimelineEntry {
  return {
    at: toWire(entry.at),
    what: nameOf(ENTRY_KINDS, entry.kind),
    ...because(entry.reason),
    provider: entry.provider ?? undefined,
    outcome: entry.outcome === null ? undefined : nameOf(OUTCOMES, entry.outcome),
    status: entry.status ?? undefined,
    duration_ms: entry.durationMs ?? undefined,
    detail: entry.detail ?? undefined,
    response: entry.response ?? undefined,
    next_attempt_at: toWire(entry.nextAttemptAt) ?? undefined,
  };
}

function because(reason: number) {
  const code = reasonOf(reason);
  const { sentence, hint } = REASONS[code];
  return { reason: code, sentence, hint };
}

/** What its type and its templates missed, and let pass. */
function warnings(event: EventRecord | null, { createdAt, warnings: own }: NotificationRecord): TimelineEntry[] {
  return [...(event?.request.warnings ?? []), ...(own ?? [])].map((detail) => ({ at: toWire(createdAt), what: 'warning', detail }));
}

function accepted({ acceptedAt, scheduledFor }: EventRecord): TimelineEntry[] {
  const line = { at: toWire(acceptedAt), what: 'accepted' };
  return scheduledFor ? [line, { at: line.at, what: 'scheduled', next_attempt_at: toWire(scheduledFor) }] : [line];
}

function marks(times: Readonly<Record<string, Date | null>>): TimelineEntry[] {
  return Object.entries(times).flatMap(([what, time]) => (time ? [{ at: toWire(time), what }] : []));
}
