/** Items come into digests. Whoever adds one holds the digest's row, as does who closes it. */
import { hash } from 'node:crypto';
import { ENTRY_KINDS } from '../domain/delivery.ts';
import { MAX_ITEMS, type NewItem } from '../domain/digest.ts';
import type { Tx } from '../domain/event.ts';
import { REASONS } from '../domain/reason.ts';
import { newId } from '../lib/id.ts';
import { bareArray, bounds, textArray } from './arrays.ts';
import { within } from './database.ts';

/** What all items of one digest share. */
function slotOf({ userId, channel, address, key }: NewItem): string {
  return hash('sha256', [userId, channel, address, key].join('\0'), 'base64');
}

interface Opening {
  readonly slot: string;
  readonly item: NewItem;
  readonly ids: string[];
  closesAt: Date;
}

function slotName(item: NewItem): string {
  return `${item.tenantId}\0${slotOf(item)}`;
}

function openingsOf(items: readonly NewItem[]): Opening[] {
  const openings = new Map<string, Opening>();
  for (const item of items) {
    const name = slotName(item);
    const known = openings.get(name);
    if (!known) openings.set(name, { slot: slotOf(item), item, ids: [item.deliveryId], closesAt: item.closesAt });
    else {
      known.ids.push(item.deliveryId);
      if (item.closesAt < known.closesAt) known.closesAt = item.closesAt;
    }
  }
  return [...openings.values()];
}

/**
 * Deliveries that this transaction inserts wait in the open digest of their slot, or open one. Rows are locked sorted, until the
 * end of the transaction. A full one takes no more and is due.
 */
export async function joinDigests(tx: Tx, items: readonly NewItem[]): Promise<void> {
  const opened = await openDigests(tx, openingsOf(items));
  await placeItems(tx, items, (item) => {
    const digest = opened.get(slotName(item));
    if (!digest) throw new Error(`the digest of the delivery ${item.deliveryId} is not there`);
    return digest;
  });
}

/** When the digests close that these would wait in, joined or opened at that time; in their order. Joins and opens none. */
export async function foreseeDigests(tx: Tx, items: readonly NewItem[], at: Date): Promise<Date[]> {
  const { rows } = await within(tx).query<{ closes_at: Date }>({
    name: 'digests-foresee',
    text: `select coalesce(
             (select greatest(d.held_until, case when d.items + 1 < ${MAX_ITEMS} then least(d.closes_at, g.closes_at) else $4::timestamptz end)
                from carillon.digests d where d.slot = g.slot and d.tenant_id = g.tenant_id and d.open and d.closes_at > $4), g.closes_at) as closes_at
             from unnest($1::text[], $2::text[], $3::timestamptz[]) with ordinality as g (tenant_id, slot, closes_at, place)
            order by place`,
    values: [
      textArray(items.map(({ tenantId }) => tenantId)),
      textArray(items.map(slotOf)),
      bareArray(items.map(({ closesAt }) => closesAt.toISOString())),
      at,
    ],
  });
  return rows.map((row) => row.closes_at);
}

interface OpenRow {
  tenant_id: string;
  slot: string;
  id: string;
  closes_at: Date;
}

/** By tenant and slot. */
async function openDigests(tx: Tx, openings: readonly Opening[]): Promise<Map<string, OpenRow>> {
  const spread = openings.map(({ ids }) => bounds(ids));
  const { rows } = await within(tx).query<OpenRow>({
    name: 'digests-open',
    text: `insert into carillon.digests as d (tenant_id, slot, id, user_id, channel, address, key, items, low, high, opened_at, closes_at, open)
           select tenant_id, slot, id, user_id, channel, address, key, items, low, high, carillon.now(),
                  case when items >= ${MAX_ITEMS} then carillon.now() else closes_at end, items < ${MAX_ITEMS}
             from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[], $9::uuid[], $10::uuid[], $11::timestamptz[])
               as n (tenant_id, slot, id, user_id, channel, address, key, items, low, high, closes_at)
            order by tenant_id collate "C", slot collate "C"
               on conflict (slot, tenant_id) where open do update
              set items = d.items + excluded.items, low = least(d.low, excluded.low), high = greatest(d.high, excluded.high),
                  open = d.items + excluded.items < ${MAX_ITEMS},
                  closes_at = greatest(d.held_until, case when d.items + excluded.items < ${MAX_ITEMS} then least(d.closes_at, excluded.closes_at) else carillon.now() end)
        returning d.tenant_id, d.slot, d.id, d.closes_at`,
    values: [
      textArray(openings.map(({ item }) => item.tenantId)),
      textArray(openings.map(({ slot }) => slot)),
      bareArray(openings.map(({ item }) => newId(item.closesAt))),
      textArray(openings.map(({ item }) => item.userId)),
      textArray(openings.map(({ item }) => item.channel)),
      textArray(openings.map(({ item }) => item.address)),
      textArray(openings.map(({ item }) => item.key)),
      bareArray(openings.map(({ ids }) => ids.length)),
      bareArray(spread.map(([low]) => low)),
      bareArray(spread.map(([, high]) => high)),
      bareArray(openings.map(({ closesAt }) => closesAt.toISOString())),
    ],
  });
  return new Map(rows.map((row) => [`${row.tenant_id}\0${row.slot}`, row]));
}

/** With the first entry of each timeline. */
async function placeItems(tx: Tx, items: readonly NewItem[], digestOf: (item: NewItem) => OpenRow): Promise<void> {
  const ids = items.map(({ deliveryId }) => deliveryId);
  const digests = items.map(digestOf);
  await within(tx).query({
    name: 'digests-place-items',
    text: `with given as materialized (
             select * from unnest($1::uuid[], $4::text[], $5::uuid[], $6::timestamptz[]) as g (id, tenant_id, digest_id, closes_at)
           ), entered as (
             insert into carillon.attempts (delivery_id, number, tenant_id, kind, at, reason, next_attempt_at)
             select id, 1, tenant_id, ${ENTRY_KINDS.held}, carillon.now(), ${REASONS.digest_waiting.number}, closes_at from given
           )
           update carillon.deliveries d set digest_id = g.digest_id
             from given g where d.id = any($1) and d.id between $2 and $3 and d.id = g.id`,
    values: [
      bareArray(ids),
      ...bounds(ids),
      textArray(items.map(({ tenantId }) => tenantId)),
      bareArray(digests.map(({ id }) => id)),
      bareArray(digests.map(({ closes_at: closesAt }) => closesAt.toISOString())),
    ],
  });
}
