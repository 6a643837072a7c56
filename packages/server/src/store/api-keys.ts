/** API keys. Only their HMAC is stored; the key itself is seen once, by whoever made it. */
import type { Tx } from '../domain/event.ts';
import type { RateLimit } from '../domain/tenant.ts';
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
  /** UUID of the key that took over. */
  readonly replacedBy: string | null;
  readonly rateLimit: RateLimit | null;
  /** A client of Cloudflare Access: then nobody holds a key. */
  readonly accessClientId: string | null;
  readonly requestCount: number;
  readonly eventCount: number;
}

export interface NewApiKey {
  readonly tenantId: string;
  readonly id: string;
  readonly hash: Uint8Array;
  readonly name: string;
  readonly hint: string;
  readonly scopes: readonly string[];
  readonly expiresAt: Date | null;
  readonly rateLimit: RateLimit | null;
  readonly accessClientId: string | null;
}

const COLUMNS = `id, name, hint, scopes, created_at as "createdAt", expires_at as "expiresAt", revoked_at as "revokedAt", last_used_at as "lastUsedAt",
  replaced_by as "replacedBy", rate_limit as "rateLimit", access_client_id as "accessClientId", request_count as "requestCount", event_count as "eventCount"`;

/** Undefined when this key exists already, revoked or not. */
export async function createKey(tx: Tx, key: NewApiKey): Promise<ApiKey | undefined> {
  const { rows } = await within(tx).query<ApiKey>({
    name: 'api-keys-create',
    text: `insert into carillon.api_keys (tenant_id, id, hash, name, hint, scopes, expires_at, rate_limit, access_client_id)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (hash, tenant_id) do nothing returning ${COLUMNS}`,
    values: [key.tenantId, key.id, key.hash, key.name, key.hint, key.scopes, key.expiresAt, key.rateLimit, key.accessClientId],
  });
  return rows[0];
}

/** Whether a tenant has a key with this hash, revoked or not. As the engine: of all tenants. */
export async function hashExists(tx: Tx, hash: Uint8Array): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'api-keys-hash-exists',
    text: 'select from carillon.api_keys where hash = $1 limit 1',
    values: [hash],
  });
  return rowCount > 0;
}

export interface ValidKey {
  readonly tenantId: string;
  readonly keyId: string;
  readonly client: string;
  readonly scopes: readonly string[];
  readonly keyLimit: RateLimit | null;
  readonly tenantLimit: RateLimit | null;
  /** By the database's clock; null: it does not expire. */
  readonly expiresInMs: number | null;
}

/** Undefined for keys that are unknown, revoked or expired: they must not be told apart. */
export async function findByHash(db: Queryable, hash: Uint8Array): Promise<ValidKey | undefined> {
  const { rows } = await db.query<ValidKey>({
    name: 'api-keys-find',
    text: `select k.tenant_id as "tenantId", k.id as "keyId", k.name as client, k.scopes,
                  k.rate_limit as "keyLimit", (select t.settings -> 'rate_limit' from carillon.tenants t where t.id = k.tenant_id) as "tenantLimit",
                  (extract(epoch from k.expires_at - carillon.now()) * 1000)::float8 as "expiresInMs"
             from carillon.api_keys k
            where hash = $1 and revoked_at is null and (expires_at is null or expires_at > carillon.now())
            order by tenant_id limit 1`,
    values: [hash],
  });
  return rows[0];
}

interface KeyRow {
  readonly tenantId: string;
  /** UUID. */
  readonly id: string;
}

/** Undefined for one that is not there. */
export async function findApiKey(tx: Tx, { tenantId, id }: KeyRow): Promise<ApiKey | undefined> {
  const { rows } = await within(tx).query<ApiKey>({
    name: 'api-keys-get',
    text: `select ${COLUMNS} from carillon.api_keys where tenant_id = $1 and id = $2`,
    values: [tenantId, id],
  });
  return rows[0];
}

export interface KeyPage {
  readonly tenantId: string;
  /** Exclusive. Newest first from there on; `forward` reads the other way, and its rows come oldest first. */
  readonly cursor: string | null;
  readonly forward: boolean;
  readonly limit: number;
}

export async function listKeys(tx: Tx, { tenantId, cursor, forward, limit }: KeyPage): Promise<ApiKey[]> {
  const { rows } = await within(tx).query<ApiKey>({
    name: forward ? 'api-keys-list-forward' : 'api-keys-list',
    text: `select ${COLUMNS} from carillon.api_keys
            where tenant_id = $1 and ($2::uuid is null or id ${forward ? '>' : '<'} $2) order by id ${forward ? 'asc' : 'desc'} limit $3`,
    values: [tenantId, cursor, limit],
  });
  return rows;
}

/** Valid until then: a time that was set before stays when it is earlier. False unless the key is valid and has no successor. */
export async function replaceKey(tx: Tx, { tenantId, id, by, overlapS }: KeyRow & { by: string; overlapS: number }): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'api-keys-replace',
    text: `update carillon.api_keys
              set replaced_by = $3, expires_at = least(expires_at, carillon.now() + make_interval(secs => $4::float8))
            where tenant_id = $1 and id = $2 and replaced_by is null and revoked_at is null and (expires_at is null or expires_at > carillon.now())`,
    values: [tenantId, id, by, overlapS],
  });
  return rowCount > 0;
}

/** False when there is no such key. Revoking twice keeps the first time. */
export async function revokeKey(tx: Tx, { tenantId, id }: KeyRow): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'api-keys-revoke',
    text: 'update carillon.api_keys set revoked_at = coalesce(revoked_at, carillon.now()) where tenant_id = $1 and id = $2',
    values: [tenantId, id],
  });
  return rowCount > 0;
}

/** What was done with a key since it was last noted. */
export interface KeyUse {
  readonly tenantId: string;
  readonly keyId: string;
  readonly requests: number;
  readonly events: number;
}

/** Notes that the keys were used just now. No key may stand twice. Sorted, so that two processes wait for each other instead of deadlocking. */
export async function touchKeys(db: Queryable, uses: readonly KeyUse[]): Promise<void> {
  await db.query({
    name: 'api-keys-touch',
    text: `with used as materialized (
             select k.tenant_id, k.id, u.requests, u.events from carillon.api_keys k
               join unnest($1::text[], $2::uuid[], $3::integer[], $4::integer[]) as u (tenant_id, id, requests, events) on u.tenant_id = k.tenant_id and u.id = k.id
              order by k.tenant_id, k.id for no key update of k)
           update carillon.api_keys k
              set last_used_at = carillon.now(), request_count = k.request_count + used.requests, event_count = k.event_count + used.events
             from used where k.tenant_id = used.tenant_id and k.id = used.id`,
    values: [uses.map((use) => use.tenantId), uses.map((use) => use.keyId), uses.map((use) => use.requests), uses.map((use) => use.events)],
  });
}
