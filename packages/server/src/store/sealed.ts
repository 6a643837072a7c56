/** Secrets at rest, wherever they stand: under which keys they are sealed, and sealed again under the current one. */
import type { Tx } from '../domain/event.ts';
import type { Vault } from '../lib/crypto.ts';
import { within, type Queryable } from './database.ts';

interface Place {
  readonly table: string;
  readonly column: string;
  /** What a secret was bound to when it was sealed, as SQL. */
  readonly context: string;
}

const ofDestination = (purpose: 'config' | 'secret') => `'destination:' || tenant_id || ':' || id || ':${purpose}'`;
/** Every column that holds a sealed secret. */
const PLACES: readonly Place[] = [
  { table: 'tenant_secrets', column: 'sealed', context: "'tenant:' || tenant_id || ':' || purpose" },
  { table: 'destinations', column: 'config', context: ofDestination('config') },
  { table: 'destinations', column: 'secret', context: ofDestination('secret') },
  { table: 'destinations', column: 'previous_secret', context: ofDestination('secret') },
];

/** How many secrets are sealed under each key, by its id. */
export async function keysInUse(db: Queryable): Promise<Map<string, number>> {
  const each = PLACES.map(({ table, column }) => `select ${column} as sealed from carillon.${table} where ${column} is not null`);
  const { rows } = await db.query<{ id: string; count: number }>({
    name: 'sealed-keys',
    text: `select convert_from(substring(sealed from 3 for get_byte(sealed, 1)), 'UTF8') as id, count(*) from (${each.join(' union all ')}) s group by 1 order by 1`,
    values: [],
  });
  return new Map(rows.map(({ id, count }) => [id, count]));
}

/** Seals up to `limit` secrets again under the current key. Resolves with how many; 0: none is left. */
export async function reseal(tx: Tx, vault: Vault, limit: number): Promise<number> {
  for (const place of PLACES) {
    const rows = await lockOlder(tx, place, { head: vault.head, limit });
    if (rows.length === 0) continue;
    await replace(
      tx,
      place,
      rows.map(({ at, sealed, context }) => ({ at, sealed: vault.seal(vault.open(sealed, context), context) })),
    );
    return rows.length;
  }
  return 0;
}

interface SealedRow {
  /** Where it stands, until the end of the transaction. */
  readonly at: string;
  readonly sealed: Uint8Array;
  readonly context: string;
}

async function lockOlder(
  tx: Tx,
  { table, column, context }: Place,
  { head, limit }: { head: Uint8Array; limit: number },
): Promise<SealedRow[]> {
  const { rows } = await within(tx).query<SealedRow>({
    name: `sealed-older-${table}-${column}`,
    text: `select ctid::text as at, ${column} as sealed, ${context} as context from carillon.${table}
            where substring(${column} from 1 for octet_length($1::bytea)) <> $1 limit $2 for update`,
    values: [head, limit],
  });
  return rows;
}

async function replace(tx: Tx, { table, column }: Place, rows: readonly Omit<SealedRow, 'context'>[]): Promise<void> {
  await within(tx).query({
    name: `sealed-replace-${table}-${column}`,
    text: `update carillon.${table} t set ${column} = g.sealed from unnest($1::tid[], $2::bytea[]) as g (at, sealed) where t.ctid = g.at`,
    values: [rows.map(({ at }) => at), rows.map(({ sealed }) => sealed)],
  });
}
