/** One event with what became of it. */
import { DELIVERY_STATES } from '../domain/delivery.ts';
import type { Tx } from '../domain/event.ts';
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
  const [rows, byStatus, users, skipped, destinations] = await Promise.all([
    listNotifications(tx, { ...paging, limit: SHOWN + 1, deleted: true, ...content }),
    countDeliveries(tx, { tenantId, id: event.id, range }),
    event.audience ?? countUsers(tx, { tenantId, id: event.id, range }),
    listDeliveries(tx, { ...paging, ...any, status: DELIVERY_STATES.skipped, limit: SHOWN }),
    listDeliveries(tx, { ...paging, ...any, destinations: true, limit: SHOWN }),
  ]);
  const shown = rows.slice(0, SHOWN);
  const deliveries = Map.groupBy(await deliveriesOf(tx, tenantId, shown), ({ notificationId }) => notificationId);
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
