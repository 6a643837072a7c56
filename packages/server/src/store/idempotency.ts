/** First answers by key. A key's row commits with the effect it stands for. */
import type { KeyClaim, KnownKey, Tx } from '../domain/event.ts';
import { bareColumn, textColumn } from './arrays.ts';
import { within, type Queryable } from './database.ts';

// Sorted, so that two transactions with the same keys wait for each other instead of deadlocking.
const CLAIM = `insert into carillon.idempotency_keys as k (tenant_id, route, key, request_hash, answer, created_at, expires_at)
           select tenant_id, route, key, decode(hash, 'hex'), answer, carillon.now(), carillon.now() + make_interval(secs => ttl_ms / 1000)
             from rows from (unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::float8[]), json_array_elements($6::json)) as given (tenant_id, route, key, hash, ttl_ms, answer)
            order by tenant_id collate "C", route, key collate "C"
               on conflict (tenant_id, route, key) do update
              set request_hash = excluded.request_hash, answer = excluded.answer, created_at = excluded.created_at, expires_at = excluded.expires_at
            where k.expires_at <= carillon.now()`;

function valuesOf(claims: readonly KeyClaim[]): string[] {
  return [
    ...namesOf(claims),
    textColumn(claims, ({ hash }) => hex(hash)), // empty where bodies are not compared
    bareColumn(claims, ({ ttlMs }) => ttlMs),
    JSON.stringify(claims.map(({ answer }) => answer)),
  ];
}

/**
 * Inserts the keys, or overwrites expired ones, and returns those that were known already. Waits while another
 * transaction holds a key: a lock timeout (55P03) means that the first request is still running.
 * No key may stand twice among the claims.
 */
export async function claimKeys(tx: Tx, claims: readonly KeyClaim[]): Promise<KnownKey[]> {
  if (claims.length === 0) return [];
  const { rowCount } = await within(tx).query({ name: 'idempotency-claim', text: CLAIM, values: valuesOf(claims) });
  return rowCount === claims.length ? [] : knownBefore(tx, claims);
}

/** The same, aborting the transaction when one of them was known: `isKnownKey` tells that error from others. */
export async function claimNewKeys(tx: Tx, claims: readonly KeyClaim[]): Promise<void> {
  await within(tx).query({
    name: 'idempotency-claim-new',
    text: `with claimed as (${CLAIM} returning 1) select carillon.require_new(count(*) = $7) from claimed`,
    values: [...valuesOf(claims), claims.length],
  });
}

/** SQLSTATE of `carillon.require_new`. */
const KNOWN_KEY = 'CN001';

export function isKnownKey(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === KNOWN_KEY;
}

/** Of these keys those that this transaction has not written itself. */
async function knownBefore(tx: Tx, claims: readonly KeyClaim[]): Promise<KnownKey[]> {
  const { rows } = await within(tx).query<KnownKey>({
    name: 'idempotency-known-before',
    text: `${RECALL} where k.xmin <> pg_current_xact_id()::xid`,
    values: namesOf(claims),
  });
  return rows;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

// `offset 0`: one look by key for each. A join planned while there were few keys would read them all.
const RECALL = `select k.tenant_id as "tenantId", k.route, k.key, k.request_hash as hash, k.answer
             from unnest($1::text[], $2::text[], $3::text[]) as given (tenant_id, route, key)
            cross join lateral (
                  select k.*, k.xmin from carillon.idempotency_keys k
                   where k.tenant_id = given.tenant_id and k.route = given.route and k.key = given.key offset 0) as k`;

type KeyName = Pick<KeyClaim, 'tenantId' | 'route' | 'key'>;

function namesOf(keys: readonly KeyName[]): string[] {
  return [textColumn(keys, ({ tenantId }) => tenantId), textColumn(keys, ({ route }) => route), textColumn(keys, ({ key }) => key)];
}

/** Keys that are known and not expired, with their first answers. */
export async function recallKeys(db: Queryable, keys: readonly KeyName[]): Promise<KnownKey[]> {
  const { rows } = await db.query<KnownKey>({
    name: 'idempotency-recall',
    text: `${RECALL} where k.expires_at > carillon.now()`,
    values: namesOf(keys),
  });
  return rows;
}

/** Replaces the answer of a key that this transaction has just claimed. */
export async function storeAnswer(
  tx: Tx,
  { tenantId, route, key, answer }: Pick<KeyClaim, 'tenantId' | 'route' | 'key' | 'answer'>,
): Promise<void> {
  await within(tx).query({
    name: 'idempotency-answer',
    text: 'update carillon.idempotency_keys set answer = $4::json where tenant_id = $1 and route = $2 and key = $3',
    values: [tenantId, route, key, JSON.stringify(answer)],
  });
}

/** Deletes up to `limit` expired keys; returns how many. */
export async function sweepKeys(db: Queryable, limit: number): Promise<number> {
  const { rowCount } = await db.query({
    name: 'idempotency-sweep',
    // By place, which stands still while the rows are locked, and within their times: else a plan made on a small table reads the whole one.
    text: `with expired as materialized (
             select ctid, expires_at from carillon.idempotency_keys
              where expires_at <= carillon.now() order by expires_at limit $1 for update skip locked
           )
           delete from carillon.idempotency_keys
            where ctid = any (array(select ctid from expired)) and expires_at between '-infinity' and (select max(expires_at) from expired)`,
    values: [limit],
  });
  return rowCount;
}
