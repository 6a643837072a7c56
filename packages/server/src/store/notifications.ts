/** Notifications, and their numbers in the inbox: one statement, so that a number and its row become visible together. */
import { SEVERITIES, type Tx } from '../domain/event.ts';
import type { InboxChange, InboxItem, NewNotification } from '../domain/notification.ts';
import { bareColumn, textArray, textColumn } from './arrays.ts';
import { within } from './database.ts';

interface Taken {
  tenant_id: string;
  user_id: string;
  sequence: number;
  unread: number;
  total: number;
}

/**
 * Writes the rows. Those with `inApp` are counted and numbered in their order; the changes go to the users' streams once
 * the transaction has committed. Inbox rows are locked sorted, until then: numbers become visible in order.
 */
export async function insertNotifications(tx: Tx, rows: readonly NewNotification[]): Promise<InboxChange[]> {
  if (rows.length === 0) return [];
  const behind = behindInInbox(rows);
  const { rows: taken } = await within(tx).query<Taken>({
    name: 'notifications-insert',
    text: `with given as materialized (
             select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::smallint[], $10::text[], $11::text[], $12::timestamptz[], $13::integer[], $14::text[])
               as g (id, tenant_id, event_id, user_id, type, subject, body, action_url, severity, tags, metadata, created_at, behind, warnings)
           ), taken as (
             insert into carillon.inbox as i (tenant_id, user_id, sequence, unread, total)
             select tenant_id, user_id, count(*), count(*), count(*) from given where behind is not null
              group by tenant_id, user_id order by tenant_id collate "C", user_id collate "C"
                 on conflict (tenant_id, user_id) do update
                set sequence = i.sequence + excluded.sequence, unread = i.unread + excluded.unread, total = i.total + excluded.total
             returning tenant_id, user_id, sequence, unread, total
           ), written as (
             insert into carillon.notifications (id, tenant_id, event_id, user_id, type, subject, body, action_url, severity, tags, metadata, created_at, inbox_at, created_sequence, sequence, warnings)
             select g.id, g.tenant_id, g.event_id, g.user_id, g.type, g.subject, g.body, g.action_url, g.severity, coalesce(g.tags::text[], '{}'), g.metadata::json, g.created_at,
                    case when g.behind is not null then carillon.now() end, t.sequence - g.behind, t.sequence - g.behind, g.warnings::json
               from given g left join taken t on g.behind is not null and t.tenant_id = g.tenant_id and t.user_id = g.user_id
           )
           select tenant_id, user_id, sequence, unread, total from taken`,
    values: [
      bareColumn(rows, (row) => row.id),
      textColumn(rows, (row) => row.tenantId),
      bareColumn(rows, (row) => row.eventId),
      textColumn(rows, (row) => row.userId),
      textColumn(rows, (row) => row.type),
      textColumn(rows, (row) => row.subject),
      textColumn(rows, (row) => row.body),
      textColumn(rows, (row) => row.actionUrl),
      bareColumn(rows, (row) => SEVERITIES[row.severity]),
      textColumn(rows, (row) => (row.tags.length > 0 ? textArray(row.tags) : null)),
      textColumn(rows, (row) => JSON.stringify(row.metadata)),
      bareColumn(rows, (row) => row.createdAt.toISOString()),
      behind,
      textColumn(rows, (row) => (row.warnings ? JSON.stringify(row.warnings) : null)),
    ],
  });
  const byUser = Map.groupBy(
    rows.filter((row) => row.inApp),
    (row) => `${row.tenantId}\0${row.userId}`,
  );
  return taken.map((user) => changeOf(user, byUser.get(`${user.tenant_id}\0${user.user_id}`) ?? []));
}

/** For each row how many of the same user follow it among these, or null when it does not enter the inbox. */
function behindInInbox(rows: readonly NewNotification[]): (number | null)[] {
  const seen = new Map<string, number>();
  const behind = rows.map((): number | null => null);
  for (let index = rows.length - 1; index >= 0; index--) {
    const row = rows[index];
    if (!row?.inApp) continue;
    const key = `${row.tenantId}\0${row.userId}`;
    const count = seen.get(key) ?? 0;
    behind[index] = count;
    seen.set(key, count + 1);
  }
  return behind;
}

function changeOf({ tenant_id: tenantId, user_id: userId, sequence, unread, total }: Taken, mine: readonly NewNotification[]): InboxChange {
  const items = mine.map((row, index) => newItem(row, sequence - (mine.length - 1 - index)));
  return { tenantId, userId, items, sequence, unread, total };
}

function newItem(row: NewNotification, sequence: number): InboxItem {
  const { id, eventId, type, subject, body, actionUrl, severity, tags, metadata, createdAt } = row;
  const untouched = { readAt: null, clickedAt: null, archivedAt: null, deletedAt: null };
  return {
    id,
    eventId,
    type,
    subject,
    body,
    actionUrl,
    severity,
    tags,
    metadata,
    createdAt,
    createdSequence: sequence,
    sequence,
    ...untouched,
  };
}
