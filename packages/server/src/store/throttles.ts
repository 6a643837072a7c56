/** What was told to users in the windows of their throttles. */
import type { Tx } from '../domain/event.ts';
import type { Limit } from '../domain/throttle.ts';
import { bareArray, textArray } from './arrays.ts';
import { within, type Queryable } from './database.ts';
import type { UserKey } from './users.ts';

export interface ThrottleAsk {
  readonly tenantId: string;
  readonly userId: string;
  readonly limit: Limit;
  readonly wanted: number;
}

/** Longer than any transaction: one that got the lock late must still see what one that began after it has dropped from its window. */
const SKEW = "interval '60 s'";

/**
 * Counts as many of each as its window still holds, and says how many, in the order of `asked`. Rows are locked sorted, until
 * the end of the transaction. Later times count too: whoever is last under the lock has then seen all of its window.
 */
export async function admitThrottled(tx: Tx, asked: readonly ThrottleAsk[]): Promise<number[]> {
  const live = '(select count(*) from unnest(t.hits) as hit where hit > carillon.now() - make_interval(secs => excluded.window_s))';
  const granted = `greatest(0, least(excluded.granted, excluded.max_hits - ${live}))::integer`;
  const { rows } = await within(tx).query<{ tenant_id: string; user_id: string; bucket: string; granted: number }>({
    name: 'throttles-admit',
    text: `insert into carillon.throttles as t (tenant_id, user_id, bucket, hits, max_hits, window_s, granted, expires_at)
           select tenant_id, user_id, bucket, array_fill(carillon.now(), array[least(wanted, max_hits)]), max_hits, window_s, least(wanted, max_hits),
                  carillon.now() + make_interval(secs => window_s) + ${SKEW}
             from unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::integer[], $6::integer[]) as g (tenant_id, user_id, bucket, wanted, max_hits, window_s)
            order by tenant_id collate "C", user_id collate "C", bucket collate "C"
               on conflict (tenant_id, user_id, bucket) do update
              set hits = array(select hit from unnest(t.hits) as hit where hit > carillon.now() - make_interval(secs => excluded.window_s) - ${SKEW})
                         || array_fill(carillon.now(), array[${granted}]),
                  granted = ${granted}, max_hits = excluded.max_hits, window_s = excluded.window_s, expires_at = greatest(t.expires_at, excluded.expires_at)
        returning tenant_id, user_id, bucket, granted`,
    values: columnsOf(asked),
  });
  const byName = new Map(rows.map((row) => [`${row.tenant_id}\0${row.user_id}\0${row.bucket}`, row.granted]));
  return asked.map(({ tenantId, userId, limit }) => byName.get(`${tenantId}\0${userId}\0${limit.bucket}`) ?? 0);
}

/** How many of each the window before `at` still holds, in the order of `asked`. Counts nothing. What came after a past `at` is left out. */
export async function foreseeThrottled(tx: Tx, asked: readonly ThrottleAsk[], at: Date): Promise<number[]> {
  const { rows } = await within(tx).query<{ admissible: number }>({
    name: 'throttles-foresee',
    text: `select greatest(0, least(wanted, max_hits - coalesce(
                    (select (select count(*) from unnest(t.hits) as hit where hit > $7::timestamptz - make_interval(secs => window_s) and (hit <= $7 or $7 > carillon.now() - ${SKEW}))
                       from carillon.throttles t where t.tenant_id = g.tenant_id and t.user_id = g.user_id and t.bucket = g.bucket), 0)))::integer as admissible
             from unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::integer[], $6::integer[])
                    with ordinality as g (tenant_id, user_id, bucket, wanted, max_hits, window_s, place)
            order by place`,
    values: [...columnsOf(asked), at],
  });
  return rows.map((row) => row.admissible);
}

function columnsOf(asked: readonly ThrottleAsk[]): unknown[] {
  return [
    textArray(asked.map((one) => one.tenantId)),
    textArray(asked.map((one) => one.userId)),
    textArray(asked.map(({ limit }) => limit.bucket)),
    bareArray(asked.map((one) => one.wanted)),
    bareArray(asked.map(({ limit }) => limit.max_per_window)),
    bareArray(asked.map(({ limit }) => limit.window_seconds)),
  ];
}

export interface ThrottleCount {
  readonly bucket: string;
  readonly count: number;
  readonly max: number;
  readonly windowSeconds: number;
}

/** What counts at the moment. */
export async function readThrottles(tx: Tx, { tenantId, id }: UserKey): Promise<ThrottleCount[]> {
  const { rows } = await within(tx).query<ThrottleCount>({
    name: 'throttles-read',
    text: `select bucket, max_hits as max, window_s as "windowSeconds",
                  (select count(*)::integer from unnest(hits) as hit where hit > carillon.now() - make_interval(secs => window_s)) as count
             from carillon.throttles where tenant_id = $1 and user_id = $2 order by bucket`,
    values: [tenantId, id],
  });
  return rows;
}

/** Returns how many buckets began anew. */
export async function clearThrottles(tx: Tx, { tenantId, id }: UserKey): Promise<number> {
  const { rowCount } = await within(tx).query({
    name: 'throttles-clear',
    text: 'delete from carillon.throttles where tenant_id = $1 and user_id = $2',
    values: [tenantId, id],
  });
  return rowCount;
}

/** Deletes up to `limit` rows in which nothing counts any more; returns how many. */
export async function sweepThrottles(db: Queryable, limit: number): Promise<number> {
  const { rowCount } = await db.query({
    name: 'throttles-sweep',
    text: `with expired as materialized (
             select tenant_id, user_id, bucket from carillon.throttles
              where expires_at <= carillon.now() order by expires_at limit $1 for update skip locked
           )
           delete from carillon.throttles t using expired e where t.tenant_id = e.tenant_id and t.user_id = e.user_id and t.bucket = e.bucket`,
    values: [limit],
  });
  return rowCount;
}
