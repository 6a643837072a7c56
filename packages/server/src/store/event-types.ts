/** The catalog's versions, and which of them are current. The installation's own rows have the tenant ''. */
import type { Tx } from '../domain/event.ts';
import type { EventTypeFiles, EventTypeSummary, EventTypeVersion } from '../domain/event-type.ts';
import { bareArray, textArray } from './arrays.ts';
import { within, type Queryable } from './database.ts';

/** Owner of the types that come from the operator's files. */
export const INSTALLATION = '';

export interface NewEventType extends EventTypeVersion {
  readonly summary: EventTypeSummary;
}

/** Makes these versions current. The same content keeps its row. Returns the types that changed. */
export async function putEventTypes(tx: Tx, owner: string, types: readonly NewEventType[]): Promise<string[]> {
  await within(tx).query({
    name: 'event-types-add-versions',
    text: `insert into carillon.event_type_versions (tenant_id, version, type, files)
           select $1, version, type, files::json from unnest($2::uuid[], $3::text[], $4::text[]) as g (version, type, files)
            order by version on conflict do nothing`,
    values: [
      owner,
      bareArray(types.map((one) => one.version)),
      textArray(types.map((one) => one.type)),
      textArray(types.map((one) => JSON.stringify(one.files))),
    ],
  });
  const { rows } = await within(tx).query<{ type: string }>({
    name: 'event-types-put',
    text: `insert into carillon.event_types as e (tenant_id, type, version, summary)
           select $1, type, version, summary::json from unnest($2::text[], $3::uuid[], $4::text[]) as g (type, version, summary)
            order by type collate "C"
               on conflict (tenant_id, type) do update set version = excluded.version, summary = excluded.summary, updated_at = carillon.now()
            where e.version is distinct from excluded.version
        returning type`,
    values: [
      owner,
      textArray(types.map((one) => one.type)),
      bareArray(types.map((one) => one.version)),
      textArray(types.map((one) => JSON.stringify(one.summary))),
    ],
  });
  return rows.map((row) => row.type);
}

/** The installation has only these types from now on. Its versions stay: events are pinned to them. */
export async function retireOthers(tx: Tx, types: readonly string[]): Promise<string[]> {
  const { rows } = await within(tx).query<{ type: string }>({
    name: 'event-types-retire-others',
    text: `update carillon.event_types set version = null, summary = null, updated_at = carillon.now()
            where tenant_id = '' and version is not null and type <> all($1::text[]) returning type`,
    values: [textArray(types)],
  });
  return rows.map((row) => row.type);
}

/** False when the tenant has no such type, neither its own nor the installation's. */
export async function retireEventType(tx: Tx, { tenantId, type }: TypeKey): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'event-types-retire',
    text: `insert into carillon.event_types as e (tenant_id, type, version, summary)
           select $1, $2, null, null
            where coalesce((select version is not null from carillon.event_types where tenant_id = $1 and type = $2),
                           (select version is not null from carillon.event_types where tenant_id = '' and type = $2), false)
               on conflict (tenant_id, type) do update set version = null, summary = null, updated_at = carillon.now()`,
    values: [tenantId, type],
  });
  return rowCount > 0;
}

export interface TypeKey {
  readonly tenantId: string;
  readonly type: string;
}

export interface CurrentRow {
  readonly type: string;
  /** Null: retired. */
  readonly version: string | null;
}

export async function currentVersions(db: Queryable, owner: string): Promise<CurrentRow[]> {
  const { rows } = await db.query<CurrentRow>({
    name: 'event-types-current',
    text: 'select type, version from carillon.event_types where tenant_id = $1',
    values: [owner],
  });
  return rows;
}

/** Whose types or settings changed within the last so many milliseconds. */
export async function changedOwners(db: Queryable, withinMs: number): Promise<string[]> {
  const { rows } = await db.query<{ tenant_id: string }>({
    name: 'event-types-changed',
    text: `select tenant_id from carillon.event_types where updated_at >= carillon.now() - make_interval(secs => $1::float8 / 1000)
            union select id from carillon.tenants where updated_at >= carillon.now() - make_interval(secs => $1::float8 / 1000)`,
    values: [withinMs],
  });
  return rows.map((row) => row.tenant_id);
}

export interface StoredVersion extends EventTypeVersion {
  /** `''`: written by the operator. */
  readonly owner: string;
  readonly createdAt: Date;
}

interface VersionRow {
  tenant_id: string;
  type: string;
  version: string;
  files: EventTypeFiles;
  created_at: Date;
}

/** The installation's first, where both have the same content. */
export async function findVersion(db: Queryable, tenantId: string, version: string): Promise<StoredVersion | undefined> {
  const { rows } = await db.query<VersionRow>({
    name: 'event-types-version',
    text: `select tenant_id, type, version, files, created_at from carillon.event_type_versions
            where tenant_id in ($1, '') and version = $2 order by tenant_id limit 1`,
    values: [tenantId, version],
  });
  return rows[0] && toVersion(rows[0]);
}

export function versionIn(tx: Tx, tenantId: string, version: string): Promise<StoredVersion | undefined> {
  return findVersion(within(tx), tenantId, version);
}

function toVersion(row: VersionRow): StoredVersion {
  return { type: row.type, version: row.version, files: row.files, owner: row.tenant_id, createdAt: row.created_at };
}

export interface EventTypeRecord {
  readonly type: string;
  readonly version: string;
  readonly summary: EventTypeSummary;
  readonly owner: string;
  readonly updatedAt: Date;
}

/** The tenant's own hide the installation's; what is retired is not there. By type. */
export async function listEventTypes(
  tx: Tx,
  { tenantId, after, limit, type }: { tenantId: string; after: string | null; limit: number; type: string | null },
): Promise<EventTypeRecord[]> {
  const { rows } = await within(tx).query<EventTypeRecord>({
    name: 'event-types-list',
    text: `select * from (
             select distinct on (type) type, version, summary, tenant_id as owner, updated_at as "updatedAt" from carillon.event_types
              where tenant_id in ($1, '') and ($2::text is null or type > $2) and ($4::text is null or type = $4)
              order by type, tenant_id desc) as mine
            where version is not null order by type limit $3`,
    values: [tenantId, after, limit, type],
  });
  return rows;
}

/** Which of these are no type that the tenant has now. None, while it has no types at all: then any may come. */
export async function unknownTypes(tx: Tx, tenantId: string, types: readonly string[]): Promise<string[]> {
  const { rows } = await within(tx).query<{ type: string }>({
    name: 'event-types-unknown',
    text: `with known as materialized (
             select distinct on (type) type, version from carillon.event_types where tenant_id in ($1, '') order by type, tenant_id desc
           )
           select type from unnest($2::text[]) as g (type)
            where exists (select from known where version is not null)
              and not exists (select from known k where k.type = g.type collate "C" and k.version is not null)`,
    values: [tenantId, textArray(types)],
  });
  return rows.map((row) => row.type);
}

/** Newest first; at most 100. */
export async function versionsOf(tx: Tx, { tenantId, type }: TypeKey): Promise<{ version: string; owner: string; createdAt: Date }[]> {
  const { rows } = await within(tx).query<{ version: string; owner: string; createdAt: Date }>({
    name: 'event-types-versions',
    text: `select version, tenant_id as owner, created_at as "createdAt" from carillon.event_type_versions
            where tenant_id in ($1, '') and type = $2 order by created_at desc limit 100`,
    values: [tenantId, type],
  });
  return rows;
}
