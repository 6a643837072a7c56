/** Recurring events: kept for their tenant, and taken in turn by whoever wakes first. */
import type { Tx } from '../domain/event.ts';
import type { Series } from '../domain/recurring.ts';
import { bareArray, textArray } from './arrays.ts';
import { within, type Queryable } from './database.ts';

export interface SeriesKey {
  readonly tenantId: string;
  /** UUID. */
  readonly id: string;
}

/** What went wrong, as the answer to a request would have said it. */
export interface OccurrenceError {
  readonly code: string;
  readonly detail: string;
}

export interface StoredSeries extends Series {
  readonly nextAt: Date | null;
  readonly lastAt: Date | null;
  readonly lastEventId: string | null;
  readonly lastError: OccurrenceError | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const COLUMNS = `r.id, r.tenant_id as "tenantId", r.name, r.content, r.cron, r.time_zone as "timeZone", r.starts_at as "startsAt", r.ends_at as "endsAt", r.active,
  r.next_at as "nextAt", r.last_at as "lastAt", r.last_event_id as "lastEventId", r.last_error as "lastError", r.created_at as "createdAt", r.updated_at as "updatedAt"`;

type NewSeries = Series & { readonly nextAt: Date | null };

function valuesOf({ tenantId, id, name, content, cron, timeZone, startsAt, endsAt, active, nextAt }: NewSeries): unknown[] {
  return [tenantId, id, name, JSON.stringify(content), cron, timeZone, startsAt, endsAt, active, nextAt];
}

export async function createSeries(tx: Tx, series: NewSeries): Promise<StoredSeries> {
  const { rows } = await within(tx).query<StoredSeries>({
    name: 'recurring-create',
    text: `insert into carillon.recurring_events as r (tenant_id, id, name, content, cron, time_zone, starts_at, ends_at, active, next_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) returning ${COLUMNS}`,
    values: valuesOf(series),
  });
  return rows[0] as StoredSeries;
}

export async function countSeries(tx: Tx, tenantId: string): Promise<number> {
  const { rows } = await within(tx).query<{ count: number }>({
    name: 'recurring-count',
    text: 'select count(*)::integer as count from carillon.recurring_events where tenant_id = $1',
    values: [tenantId],
  });
  return rows[0]?.count ?? 0;
}

export async function getSeries(tx: Tx, { tenantId, id }: SeriesKey): Promise<StoredSeries | undefined> {
  const { rows } = await within(tx).query<StoredSeries>({
    name: 'recurring-get',
    text: `select ${COLUMNS} from carillon.recurring_events r where r.tenant_id = $1 and r.id = $2`,
    values: [tenantId, id],
  });
  return rows[0];
}

/** The same, and nobody else changes or takes it until the transaction ends. */
export async function lockSeries(tx: Tx, { tenantId, id }: SeriesKey): Promise<StoredSeries | undefined> {
  const { rows } = await within(tx).query<StoredSeries>({
    name: 'recurring-lock',
    text: `select ${COLUMNS} from carillon.recurring_events r where r.tenant_id = $1 and r.id = $2 for update`,
    values: [tenantId, id],
  });
  return rows[0];
}

export async function updateSeries(tx: Tx, series: NewSeries): Promise<StoredSeries | undefined> {
  const { rows } = await within(tx).query<StoredSeries>({
    name: 'recurring-update',
    text: `update carillon.recurring_events r
              set name = $3, content = $4, cron = $5, time_zone = $6, starts_at = $7, ends_at = $8, active = $9, next_at = $10,
                  revision = r.revision + 1, updated_at = carillon.now()
            where r.tenant_id = $1 and r.id = $2 returning ${COLUMNS}`,
    values: valuesOf(series),
  });
  return rows[0];
}

export async function deleteSeries(tx: Tx, { tenantId, id }: SeriesKey): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'recurring-delete',
    text: 'delete from carillon.recurring_events where tenant_id = $1 and id = $2',
    values: [tenantId, id],
  });
  return rowCount > 0;
}

export interface SeriesPage {
  readonly tenantId: string;
  /** Exclusive. */
  readonly cursor: string | null;
  /** Against the list's order, which is newest first. */
  readonly backward: boolean;
  readonly limit: number;
}

export async function listSeries(tx: Tx, { tenantId, cursor, backward, limit }: SeriesPage): Promise<StoredSeries[]> {
  const { rows } = await within(tx).query<StoredSeries>({
    name: backward ? 'recurring-list-backward' : 'recurring-list',
    text: `select ${COLUMNS} from carillon.recurring_events r where r.tenant_id = $1 and ($2::uuid is null or r.id ${backward ? '>' : '<'} $2)
            order by r.id ${backward ? 'asc' : 'desc'} limit $3`,
    values: [tenantId, cursor, limit],
  });
  return rows;
}

/** Takes an erased user out of what is to be sent. A series that names nobody else ends. */
export async function eraseFromSeries(tx: Tx, tenantId: string, userId: string): Promise<void> {
  const others = (field: string) =>
    `(select coalesce(jsonb_agg(item), '[]') from jsonb_array_elements(content -> '${field}') as item
       where item <> to_jsonb($2::text) and coalesce(item ->> 'user_id', '') <> $2)`;
  await within(tx).query({
    name: 'erase-recurring',
    text: `with named as materialized (
             select id, ${others('to')} as others from carillon.recurring_events
              where tenant_id = $1
                and exists (select from jsonb_array_elements(content -> 'to') as item where item = to_jsonb($2::text) or item ->> 'user_id' = $2)
              order by id for update
           ), ended as (
             delete from carillon.recurring_events r using named n where r.tenant_id = $1 and r.id = n.id and n.others = '[]'
           )
           update carillon.recurring_events r set content = jsonb_set(r.content, '{to}', n.others), revision = r.revision + 1
             from named n where r.tenant_id = $1 and r.id = n.id and n.others <> '[]'`,
    values: [tenantId, userId],
  });
}

export interface DueSeries extends Series {
  readonly dueAt: Date;
  readonly revision: number;
}

/** Whose time has come, unlocked: making their events may take a while. */
export async function dueSeries(db: Queryable, limit: number): Promise<DueSeries[]> {
  const { rows } = await db.query<DueSeries>({
    name: 'recurring-due',
    text: `select ${COLUMNS}, r.next_at as "dueAt", r.revision from carillon.recurring_events r where r.next_at <= carillon.now() order by r.next_at limit $1`,
    values: [limit],
  });
  return rows;
}

/** Until the next one is due; null when none is. */
export async function nextSeriesDueMs(db: Queryable): Promise<number | null> {
  const { rows } = await db.query<{ ms: number }>({
    name: 'recurring-next-due',
    text: `select greatest(0, extract(epoch from next_at - carillon.now()) * 1000)::float8 as ms from carillon.recurring_events where next_at is not null order by next_at limit 1`,
    values: [],
  });
  return rows[0]?.ms ?? null;
}

export interface Advance {
  readonly series: Pick<DueSeries, 'tenantId' | 'id' | 'dueAt' | 'revision'>;
  /** The time that this is. */
  readonly at: Date;
  readonly nextAt: Date | null;
  /** Null: it could not be made. */
  readonly eventId: string | null;
  readonly error: OccurrenceError | null;
}

/** Moves those that still stand where they were read, and that nobody else is moving. Resolves with their ids: the events of the others are not ours. */
export async function advanceSeries(tx: Tx, advances: readonly Advance[]): Promise<Set<string>> {
  const { rows } = await within(tx).query<{ id: string }>({
    name: 'recurring-advance',
    text: `with given as materialized (
             select * from unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::integer[], $5::timestamptz[], $6::timestamptz[], $7::uuid[], $8::jsonb[])
               as g (tenant_id, id, due_at, revision, at, next_at, event_id, error)
           ), ours as materialized (
             select r.tenant_id, r.id from carillon.recurring_events r join given g on g.tenant_id = r.tenant_id and g.id = r.id
              where r.next_at = g.due_at and r.revision = g.revision order by r.tenant_id, r.id for update of r skip locked
           )
           update carillon.recurring_events r
              set next_at = g.next_at, last_at = g.at, last_error = g.error, last_event_id = g.event_id
             from ours join given g using (tenant_id, id)
            where r.tenant_id = ours.tenant_id and r.id = ours.id
        returning r.id`,
    values: [
      textArray(advances.map(({ series }) => series.tenantId)),
      bareArray(advances.map(({ series }) => series.id)),
      bareArray(advances.map(({ series }) => series.dueAt.toISOString())),
      bareArray(advances.map(({ series }) => series.revision)),
      bareArray(advances.map(({ at }) => at.toISOString())),
      bareArray(advances.map(({ nextAt }) => nextAt?.toISOString() ?? null)),
      bareArray(advances.map(({ eventId }) => eventId)),
      textArray(advances.map(({ error }) => error && JSON.stringify(error))),
    ],
  });
  return new Set(rows.map(({ id }) => id));
}
