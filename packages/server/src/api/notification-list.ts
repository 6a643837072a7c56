/** A page of notifications with their deliveries. What only the deliveries can tell is filtered after reading. */
import type { z } from 'zod';
import { reasonOf } from '../domain/reason.ts';
import type { Tx } from '../domain/event.ts';
import {
  deliveriesOf,
  listNotifications,
  type DeliveryRecord,
  type IdRange,
  type NotificationQuery,
  type NotificationRecord,
} from '../store/timeline.ts';
import type { UserNotificationsQuery } from './activity-schema.ts';
import { viewNotification, wordOf } from './event-view.ts';
import { contentOf, rangeOf, uuidDirectionOf } from './paging.ts';
import { toCursor } from './schema.ts';

type Query = z.output<typeof UserNotificationsQuery>;

export interface Whose {
  readonly tenantId: string;
  readonly userId: string | null;
  readonly event: { readonly id: string; readonly range: IdRange } | null;
}

interface Told {
  readonly row: NotificationRecord;
  readonly deliveries: readonly DeliveryRecord[];
}

const ROWS_A_ROUND = 200;
/** A rare status is looked for in this many rounds; then the page is answered as it is, with a cursor to go on. */
const MAX_ROUNDS = 5;

export async function notificationPage(tx: Tx, whose: Whose, query: Query) {
  const read = toRead(whose, query);
  const { told, goOnAt } = await collect(tx, read, { wanted: query.limit + 1, matches: (one) => matches(one, query) });
  const shown = told.slice(0, query.limit);
  const next = told.length > query.limit ? (shown.at(-1)?.row.id ?? null) : goOnAt;
  const inOrder = read.forward ? shown.toReversed() : shown;
  return {
    data: inOrder.map(({ row, deliveries }) => viewNotification(row, deliveries)),
    has_more: next !== null,
    next_cursor: next === null ? null : toCursor([next]),
  };
}

function toRead({ tenantId, userId, event }: Whose, query: Query): NotificationQuery {
  const { cursor, backward } = uuidDirectionOf(query);
  const filtered = [query.status, query.channel, query.reason].some((filter) => filter !== undefined);
  return {
    tenantId,
    userId,
    eventId: event?.id ?? null,
    ...contentOf(query),
    deleted: query.deleted === 'true',
    cursor,
    forward: backward,
    limit: filtered ? ROWS_A_ROUND : query.limit + 1,
    range: within(rangeOf(query), event?.range),
  };
}

async function collect(
  tx: Tx,
  query: NotificationQuery,
  { wanted, matches: fits }: { wanted: number; matches: (one: Told) => boolean },
): Promise<{ told: Told[]; goOnAt: string | null }> {
  const told: Told[] = [];
  let { cursor } = query;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const rows = await listNotifications(tx, { ...query, cursor });
    const byNotification = Map.groupBy(await deliveriesOf(tx, query.tenantId, rows), ({ notificationId }) => notificationId);
    told.push(...rows.map((row) => ({ row, deliveries: byNotification.get(row.id) ?? [] })).filter(fits));
    cursor = rows.at(-1)?.id ?? cursor;
    if (told.length >= wanted || rows.length < query.limit) return { told, goOnAt: null };
  }
  return { told, goOnAt: cursor };
}

function matches({ row, deliveries }: Told, { status, channel, reason }: Query): boolean {
  if (status !== undefined && wordOf(row, deliveries) !== status) return false;
  if (channel === undefined && reason === undefined) return true;
  return deliveries.some(
    (delivery) => (channel === undefined || delivery.channel === channel) && (reason === undefined || reasonOf(delivery.reason) === reason),
  );
}

/** UUIDs in text form sort as their bytes do. */
function within(a: IdRange, b: IdRange | undefined): IdRange {
  return b ? { low: a.low > b.low ? a.low : b.low, high: a.high < b.high ? a.high : b.high } : a;
}
