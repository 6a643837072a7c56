/** One event with what became of it. */
import { DELIVERY_STATES } from '../domain/delivery.ts';
import type { AudienceCounts, Tx } from '../domain/event.ts';
import { countDeliveries, countUsers } from '../store/event-counts.ts';
import { deliveriesOf, idsOfEvent, listDeliveries, listNotifications, type EventRecord } from '../store/timeline.ts';
import { viewCounts, viewDelivery, viewEventSummary, viewProgress, viewRecipient, viewSkip } from './event-view.ts';
import { toCursor } from './schema.ts';

/** Of notifications, skips and destinations each; the rest by cursor. */
const SHOWN = 100;

export async function eventDetail(tx: Tx, tenantId: string, event: EventRecord) {
  const range = idsOfEvent(event);
  const paging = { tenantId, eventId: event.id, userId: null, cursor: null, forward: false, range };
  const content = { type: null, tag: null, tagPrefix: null };
  const any = { ...content, destinationId: null, channel: null, status: null, reason: null, destinations: false };
  const [rows, { byStatus, destinations: toDestinations }, users] = await Promise.all([
    listNotifications(tx, { ...paging, limit: SHOWN + 1, deleted: true, ...content }),
    countDeliveries(tx, { tenantId, id: event.id, range }),
    usersOf(tx, tenantId, event),
  ]);
  const shown = rows.slice(0, SHOWN);
  // Of a large audience each list reads through all that there is: one that is empty is not asked for.
  const [ofShown, skipped, destinations] = await Promise.all([
    deliveriesOf(tx, tenantId, shown),
    byStatus.has(DELIVERY_STATES.skipped) ? listDeliveries(tx, { ...paging, ...any, status: DELIVERY_STATES.skipped, limit: SHOWN }) : [],
    toDestinations > 0 ? listDeliveries(tx, { ...paging, ...any, destinations: true, limit: SHOWN }) : [],
  ]);
  const deliveries = Map.groupBy(ofShown, ({ notificationId }) => notificationId);
  const last = shown.at(-1);
  return {
    ...viewEventSummary(event),
    version: event.version,
    warnings: [...(event.request.warnings ?? [])],
    progress: viewProgress(event, users),
    counts: viewCounts(byStatus, users),
    notifications: shown.map((row) => viewRecipient(row, deliveries.get(row.id) ?? [])),
    next_cursor: rows.length > SHOWN && last ? toCursor([last.id]) : null,
    deliveries: destinations.map(viewDelivery),
    skipped: skipped.map(viewSkip),
  };
}

/** Users of a set are counted as they are told; those who are named are few. */
function usersOf(tx: Tx, tenantId: string, event: EventRecord): AudienceCounts | Promise<AudienceCounts> {
  return event.audience ?? countUsers(tx, { tenantId, id: event.id, range: idsOfEvent(event) });
}

/** However many users there are, this reads the event alone. */
export async function eventProgress(tx: Tx, tenantId: string, event: EventRecord) {
  const { id, status } = viewEventSummary(event);
  return { id, status, progress: viewProgress(event, await usersOf(tx, tenantId, event)) };
}
