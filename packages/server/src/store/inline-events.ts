/** Events of the type `inline` as the alias /api/notifications shows them: listed from the start, softly deleted, with what they put into inboxes. */
import { INLINE_TYPE, type Tx } from '../domain/event.ts';
import type { InboxChange } from '../domain/notification.ts';
import { bounds } from './arrays.ts';
import type { TenantRow } from './cancel.ts';
import { within } from './database.ts';
import { EVENT_COLUMNS, type EventRecord, type IdRange } from './timeline.ts';

export interface InlineEvent extends EventRecord {
  readonly deletedAt: Date | null;
}

const COLUMNS = `${EVENT_COLUMNS}, e.deleted_at as "deletedAt"`;
const INLINE = `e.tenant_id = $1 and e.type = '${INLINE_TYPE}'`;

export interface InlinePage {
  readonly tenantId: string;
  /** Whether deleted ones are shown too. */
  readonly deleted: boolean;
  readonly limit: number;
  readonly offset: number;
}

/** Newest first, scheduled and not yet routed ones included. */
export async function listInlineEvents(tx: Tx, { tenantId, deleted, limit, offset }: InlinePage): Promise<InlineEvent[]> {
  const { rows } = await within(tx).query<InlineEvent>({
    name: 'inline-events-list',
    text: `select ${COLUMNS} from carillon.events e
            where ${INLINE} and ($2::boolean or e.deleted_at is null) order by e.id desc limit $3 offset $4`,
    values: [tenantId, deleted, limit, offset],
  });
  return rows;
}

/** Undefined for what is not there, or of another type. */
export async function findInlineEvent(tx: Tx, { tenantId, id }: TenantRow): Promise<InlineEvent | undefined> {
  const { rows } = await within(tx).query<InlineEvent>({
    name: 'inline-events-find',
    text: `select ${COLUMNS} from carillon.events e where e.id = $2 and ${INLINE}`,
    values: [tenantId, id],
  });
  return rows[0];
}

/** Keeps the first time. Undefined for what is not there, or of another type. */
export async function markInlineEvent(tx: Tx, { tenantId, id }: TenantRow): Promise<InlineEvent | undefined> {
  const { rows } = await within(tx).query<InlineEvent>({
    name: 'inline-events-delete',
    text: `update carillon.events e set deleted_at = coalesce(e.deleted_at, carillon.now()) where e.id = $2 and ${INLINE} returning ${COLUMNS}`,
    values: [tenantId, id],
  });
  return rows[0];
}

interface Shown {
  readonly id: string;
  readonly userId: string;
}

/**
 * Hides up to `limit` notifications of an event: out of the inboxes, with their counts and a number for each. `more`: call it
 * again, in another transaction. The changes go to the users' streams after the commit.
 */
export async function hideNotificationsOf(
  tx: Tx,
  event: { tenantId: string; eventId: string; range: IdRange; limit: number },
): Promise<{ changes: InboxChange[]; more: boolean }> {
  const shown = await shownOf(tx, event);
  if (shown.length === 0) return { changes: [], more: false };
  await lockInboxes(tx, event.tenantId, shown);
  const rows = await hide(tx, event.tenantId, shown);
  return { changes: rows.map((row) => ({ ...row, tenantId: event.tenantId, items: [] })), more: shown.length === event.limit };
}

async function shownOf(
  tx: Tx,
  { tenantId, eventId, range, limit }: { tenantId: string; eventId: string; range: IdRange; limit: number },
): Promise<Shown[]> {
  const { rows } = await within(tx).query<Shown>({
    name: 'inline-events-shown',
    text: `select n.id, n.user_id as "userId" from carillon.notifications n
            where n.tenant_id = $1 and n.event_id = $2 and n.id >= $3 and n.id < $4 and n.deleted_at is null order by n.id limit $5`,
    values: [tenantId, eventId, range.low, range.high, limit],
  });
  return rows;
}

/** Before the notifications, and sorted: the order of all who change inboxes. */
async function lockInboxes(tx: Tx, tenantId: string, shown: readonly Shown[]): Promise<void> {
  await within(tx).query({
    name: 'inline-events-lock-inboxes',
    // `offset 0`: one look by key for each. A plan made while there were few inboxes would read them all.
    text: `select i.user_id from (select u from unnest($2::text[]) as u order by u collate "C") as k
            cross join lateral (select i.user_id from carillon.inbox i where i.tenant_id = $1 and i.user_id = k.u offset 0 for update) as i`,
    values: [tenantId, shown.map(({ userId }) => userId)],
  });
}

/** A user has one notification of an event: each inbox takes one number. */
async function hide(tx: Tx, tenantId: string, shown: readonly Shown[]): Promise<Omit<InboxChange, 'tenantId' | 'items'>[]> {
  const ids = shown.map(({ id }) => id);
  const { rows } = await within(tx).query<Omit<InboxChange, 'tenantId' | 'items'>>({
    name: 'inline-events-hide',
    text: `with gone as (
             update carillon.notifications n
                set deleted_at = carillon.now(),
                    sequence = case when n.inbox_at is not null then (select i.sequence + 1 from carillon.inbox i where i.tenant_id = $1 and i.user_id = n.user_id) end
              where n.id = any($2) and n.id between $3 and $4 and n.tenant_id = $1 and n.deleted_at is null
          returning n.user_id, n.inbox_at, n.inbox_at is not null and n.read_at is null and n.archived_at is null as unread
           )
           insert into carillon.inbox as i (tenant_id, user_id, sequence, total, unread) -- each of them is there, and is found by its key
           select $1, user_id, 1, 0, unread::integer from gone where inbox_at is not null
               on conflict (tenant_id, user_id) do update
              set sequence = i.sequence + 1, total = i.total - 1, unread = i.unread - excluded.unread
        returning i.user_id as "userId", i.sequence, i.unread, i.total`,
    values: [tenantId, ids, ...bounds(ids)],
  });
  return rows;
}
