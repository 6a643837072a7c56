/** What a change of a destination does to its deliveries, and what its deliveries do to it. */
import { DELIVERY_STATES as S, ENTRY_KINDS } from '../domain/delivery.ts';
import type { DestinationOutcome } from '../domain/destination.ts';
import type { Tx } from '../domain/event.ts';
import { REASONS } from '../domain/reason.ts';
import { firstIdAt, timeOf } from '../lib/id.ts';
import { bareArray, bounds, textArray } from './arrays.ts';
import { within } from './database.ts';
import type { DestinationKey } from './destinations.ts';

/** pending, held: due now. The gate looks at the destination as it is then, and ends them with the reason. Returns how many. */
export async function endWaiting(tx: Tx, { tenantId, id }: DestinationKey): Promise<number> {
  const { rowCount } = await within(tx).query({
    name: 'destination-deliveries-end',
    text: `with mine as materialized (
             select d.id from carillon.deliveries d where d.destination_id = $2 and d.tenant_id = $1 and d.status in (${S.pending}, ${S.held}) order by d.id for update
           )
           update carillon.deliveries d set due_at = carillon.now() from mine where d.destination_id = $2 and d.id = mine.id`,
    values: [tenantId, id],
  });
  return rowCount;
}

/** pending → held, with an entry in each timeline. For one destination: with a list of them a plan made on empty tables reads them whole. */
export async function holdWaiting(tx: Tx, { tenantId, id }: DestinationKey): Promise<void> {
  await within(tx).query({
    name: 'destination-deliveries-hold',
    text: `with mine as materialized (
             select d.id from carillon.deliveries d where d.destination_id = $2 and d.tenant_id = $1 and d.status = ${S.pending} order by d.id for update
           ), held as (
             update carillon.deliveries d
                set status = ${S.held}, reason = ${REASONS.destination_disabled.number}, due_at = d.expires_at, entry_count = d.entry_count + 1
               from mine where d.destination_id = $2 and d.id = mine.id
          returning d.id, d.tenant_id, d.entry_count
           )
           insert into carillon.attempts (delivery_id, number, tenant_id, kind, at, reason)
           select id, entry_count, tenant_id, ${ENTRY_KINDS.held}, carillon.now(), ${REASONS.destination_disabled.number} from held`,
    values: [tenantId, id],
  });
}

export interface Recovered {
  /** Of those that were held. */
  readonly released: number;
  /** Of those that had failed. */
  readonly retried: number;
}

/** held → pending, and failed → pending with a full policy more: what belongs to events from `since` on. Null: what is held, of any age. */
export async function recoverDeliveries(
  tx: Tx,
  { tenantId, id, since, attempts }: DestinationKey & { since: Date | null; attempts: number },
): Promise<Recovered> {
  const { rows } = await within(tx).query<Recovered>({
    name: 'destination-deliveries-recover',
    text: `with mine as materialized (
             select d.id, d.status from carillon.deliveries d
              where d.destination_id = $2 and d.tenant_id = $1 and d.created_at >= coalesce($3::timestamptz, '-infinity')
                and (d.status = ${S.held} or d.status = ${S.failed} and $3 is not null) and (d.expires_at is null or d.expires_at > carillon.now())
              order by d.id for update
           ), released as (
             update carillon.deliveries d
                set status = ${S.pending}, reason = ${REASONS.queued.number}, due_at = case when d.queue is null then carillon.now() end, finished_at = null, cancel_requested = false,
                    max_attempts = case when mine.status = ${S.failed} then d.attempt_count + $4::smallint else d.max_attempts end, entry_count = d.entry_count + 1
               from mine where d.destination_id = $2 and d.id = mine.id
          returning d.id, d.tenant_id, d.entry_count
           ), noted as (
             insert into carillon.attempts (delivery_id, number, tenant_id, kind, at, reason)
             select id, entry_count, tenant_id, ${ENTRY_KINDS.released}, carillon.now(), ${REASONS.queued.number} from released
           )
           select count(*) filter (where status = ${S.held}) as released, count(*) filter (where status = ${S.failed}) as retried from mine`,
    values: [tenantId, id, since, attempts],
  });
  return rows[0] ?? { released: 0, retried: 0 };
}

/** Of the events of these deliveries: the mailboxes of each list that have not been reached yet, by destination. */
export async function failedMailboxes(tx: Tx, deliveryIds: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
  const [first, last] = bounds(deliveryIds);
  const { rows } = await within(tx).query<{ id: string; mailboxes: string[] }>({
    name: 'destination-deliveries-mailboxes',
    text: `with given as materialized (
             select distinct event_id, destination_id from carillon.deliveries where id = any($1) and id between $2 and $3
           )
           select given.destination_id as id, array_agg(d.address order by d.address) as mailboxes from given
            cross join lateral (select d.address from carillon.deliveries d
                                 where d.event_id = given.event_id and d.destination_id = given.destination_id and d.id >= $4 and d.id < $5
                                   and d.last_error is not null and d.status in (${S.pending}, ${S.sending}, ${S.failed}) offset 0) as d
            group by given.destination_id`,
    values: [deliveryIds, first, last, firstIdAt(timeOf(first)), firstIdAt(new Date(timeOf(last).getTime() + 1))], // an event's deliveries share a millisecond
  });
  return new Map(rows.map(({ id, mailboxes }) => [id, mailboxes]));
}

/** Nothing but failure for so long, and so often, disables a destination. */
const DISABLE_AFTER = { days: 5, attempts: 10 } as const;

/** Keeps count; returns those that have been disabled by it. */
export async function noteOutcomes(tx: Tx, outcomes: readonly DestinationOutcome[]): Promise<(DestinationKey & { reason: string })[]> {
  const { rows } = await within(tx).query<DestinationKey & { reason: string | null }>({
    name: 'destinations-outcomes',
    text: `with given as (
             select * from unnest($1::text[], $2::uuid[], $3::boolean[], $4::integer[], $5::boolean[], $6::text[]) as g (tenant_id, id, delivered, failed, gone, error)
           ), before as materialized (
             select d.tenant_id, d.id, d.disabled_at,
                    case when g.gone then 'gone'
                         when not g.delivered and d.failures + g.failed >= ${DISABLE_AFTER.attempts} and d.failing_since <= carillon.now() - interval '${DISABLE_AFTER.days} days' then 'failing' end as verdict
               from carillon.destinations d join given g on g.tenant_id = d.tenant_id and g.id = d.id
              where not g.delivered or g.error is not null or g.gone or d.failures > 0 or d.last_error is not null
              order by d.tenant_id, d.id for update of d
           )
           update carillon.destinations d
              set failures = case when g.delivered then 0 else d.failures + g.failed end,
                  failing_since = case when not g.delivered then coalesce(d.failing_since, carillon.now()) end,
                  last_error = left(g.error, 1000),
                  disabled_at = coalesce(d.disabled_at, case when b.verdict is not null then carillon.now() end),
                  disabled_reason = coalesce(d.disabled_reason, b.verdict)
             from before b join given g on g.tenant_id = b.tenant_id and g.id = b.id
            where d.tenant_id = b.tenant_id and d.id = b.id
        returning d.tenant_id as "tenantId", d.id, case when b.disabled_at is null then b.verdict end as reason`,
    values: [
      textArray(outcomes.map(({ tenantId }) => tenantId)),
      bareArray(outcomes.map(({ id }) => id)),
      bareArray(outcomes.map(({ delivered }) => delivered)),
      bareArray(outcomes.map(({ failed }) => failed)),
      bareArray(outcomes.map(({ gone }) => gone)),
      textArray(outcomes.map(({ error }) => error)),
    ],
  });
  return rows.flatMap(({ reason, ...key }) => (reason === null ? [] : [{ ...key, reason }]));
}
