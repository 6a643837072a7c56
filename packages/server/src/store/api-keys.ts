/** API keys. Only their HMAC is stored; the key itself is seen once, by whoever made it. */
import type { Tx } from '../domain/event.ts';
import { within, type Queryable } from './database.ts';

export interface ApiKey {
  /** UUID. */
  readonly id: string;
  readonly name: string;
  /** The key's first characters, for people. */
  readonly hint: string;
  readonly scopes: readonly string[];
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
  readonly lastUsedAt: Date | null;
}

export interface NewApiKey {
  readonly tenantId: string;
  readonly id: string;
  readonly hash: Uint8Array;
  readonly name: string;
  readonly hint: string;
  readonly scopes: readonly string[];
  readonly expiresAt: Date | null;
}

const COLUMNS = `id, name, hint, scopes, created_at as "createdAt", expires_at as "expiresAt", revoked_at as "revokedAt", last_used_at as "lastUsedAt"`;

/** Undefined when this key exists already, revoked or not. */
export async function createKey(tx: Tx, key: NewApiKey): Promise<ApiKey | undefined> {
  const { rows } = await within(tx).query<ApiKey>({
    name: 'api-keys-create',
    text: `insert into carillon.api_keys (tenant_id, id, hash, name, hint, scopes, expires_at)
           values ($1, $2, $3, $4, $5, $6, $7) on conflict (hash, tenant_id) do nothing returning ${COLUMNS}`,
    values: [key.tenantId, key.id, key.hash, key.name, key.hint, key.scopes, key.expiresAt],
  });
  return rows[0];
}

export interface ValidKey {
  readonly tenantId: string;
  readonly keyId: string;
  readonly client: string;
  readonly scopes: readonly string[];
  /** By the database's clock; null: it does not expire. */
  readonly expiresInMs: number | null;
}

/** Undefined for keys that are unknown, revoked or expired: they must not be told apart. */
export async function findByHash(db: Queryable, hash: Uint8Array): Promise<ValidKey | undefined> {
  const { rows } = await db.query<ValidKey>({
    name: 'api-keys-find',
    text: `select tenant_id as "tenantId", id as "keyId", name as client, scopes,
                  (extract(epoch from expires_at - carillon.now()) * 1000)::float8 as "expiresInMs"
             from carillon.api_keys
            where hash = $1 and revoked_at is null and (expires_at is null or expires_at > carillon.now())
            order by tenant_id limit 1`,
    values: [hash],
  });
  return rows[0];
}

/** Newest first. `beforeId`: only keys made before that one. */
export async function listKeys(
  tx: Tx,
  tenantId: string,
  { limit, beforeId }: { limit: number; beforeId: string | null },
): Promise<ApiKey[]> {
  const { rows } = await within(tx).query<ApiKey>({
    name: 'api-keys-list',
    text: `select ${COLUMNS} from carillon.api_keys
            where tenant_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3`,
    values: [tenantId, beforeId, limit],
  });
  return rows;
}

/** False when there is no such key. Revoking twice keeps the first time. */
export async function revokeKey(tx: Tx, tenantId: string, id: string): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'api-keys-revoke',
    text: 'update carillon.api_keys set revoked_at = coalesce(revoked_at, carillon.now()) where tenant_id = $1 and id = $2',
    values: [tenantId, id],
  });
  return rowCount > 0;
}

/** Notes that the keys were used just now. A key that somebody else is writing is passed over: they write the same. */
export async function touchKeys(db: Queryable, uses: readonly { readonly tenantId: string; readonly keyId: string }[]): Promise<void> {
  await db.query({
    name: 'api-keys-touch',
    text: `with used as (
             select k.tenant_id, k.id from carillon.api_keys k
               join unnest($1::text[], $2::uuid[]) as u (tenant_id, id) on u.tenant_id = k.tenant_id and u.id = k.id
                for update of k skip locked)
           update carillon.api_keys k set last_used_at = carillon.now() from used where k.tenant_id = used.tenant_id and k.id = used.id`,
    values: [uses.map((use) => use.tenantId), uses.map((use) => use.keyId)],
  });
}
