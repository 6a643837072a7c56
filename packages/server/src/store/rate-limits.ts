/** Requests that are lent to this process, to be counted here without asking again. */
import type { RateLimit } from '../domain/tenant.ts';
import type { Queryable } from './database.ts';

export interface Lease {
  /** 0: nothing is left, or a newer window has begun meanwhile. */
  readonly granted: number;
  /** Not yet lent to anybody in this window. */
  readonly left: number;
  /** Until the window ends. */
  readonly endsInMs: number;
}

/** `name`: `tenant`, or the id of a key. What is granted is taken off the limit at once, whether it is used or not. */
export async function leaseRequests(
  db: Queryable,
  { tenantId, name, limit, wanted }: { tenantId: string; name: string; limit: RateLimit; wanted: number },
): Promise<Lease> {
  const same = 'r.window_s = excluded.window_s and r.window_start';
  const { rows } = await db.query<Lease>({
    name: 'rate-limits-lease',
    // A transaction that waited may come from an older window than the row: it is granted nothing, and asks again.
    text: `insert into carillon.rate_limits as r (tenant_id, name, window_s, window_start, used, granted)
           values ($1, $2, $3::integer, to_timestamp(floor(extract(epoch from carillon.now()) / $3::integer) * $3::integer), least($4::bigint, $5::bigint), least($4::bigint, $5::bigint))
               on conflict (tenant_id, name) do update
              set granted = case when ${same} > excluded.window_start then 0
                                 when ${same} = excluded.window_start then greatest(0, least(excluded.granted, $5::bigint - r.used))
                                 else excluded.granted end,
                  used = case when ${same} > excluded.window_start then r.used
                              when ${same} = excluded.window_start then r.used + greatest(0, least(excluded.granted, $5::bigint - r.used))
                              else excluded.used end,
                  window_start = case when ${same} > excluded.window_start then r.window_start else excluded.window_start end,
                  window_s = excluded.window_s
        returning granted, greatest(0, $5::bigint - used) as left,
                  (extract(epoch from window_start + make_interval(secs => $3::integer) - carillon.now()) * 1000)::float8 as "endsInMs"`,
    values: [tenantId, name, limit.window_seconds, wanted, limit.requests],
  });
  const [row] = rows;
  if (!row) throw new Error('an upsert gave no row');
  return row;
}
