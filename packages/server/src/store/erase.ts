/** Erasing a user: the profile goes, and what is kept for the record loses what it says about the person. */
import { DELIVERY_STATES as S } from '../domain/delivery.ts';
import type { Tx } from '../domain/event.ts';
import { REASONS } from '../domain/reason.ts';
import { firstIdAt, timeOf } from '../lib/id.ts';
import { bounds } from './arrays.ts';
import { within } from './database.ts';
import { eraseDigests } from './digest-outcomes.ts';
import { eraseFromSeries } from './recurring-events.ts';
import type { UserKey } from './users.ts';

/** Ids of what the user was told. */
interface Told {
  readonly notifications: readonly string[];
  readonly events: readonly string[];
}

/**
 * False for a user that is not there. Ids, times, states and counts stay until retention; texts, addresses and answers go,
 * and nothing more is sent. Rows are locked in the order in which routing locks them.
 */
export async function eraseUser(tx: Tx, user: UserKey): Promise<boolean> {
  const told = await findTold(tx, user);
  await eraseRequests(tx, user, [...new Set([...told.events, ...(await findWaiting(tx, user))])]);
  if (!(await deleteUser(tx, user))) return false;
  await eraseFromSeries(tx, user.tenantId, user.id);
  await eraseThrottles(tx, user);
  await emptyInbox(tx, user);
  await eraseDigests(tx, user);
  await blankNotifications(tx, user);
  const deliveries = await blankDeliveries(tx, user, told);
  await blankAttempts(tx, user, deliveries);
  return true;
}

async function findTold(tx: Tx, { tenantId, id }: UserKey): Promise<Told> {
  const { rows } = await within(tx).query<{ id: string; event_id: string }>({
    name: 'erase-told',
    text: 'select id, event_id from carillon.notifications where tenant_id = $1 and user_id = $2',
    values: [tenantId, id],
  });
  return { notifications: rows.map((row) => row.id), events: [...new Set(rows.map((row) => row.event_id))] };
}

/** Events that are still to be routed and name the user: routing them would make the user again. */
async function findWaiting(tx: Tx, { tenantId, id }: UserKey): Promise<string[]> {
  const { rows } = await within(tx).query<{ id: string }>({
    name: 'erase-waiting',
    text: `select id from carillon.events
            where due_at is not null and tenant_id = $1
              and exists (select from jsonb_array_elements(request::jsonb -> 'to') as item where item = to_jsonb($2::text) or item ->> 'user_id' = $2)`,
    values: [tenantId, id],
  });
  return rows.map((row) => row.id);
}

/** Takes the user out of `to`. An event that nobody else was named in keeps nothing of what it said. */
async function eraseRequests(tx: Tx, { tenantId, id }: UserKey, events: readonly string[]): Promise<void> {
  if (events.length === 0) return;
  const range = bounds(events);
  const locked = within(tx).query({
    name: 'erase-lock-events',
    text: 'select id from carillon.events where tenant_id = $1 and id = any($2) and id between $3 and $4 order by id for update',
    values: [tenantId, events, ...range],
  });
  const erased = within(tx).query({
    name: 'erase-requests',
    text: `update carillon.events e
              set request = (
                    select case when others = '[]' then '{"to":[],"data":{}}' else jsonb_set(e.request::jsonb, '{to}', others)::json end
                      from (select coalesce(jsonb_agg(item), '[]') as others
                              from jsonb_array_elements(e.request::jsonb -> 'to') as item
                             where item <> to_jsonb($2::text) and coalesce(item ->> 'user_id', '') <> $2) as kept)
            where tenant_id = $1 and id = any($3) and id between $4 and $5`,
    values: [tenantId, id, events, ...range],
  });
  await Promise.all([locked, erased]);
}

async function deleteUser(tx: Tx, { tenantId, id }: UserKey): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'erase-user',
    text: 'delete from carillon.users where tenant_id = $1 and id = $2',
    values: [tenantId, id],
  });
  return rowCount === 1;
}

async function eraseThrottles(tx: Tx, { tenantId, id }: UserKey): Promise<void> {
  await within(tx).query({
    name: 'erase-throttles',
    text: 'delete from carillon.throttles where tenant_id = $1 and user_id = $2',
    values: [tenantId, id],
  });
}

/** The row stays, with its number: it may not go back while a stream is open or a client remembers one. */
async function emptyInbox(tx: Tx, { tenantId, id }: UserKey): Promise<void> {
  await within(tx).query({
    name: 'erase-inbox',
    text: 'update carillon.inbox set unread = 0, total = 0, sequence = sequence + 1, floor = sequence + 1 where tenant_id = $1 and user_id = $2',
    values: [tenantId, id],
  });
}

async function blankNotifications(tx: Tx, { tenantId, id }: UserKey): Promise<void> {
  await within(tx).query({
    name: 'erase-notifications',
    text: `update carillon.notifications
              set subject = '', body = '', action_url = null, metadata = '{}', tags = '{}', sequence = null, deleted_at = coalesce(deleted_at, carillon.now())
            where tenant_id = $1 and user_id = $2`,
    values: [tenantId, id],
  });
}

const THEIRS = 'tenant_id = $1 and user_id = $2 and event_id = any($3) and id >= $4 and id < $5';

/** A delivery shares its millisecond with its notification, so that these bounds name its partition. Returns all ids. */
async function blankDeliveries(tx: Tx, { tenantId, id }: UserKey, { notifications, events }: Told): Promise<string[]> {
  if (events.length === 0) return [];
  const [low, high] = bounds(notifications);
  const values = [tenantId, id, events, firstIdAt(timeOf(low)), firstIdAt(new Date(timeOf(high).getTime() + 1))];
  const locked = within(tx).query({
    name: 'erase-lock-deliveries',
    text: `select id from carillon.deliveries where ${THEIRS} order by id for update`,
    values,
  });
  const waits = `status in (${S.pending}, ${S.held})`;
  const erased = within(tx).query<{ id: string }>({
    name: 'erase-deliveries',
    text: `update carillon.deliveries
              set address = null, lane = null, last_error = null, cancel_requested = true,
                  status = case when ${waits} then ${S.cancelled} else status end,
                  reason = case when ${waits} then ${REASONS.cancelled.number} else reason end,
                  due_at = case when ${waits} then null else due_at end,
                  finished_at = case when ${waits} then carillon.now() else finished_at end
            where ${THEIRS}
        returning id`,
    values,
  });
  const [, { rows }] = await Promise.all([locked, erased]);
  return rows.map((row) => row.id);
}

async function blankAttempts(tx: Tx, { tenantId }: UserKey, deliveries: readonly string[]): Promise<void> {
  if (deliveries.length === 0) return;
  await within(tx).query({
    name: 'erase-attempts',
    text: 'update carillon.attempts set detail = null, response = null where tenant_id = $1 and delivery_id = any($2) and delivery_id between $3 and $4',
    values: [tenantId, deliveries, ...bounds(deliveries)],
  });
}
