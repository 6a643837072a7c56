/** Events: written when accepted, claimed when due, marked when routed. */
import {
  EVENT_STATES,
  SEVERITIES,
  type AudienceCounts,
  type CarillonEvent,
  type EventRequest,
  type EventState,
  type Tx,
} from '../domain/event.ts';
import { nameOf } from '../domain/delivery.ts';
import { bareColumn, bounds, jsonArray, textArray, textColumn } from './arrays.ts';
import { within, type Queryable } from './database.ts';

export interface EventRow {
  readonly event: CarillonEvent;
  /** `event.request` as JSON text: made once, also to measure it. */
  readonly requestJson: string;
  /** `routed`: its notifications are written in the same transaction. */
  readonly state: Extract<EventState, 'accepted' | 'scheduled' | 'routed' | 'expired'>;
}

export async function insertEvents(tx: Tx, rows: readonly EventRow[]): Promise<void> {
  const done = (row: EventRow) => row.state === 'routed' || row.state === 'expired';
  await within(tx).query({
    name: 'events-insert',
    text: `insert into carillon.events (id, tenant_id, type, status, severity, tags, accepted_at, due_at, scheduled_for, expires_at, routed_at, correlation_id, traceparent, request, version)
           select id, tenant_id, type, status, severity, coalesce(tags::text[], '{}'), accepted_at, due_at, scheduled_for, expires_at, case when status = ${EVENT_STATES.routed} then carillon.now() end, correlation_id, traceparent, request, version
             from rows from (unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::smallint[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::text[], $14::uuid[]), json_array_elements($13::json))
               as given (id, tenant_id, type, status, severity, tags, accepted_at, due_at, scheduled_for, expires_at, correlation_id, traceparent, version, request)`,
    values: [
      bareColumn(rows, ({ event }) => event.id),
      textColumn(rows, ({ event }) => event.tenantId),
      textColumn(rows, ({ event }) => event.type),
      bareColumn(rows, ({ state }) => EVENT_STATES[state]),
      bareColumn(rows, ({ event }) => SEVERITIES[event.severity]),
      textColumn(rows, ({ event }) => (event.tags.length > 0 ? textArray(event.tags) : null)),
      bareColumn(rows, ({ event }) => event.acceptedAt.toISOString()),
      bareColumn(rows, (row) => (done(row) ? null : row.event.dueAt.toISOString())),
      bareColumn(rows, ({ event }) => event.scheduledFor?.toISOString() ?? null),
      bareColumn(rows, ({ event }) => event.expiresAt?.toISOString() ?? null),
      textColumn(rows, ({ event }) => event.correlationId),
      textColumn(rows, ({ event }) => event.traceparent),
      jsonArray(rows.map(({ requestJson }) => requestJson)),
      bareColumn(rows, ({ event }) => event.version),
    ],
  });
}

interface ClaimedRow {
  id: string;
  tenant_id: string;
  type: string;
  severity: number;
  tags: string[];
  accepted_at: Date;
  scheduled_for: Date | null;
  expires_at: Date | null;
  correlation_id: string | null;
  traceparent: string | null;
  request: EventRequest;
  version: string | null;
  cursor: string | null;
  ordering: number | null;
  ordering_number: number | null;
}

const COLUMNS =
  'id, tenant_id, type, severity, tags, accepted_at, scheduled_for, expires_at, correlation_id, traceparent, request, version, cursor, ordering, ordering_number';

/** Locks due events, oldest first, until the end of the transaction. Routers never wait for one another. */
export async function claimEvents(tx: Tx, limit: number): Promise<CarillonEvent[]> {
  const { rows } = await within(tx).query<ClaimedRow>({
    name: 'events-claim',
    text: `select ${COLUMNS} from carillon.events where due_at <= carillon.now() order by due_at limit $1 for update skip locked`,
    values: [limit],
  });
  return rows.map(toEvent);
}

/** Locks this one event when it is still due; null when it is not, or somebody else has it. */
export async function claimEvent(tx: Tx, id: string): Promise<CarillonEvent | null> {
  const { rows } = await within(tx).query<ClaimedRow>({
    name: 'events-claim-one',
    text: `select ${COLUMNS} from carillon.events where id = $1 and due_at <= carillon.now() for update skip locked`,
    values: [id],
  });
  return rows[0] ? toEvent(rows[0]) : null;
}

function toEvent(row: ClaimedRow): CarillonEvent {
  return {
    id: row.id,
    tenantId: row.tenant_id,
    type: row.type,
    severity: nameOf(SEVERITIES, row.severity),
    tags: row.tags,
    acceptedAt: row.accepted_at,
    dueAt: row.scheduled_for ?? row.accepted_at,
    scheduledFor: row.scheduled_for,
    expiresAt: row.expires_at,
    correlationId: row.correlation_id,
    traceparent: row.traceparent,
    request: row.request,
    version: row.version,
    cursor: row.cursor,
    ordering: row.ordering === null || row.ordering_number === null ? undefined : { hash: row.ordering, number: row.ordering_number },
  };
}

/** Where routing of an event stands after this transaction. */
export interface EventProgress {
  readonly id: string;
  readonly state: 'routed' | 'expired' | 'accepted';
  /** `accepted`: a chunk of a large audience is done up to here, and the rest is due. */
  readonly cursor: string | null;
  /** Of a chunk. */
  readonly counts?: AudienceCounts | undefined;
  /** Of its audience, where it was counted. */
  readonly size?: number | null;
}

export async function recordProgress(tx: Tx, progress: readonly EventProgress[]): Promise<void> {
  const ids = progress.map(({ id }) => id);
  const chunks = progress.filter(({ counts }) => counts !== undefined);
  if (chunks.length > 0) await addCounts(tx, chunks);
  await within(tx).query({
    name: 'events-progress',
    text: `update carillon.events e
              set status = g.status, cursor = g.cursor,
                  due_at = case when g.status = ${EVENT_STATES.accepted} then carillon.now() end, -- behind what else is due
                  routed_at = case when g.status = ${EVENT_STATES.routed} then carillon.now() end
             from unnest($1::uuid[], $2::smallint[], $3::text[]) as g (id, status, cursor)
            where e.id = any($1) and e.id between $4 and $5 and e.id = g.id`,
    values: [ids, progress.map(({ state }) => EVENT_STATES[state]), progress.map(({ cursor }) => cursor), ...bounds(ids)],
  });
}

/** How many users there are was counted before the first chunk; with the last one it is how many there were. */
async function addCounts(tx: Tx, chunks: readonly EventProgress[]): Promise<void> {
  const ids = chunks.map(({ id }) => id);
  await within(tx).query({
    name: 'events-audience',
    text: `update carillon.events e
              set audience_created = g.created + coalesce(e.audience_created, 0), audience_failed = g.failed + coalesce(e.audience_failed, 0),
                  audience_throttled = g.throttled + coalesce(e.audience_throttled, 0), audience_skipped = g.skipped + coalesce(e.audience_skipped, 0),
                  audience_size = greatest(g.created + g.failed + g.throttled + g.skipped
                                             + coalesce(e.audience_created + e.audience_failed + e.audience_throttled + e.audience_skipped, 0),
                                           case when not g.last then coalesce(g.size, e.audience_size) end)
             from unnest($1::uuid[], $2::boolean[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[])
                  as g (id, last, size, created, failed, throttled, skipped)
            where e.id = any($1) and e.id between $8 and $9 and e.id = g.id`,
    values: [
      ids,
      chunks.map(({ state }) => state === 'routed'),
      chunks.map(({ size }) => size ?? null),
      chunks.map(({ counts }) => counts?.created),
      chunks.map(({ counts }) => counts?.failed),
      chunks.map(({ counts }) => counts?.throttled),
      chunks.map(({ counts }) => counts?.skipped),
      ...bounds(ids),
    ],
  });
}

/** An event whose routing threw waits apart from its neighbours: 1 s, doubled each time, up to an hour. */
export async function postponeEvent(tx: Tx, id: string): Promise<void> {
  await within(tx).query({
    name: 'events-postpone',
    text: `update carillon.events
              set failures = failures + 1, due_at = carillon.now() + least(make_interval(secs => power(2, least(failures, 12))), interval '1 hour')
            where id = $1 and due_at is not null`,
    values: [id],
  });
}

/** Ids of due events, unlocked: for routing them one at a time after a batch threw. */
export async function dueEventIds(tx: Tx, limit: number): Promise<string[]> {
  const { rows } = await within(tx).query<{ id: string }>({
    name: 'events-due-ids',
    text: 'select id from carillon.events where due_at <= carillon.now() order by due_at limit $1',
    values: [limit],
  });
  return rows.map((row) => row.id);
}

/** When the next event is due, or null. Milliseconds from the database's now, 0 when it is due already. */
export async function nextEventDueMs(db: Queryable): Promise<number | null> {
  const { rows } = await db.query<{ ms: number }>({
    name: 'events-next-due',
    text: `select greatest(0, extract(epoch from due_at - carillon.now()) * 1000)::float8 as ms from carillon.events where due_at is not null order by due_at limit 1`,
    values: [],
  });
  return rows[0]?.ms ?? null;
}
