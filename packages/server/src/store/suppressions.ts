/** The suppression list: addresses that are not written to again. */
import type { Tx } from '../domain/event.ts';
import { SUPPRESSION_REASONS, type ListedAddress, type SuppressionReason, type SuppressionSource } from '../domain/suppression.ts';
import { textArray } from './arrays.ts';
import { within } from './database.ts';

export interface Suppression {
  readonly channel: string;
  readonly address: string;
  readonly reason: number;
  readonly source: string;
  readonly detail: string | null;
  readonly deliveryId: string | null;
  readonly createdAt: Date;
}

export interface NewSuppression extends ListedAddress {
  readonly reason: SuppressionReason;
  readonly source: SuppressionSource;
  readonly detail: string | null;
  /** UUID. */
  readonly deliveryId: string | null;
}

const COLUMNS = 's.channel, s.address, s.reason, s.source, s.detail, s.delivery_id as "deliveryId", s.created_at as "createdAt"';

/** What is on the list stays there from the time it came; a weightier reason takes the place of a lighter one. */
export async function suppress(tx: Tx, given: NewSuppression): Promise<{ suppression: Suppression; added: boolean }> {
  const { tenantId, channel, address, reason, source, detail, deliveryId } = given;
  const { rows } = await within(tx).query<Suppression & { added: boolean }>({
    name: 'suppressions-add',
    text: `insert into carillon.suppressions as s (tenant_id, channel, address, reason, source, detail, delivery_id) values ($1, $2, $3, $4, $5, $6, $7)
               on conflict (tenant_id, channel, address) do update
              set reason = greatest(s.reason, excluded.reason),
                  source = case when excluded.reason >= s.reason then excluded.source else s.source end,
                  detail = case when excluded.reason >= s.reason then excluded.detail else s.detail end,
                  delivery_id = case when excluded.reason >= s.reason then excluded.delivery_id else s.delivery_id end
        returning ${COLUMNS}, s.xmax = 0 as added`,
    values: [tenantId, channel, address, SUPPRESSION_REASONS[reason], source, detail, deliveryId],
  });
  const [row] = rows;
  if (!row) throw new Error('an upsert gave no row');
  return { suppression: row, added: row.added };
}

/** False for an address that is not on the list. */
export async function unsuppress(tx: Tx, { tenantId, channel, address }: ListedAddress): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'suppressions-remove',
    text: 'delete from carillon.suppressions where tenant_id = $1 and channel = $2 and address = $3',
    values: [tenantId, channel, address],
  });
  return rowCount > 0;
}

export interface SuppressionQuery {
  readonly tenantId: string;
  readonly channel: string | null;
  readonly reason: number | null;
  readonly address: string | null;
  /** Exclusive: channel and address of the last one shown. */
  readonly after: readonly [channel: string, address: string] | null;
  readonly limit: number;
}

/** By channel and address. */
export async function listSuppressions(tx: Tx, query: SuppressionQuery): Promise<Suppression[]> {
  const [channel = '', address = ''] = query.after ?? [];
  const { rows } = await within(tx).query<Suppression>({
    name: 'suppressions-list',
    text: `select ${COLUMNS} from carillon.suppressions s
            where s.tenant_id = $1 and (s.channel, s.address) > ($2, $3)
              and ($4::text is null or s.channel = $4) and ($5::smallint is null or s.reason = $5) and ($6::text is null or s.address = $6)
            order by s.channel, s.address limit $7`,
    values: [query.tenantId, channel, address, query.channel, query.reason, query.address, query.limit],
  });
  return rows;
}

/** Those of the given ones that are on the list. */
export async function suppressedAmong(tx: Tx, given: readonly ListedAddress[]): Promise<ListedAddress[]> {
  const { rows } = await within(tx).query<{ tenant_id: string; channel: string; address: string }>({
    name: 'suppressions-among',
    // `offset 0`: one look by key for each. A join planned while the list was short would read all of it.
    text: `select s.* from unnest($1::text[], $2::text[], $3::text[]) as k (tenant_id, channel, address)
            cross join lateral (select s.tenant_id, s.channel, s.address from carillon.suppressions s
                                 where s.tenant_id = k.tenant_id and s.channel = k.channel and s.address = k.address offset 0) as s`,
    values: [
      textArray(given.map((one) => one.tenantId)),
      textArray(given.map((one) => one.channel)),
      textArray(given.map((one) => one.address)),
    ],
  });
  return rows.map((row) => ({ tenantId: row.tenant_id, channel: row.channel, address: row.address }));
}
