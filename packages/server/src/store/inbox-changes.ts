/**
 * Changes of what an inbox holds. Each takes the user's row first: its lock, held until commit, keeps counts true and
 * makes numbers visible in order.
 */
import type pg from 'pg';
import type { Tx } from '../domain/event.ts';
import type { InboxItem } from '../domain/notification.ts';
import { within } from './database.ts';
import { ITEM_COLUMNS, toItem, type InboxCounts, type InboxOwner, type InboxRow } from './inbox.ts';

export type InboxVerb = 'read' | 'unread' | 'archive' | 'click' | 'delete';

/** The item afterwards. `changed`: false when it was so before; then nothing took a number. */
export interface ItemChange {
  readonly item: InboxItem;
  readonly counts: InboxCounts;
  readonly changed: boolean;
}

interface Marks {
  readonly read: boolean;
  readonly clicked: boolean;
  readonly archived: boolean;
  readonly deleted: boolean;
}

/** A reader that is further behind than this loads the list again. */
const MAX_REPLAY = 1_000;

const USERS_AT_ONCE = 500;

/** What each verb leaves marked. Archiving and clicking also read; unread also takes an item back out of the archive. */
export function marksAfter(verb: InboxVerb, before: Marks): Marks {
  switch (verb) {
    case 'read':
      return { ...before, read: true };
    case 'unread':
      return { ...before, read: false, archived: false };
    case 'archive':
      return { ...before, read: true, archived: true };
    case 'click':
      return { ...before, read: true, clicked: true };
    case 'delete':
      return { ...before, deleted: true };
  }
}

/** Undefined for an item that this user does not have, or no longer. In a transaction of its own. */
export async function changeItem(
  tx: Tx,
  { id, verb, ...owner }: InboxOwner & { id: string; verb: InboxVerb },
): Promise<ItemChange | undefined> {
  const [counts, before] = await Promise.all([lockInbox(tx, owner), findItem(tx, { ...owner, id })]);
  if (!counts || !before) return undefined;
  const was = marksOf(before);
  const marks = marksAfter(verb, was);
  if (sameMarks(was, marks)) return { item: before, counts, changed: false };

  const after: InboxCounts = {
    sequence: counts.sequence + 1,
    unread: counts.unread + unreadOf(marks) - unreadOf(was),
    total: counts.total - (marks.deleted ? 1 : 0),
  };
  const [item] = await Promise.all([
    markItem(tx, { ...owner, id, marks, sequence: after.sequence }),
    setCounts(tx, { ...owner, ...after }),
  ]);
  return { item, counts: after, changed: true };
}

/**
 * Reads everything that is unread; each item takes a number of its own. Beyond `MAX_REPLAY` of them the floor rises to the
 * last one, so that streams load the list again.
 */
export async function readAll(tx: Tx, owner: InboxOwner): Promise<{ changed: number; counts: InboxCounts }> {
  const counts = await lockInbox(tx, owner);
  if (!counts) return { changed: 0, counts: { sequence: 0, unread: 0, total: 0 } };
  const changed = await markAllRead(tx, { ...owner, sequence: counts.sequence });
  if (changed === 0) return { changed, counts };
  const after = { ...counts, sequence: counts.sequence + changed, unread: counts.unread - changed };
  await setCounts(tx, { ...owner, ...after, ...(changed > MAX_REPLAY ? { floor: after.sequence } : {}) });
  return { changed, counts: after };
}

function marksOf({ readAt, clickedAt, archivedAt, deletedAt }: InboxItem): Marks {
  return { read: readAt !== null, clicked: clickedAt !== null, archived: archivedAt !== null, deleted: deletedAt !== null };
}

function sameMarks(a: Marks, b: Marks): boolean {
  return a.read === b.read && a.clicked === b.clicked && a.archived === b.archived && a.deleted === b.deleted;
}

function unreadOf({ read, archived, deleted }: Marks): number {
  return read || archived || deleted ? 0 : 1;
}

async function lockInbox(tx: Tx, { tenantId, userId }: InboxOwner): Promise<InboxCounts | undefined> {
  const { rows } = await within(tx).query<InboxCounts>({
    name: 'inbox-lock',
    text: 'select sequence, unread, total from carillon.inbox where tenant_id = $1 and user_id = $2 for update',
    values: [tenantId, userId],
  });
  return rows[0];
}

async function findItem(tx: Tx, { tenantId, userId, id }: InboxOwner & { id: string }): Promise<InboxItem | undefined> {
  const { rows } = await within(tx).query<InboxRow>({
    name: 'inbox-find',
    text: `select ${ITEM_COLUMNS} from carillon.notifications n
            where n.id = $3 and n.tenant_id = $1 and n.user_id = $2 and n.inbox_at is not null and n.deleted_at is null`,
    values: [tenantId, userId, id],
  });
  return rows[0] && toItem(rows[0]);
}

async function markItem(
  tx: Tx,
  { tenantId, userId, id, marks, sequence }: InboxOwner & { id: string; marks: Marks; sequence: number },
): Promise<InboxItem> {
  const { rows } = await within(tx).query<InboxRow>({
    name: 'inbox-mark',
    text: `update carillon.notifications n
              set sequence = $4,
                  read_at = case when $5 then coalesce(read_at, carillon.now()) end,
                  clicked_at = case when $6 then coalesce(clicked_at, carillon.now()) end,
                  archived_at = case when $7 then coalesce(archived_at, carillon.now()) end,
                  deleted_at = case when $8 then coalesce(deleted_at, carillon.now()) end
            where n.id = $3 and n.tenant_id = $1 and n.user_id = $2
        returning ${ITEM_COLUMNS}`,
    values: [tenantId, userId, id, sequence, marks.read, marks.clicked, marks.archived, marks.deleted],
  });
  const [row] = rows;
  if (!row) throw new Error('an item vanished under its inbox lock');
  return toItem(row);
}

async function setCounts(
  tx: Tx,
  { tenantId, userId, sequence, unread, total, floor }: InboxOwner & InboxCounts & { floor?: number },
): Promise<void> {
  await within(tx).query({
    name: 'inbox-set',
    text: 'update carillon.inbox set sequence = $3, unread = $4, total = $5, floor = greatest(floor, $6) where tenant_id = $1 and user_id = $2',
    values: [tenantId, userId, sequence, unread, total, floor ?? 0],
  });
}

/** Numbers the rows from `sequence` + 1 on, in the order in which they came; returns how many. */
async function markAllRead(tx: Tx, { tenantId, userId, sequence }: InboxOwner & { sequence: number }): Promise<number> {
  const unread =
    'n.tenant_id = $1 and n.user_id = $2 and n.inbox_at is not null and n.deleted_at is null and n.read_at is null and n.archived_at is null';
  const { rowCount } = await within(tx).query({
    name: 'inbox-read-all',
    text: `with u as materialized (
             select n.id, row_number() over (order by n.created_sequence) as position from carillon.notifications n where ${unread}
           )
           update carillon.notifications n set read_at = carillon.now(), sequence = $3::bigint + u.position
             from u where n.id = u.id and ${unread}`,
    values: [tenantId, userId, sequence],
  });
  return rowCount;
}

/**
 * Takes what lies before the id `upTo` out of the inboxes, before its partition is dropped: marks it deleted, corrects the
 * counts, and raises each floor, so that streams load the list again. Some hundred users at a time: nobody waits long for a
 * lock. What an interrupted run has done is not counted twice.
 */
export async function raiseFloors(client: pg.Client, upTo: string): Promise<void> {
  let after: InboxOwner | undefined = { tenantId: '', userId: '' };
  while (after) after = await raiseSome(client, upTo, after);
}

/** Returns the last user of this round, or undefined when there was none left. */
async function raiseSome(client: pg.Client, upTo: string, after: InboxOwner): Promise<InboxOwner | undefined> {
  await client.query("begin; set local lock_timeout = '5s'; set local enable_seqscan = off");
  try {
    const { rows: owners } = await client.query<InboxOwner>(
      `select i.tenant_id as "tenantId", i.user_id as "userId"
         from (select distinct n.tenant_id, n.user_id from carillon.notifications n
                where n.id < $1 and n.inbox_at is not null and (n.tenant_id, n.user_id) > ($2, $3)
                order by n.tenant_id, n.user_id limit $4) as gone
         join carillon.inbox i on i.tenant_id = gone.tenant_id and i.user_id = gone.user_id
        order by i.tenant_id, i.user_id for update of i`,
      [upTo, after.tenantId, after.userId, USERS_AT_ONCE],
    );
    await client.query(
      `with owners as (
         select * from unnest($2::text[], $3::text[]) as o (tenant_id, user_id)
       ), gone as (
         update carillon.notifications n set deleted_at = carillon.now()
           from owners o
          where n.id < $1 and n.inbox_at is not null and n.deleted_at is null and n.tenant_id = o.tenant_id and n.user_id = o.user_id
      returning n.tenant_id, n.user_id, n.read_at is null and n.archived_at is null as unread
       ), sums as (
         select o.tenant_id, o.user_id, count(gone.user_id) as total, count(*) filter (where gone.unread) as unread
           from owners o left join gone on gone.tenant_id = o.tenant_id and gone.user_id = o.user_id
          group by o.tenant_id, o.user_id
       )
       update carillon.inbox i
          set unread = i.unread - s.unread, total = i.total - s.total, sequence = i.sequence + 1, floor = i.sequence + 1
         from sums s where i.tenant_id = s.tenant_id and i.user_id = s.user_id`,
      [upTo, owners.map((owner) => owner.tenantId), owners.map((owner) => owner.userId)],
    );
    await client.query('commit');
    return owners.at(-1);
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}
