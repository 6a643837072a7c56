/** Deliveries in order: of one lane and ordering key, the next is due when the one before has ended. */
import { DELIVERY_STATES as S } from '../domain/delivery.ts';
import { EVENT_STATES as E, type CarillonEvent, type Tx } from '../domain/event.ts';
import { REASONS } from '../domain/reason.ts';
import { firstIdAt } from '../lib/id.ts';
import { bareArray, bounds, textArray } from './arrays.ts';
import { within, type Database, type Queryable } from './database.ts';

/** Printable ids never contain it: no two pairs become one text. */
const APART = "E'\\x1f'";

/** For events that have just been inserted: the order in which they were accepted, across processes. */
export async function numberEvents(tx: Tx, events: readonly CarillonEvent[]): Promise<void> {
  if (events.length === 0) return;
  const ids = events.map(({ id }) => id);
  await within(tx).query({
    name: 'ordering-number-events',
    text: `with given as materialized (select id, tenant_id, key, nextval('carillon.ordering') as number from unnest($1::uuid[], $4::text[], $5::text[]) as g (id, tenant_id, key))
           update carillon.events e set ordering = carillon.ordering_hash(g.tenant_id || ${APART} || g.key), ordering_number = g.number
             from given g where e.id = any($1) and e.id between $2 and $3 and e.id = g.id`,
    values: [
      bareArray(ids),
      ...bounds(ids),
      textArray(events.map(({ tenantId }) => tenantId)),
      textArray(events.map(({ request }) => request.ordering_key ?? '')),
    ],
  });
}

/** Deliveries of these events that have just been inserted wait for their turn, instead of being due. Resolves with their queues. */
export async function enqueue(tx: Tx, events: readonly CarillonEvent[]): Promise<number[]> {
  const ordered = events.flatMap(({ id, dueAt, ordering, request }) =>
    ordering ? [{ id, dueAt, ...ordering, key: request.ordering_key ?? '' }] : [],
  );
  if (ordered.length === 0) return [];
  const times = ordered.map(({ dueAt }) => dueAt.getTime());
  const { rows } = await within(tx).query<{ queue: number }>({
    name: 'ordering-enqueue',
    text: `update carillon.deliveries d
              set queue = carillon.ordering_hash(d.lane || ${APART} || g.key), ordering = g.ordering, ordering_number = g.number,
                  status = ${S.pending}, reason = ${REASONS.in_order.number}, due_at = null
             from unnest($1::uuid[], $4::text[], $5::bigint[], $6::bigint[]) as g (event_id, key, ordering, number)
            where d.event_id = any($1) and d.id >= $2 and d.id < $3 and d.event_id = g.event_id
              and d.status in (${S.pending}, ${S.held}) and d.due_at is not null and d.lane is not null and d.queue is null
        returning d.queue`,
    values: [
      bareArray(ordered.map(({ id }) => id)),
      firstIdAt(new Date(Math.min(...times))), // deliveries' ids hold the event's due time
      firstIdAt(new Date(Math.max(...times) + 1)),
      textArray(ordered.map(({ key }) => key)),
      bareArray(ordered.map(({ hash }) => hash)),
      bareArray(ordered.map(({ number }) => number)),
    ],
  });
  return [...new Set(rows.map(({ queue }) => queue))];
}

/**
 * Makes the first of each queue due, where none has begun and no event that was accepted before it is still to be routed.
 * Resolves with how many. Whoever else does the same for one of these queues waits, and then looks at what has become of it.
 */
export async function takeTurns({ transaction }: Pick<Database, 'transaction'>, queues: readonly number[]): Promise<number> {
  const sorted = [...new Set(queues)].sort((left, right) => left - right);
  if (sorted.length === 0) return 0;
  return transaction(async (tx) => {
    const [, , { rowCount }] = await Promise.all([lockQueues(tx, sorted), byIndexAlone(tx), beginTurns(tx, sorted)]);
    return rowCount;
  });
}

async function lockQueues(tx: Tx, queues: readonly number[]): Promise<void> {
  await within(tx).query({
    name: 'ordering-lock-queues',
    text: 'select pg_advisory_xact_lock(queue) from unnest($1::bigint[]) with ordinality as q (queue, at) order by at',
    values: [bareArray(queues)],
  });
}

/** Planned while the tables are empty, or for all partitions together, scans would look cheaper. */
async function byIndexAlone(tx: Tx): Promise<void> {
  await within(tx).query({
    name: 'ordering-settings',
    text: "select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)",
    values: [],
  });
}

function beginTurns(tx: Tx, queues: readonly number[]): Promise<{ rowCount: number }> {
  return within(tx).query({
    name: 'ordering-begin-turns',
    text: `update carillon.deliveries d set due_at = carillon.now(), reason = ${REASONS.queued.number}
            where d.id = any(array(
              select w.id from unnest($1::bigint[]) as q (queue)
               cross join lateral (select id, tenant_id, ordering, ordering_number from carillon.deliveries
                                    where queue = q.queue and status = ${S.pending} and due_at is null order by ordering_number, id limit 1) as w
               where (select true from carillon.deliveries b where b.queue = q.queue and (b.due_at is not null or b.status = ${S.held}) limit 1) is null
                 and (select true from carillon.events e where e.ordering = w.ordering and e.ordering_number < w.ordering_number and e.tenant_id = w.tenant_id
                         and e.due_at is not null and (e.status = ${E.accepted} or e.due_at <= carillon.now()) limit 1) is null))
              and d.status = ${S.pending} and d.due_at is null`,
    values: [bareArray(queues)],
  });
}

/** The next queues, by hash, in which something waits. What a killed process, a cancellation or an erasure has left is found here. */
export async function queuesAfter(db: Queryable, after: number, limit: number): Promise<number[]> {
  const next = (above: string) =>
    `select d.queue from carillon.deliveries d where d.queue > ${above} and d.status = ${S.pending} and d.due_at is null order by d.queue limit 1`;
  const { rows } = await db.query<{ queue: number }>({
    name: 'ordering-queues-after',
    // From queue to queue by the index, however many wait in one.
    text: `with recursive q as ((${next('$1::bigint')}) union all select (${next('q.queue')}) from q where q.queue is not null)
           select queue from q where queue is not null limit $2`,
    values: [after, limit],
  });
  return rows.map(({ queue }) => queue);
}
