/** Tenants and their secrets. Each has a sibling for test keys, which nothing leaves. */
import type { Tx } from '../domain/event.ts';
import { testTenantOf, type TenantSettings } from '../domain/tenant.ts';
import type { Vault } from '../lib/crypto.ts';
import { within, type Queryable } from './database.ts';

/** `webhook`: users' signing secrets are derived from it. `token`: signs user tokens. */
export const SECRET_PURPOSES = ['webhook', 'token'] as const;
export type SecretPurpose = (typeof SECRET_PURPOSES)[number];

const SECRET_BYTES = 32;

/** What a sealed secret is bound to: opened for another tenant or purpose it fails. */
export function secretContext(tenantId: string, purpose: SecretPurpose): string {
  return `tenant:${tenantId}:${purpose}`;
}

export interface SealedSecret {
  readonly tenantId: string;
  readonly purpose: SecretPurpose;
  readonly sealed: Uint8Array;
}

/** New secrets for a tenant and its test sibling. `random` returns that many bytes. */
export function newTenantSecrets(tenantId: string, vault: Vault, random: (bytes: number) => Buffer): SealedSecret[] {
  return [tenantId, testTenantOf(tenantId)].flatMap((id) =>
    SECRET_PURPOSES.map((purpose) => ({ tenantId: id, purpose, sealed: vault.seal(random(SECRET_BYTES), secretContext(id, purpose)) })),
  );
}

/** Inserts the tenants that the secrets are for, and the secrets. False when they were there already, or are being made by somebody else. */
export async function createTenant(tx: Tx, secrets: readonly SealedSecret[]): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'tenants-create',
    text: `with given as (select * from unnest($1::text[], $2::text[], $3::bytea[]) as g (tenant_id, purpose, sealed)),
                made as (insert into carillon.tenants (id) select distinct tenant_id from given order by 1 on conflict do nothing returning id)
           insert into carillon.tenant_secrets (tenant_id, purpose, sealed)
           select g.tenant_id, g.purpose, g.sealed from given g join made on made.id = g.tenant_id`,
    values: [secrets.map((one) => one.tenantId), secrets.map((one) => one.purpose), secrets.map((one) => one.sealed)],
  });
  return rowCount > 0;
}

/** Sealed, as it is stored: `Vault.open` with `secretContext` gives the bytes. Undefined for a tenant that does not exist. */
export async function tenantSecret(db: Queryable, tenantId: string, purpose: SecretPurpose): Promise<Buffer | undefined> {
  const { rows } = await db.query<{ sealed: Buffer }>({
    name: 'tenants-secret',
    text: 'select sealed from carillon.tenant_secrets where tenant_id = $1 and purpose = $2',
    values: [tenantId, purpose],
  });
  return rows[0]?.sealed;
}

export interface Tenant {
  readonly id: string;
  /** For people; empty when nobody gave one. */
  readonly name: string;
  readonly settings: TenantSettings;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const COLUMNS = 't.id, t.name, t.settings, t.created_at as "createdAt", t.updated_at as "updatedAt"';

/** Undefined for one that is not there. */
export async function findTenant(tx: Tx, id: string): Promise<Tenant | undefined> {
  const { rows } = await within(tx).query<Tenant>({
    name: 'tenants-find',
    text: `select ${COLUMNS} from carillon.tenants t where t.id = $1`,
    values: [id],
  });
  return rows[0];
}

/** None for a tenant that is not there. */
export async function tenantSettings(db: Queryable, id: string): Promise<TenantSettings> {
  const { rows } = await db.query<{ settings: TenantSettings }>({
    name: 'tenants-settings',
    text: 'select settings from carillon.tenants where id = $1',
    values: [id],
  });
  return rows[0]?.settings ?? {};
}

/** Null leaves a field as it is. Undefined for a tenant that is not there. */
export async function updateTenant(
  tx: Tx,
  { id, name, settings }: { id: string; name: string | null; settings: TenantSettings | null },
): Promise<Tenant | undefined> {
  const { rows } = await within(tx).query<Tenant>({
    name: 'tenants-update',
    text: `update carillon.tenants t set name = coalesce($2, t.name), settings = coalesce($3::jsonb, t.settings), updated_at = carillon.now()
            where t.id = $1 returning ${COLUMNS}`,
    values: [id, name, settings && JSON.stringify(settings)],
  });
  return rows[0];
}

export interface TenantPage {
  /** Exclusive. Null: from the first one on. */
  readonly cursor: string | null;
  /** Towards smaller ids: the rows come in that order too. */
  readonly backward: boolean;
  readonly limit: number;
}

/** By id, compared by bytes, without the siblings. */
export async function listTenants(tx: Tx, { cursor, backward, limit }: TenantPage): Promise<Tenant[]> {
  const { rows } = await within(tx).query<Tenant>({
    name: backward ? 'tenants-list-backward' : 'tenants-list',
    text: `select ${COLUMNS} from carillon.tenants t
            where ($1::text is null or t.id ${backward ? '<' : '>'} $1) and t.id not like '%:test'
            order by t.id ${backward ? 'desc' : 'asc'} limit $2`,
    values: [cursor, limit],
  });
  return rows;
}
