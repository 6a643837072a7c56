/** What a user's inbox holds, how many, and as of which number. Each answer is one statement, so that its parts belong together. */
import { nameOf } from '../domain/delivery.ts';
import { SEVERITIES, type Tx } from '../domain/event.ts';
import type { InboxItem } from '../domain/notification.ts';
import { within, type Queryable } from './database.ts';

/** `all` includes what is archived; `read` does not. */
export const INBOX_STATUSES = ['all', 'unread', 'read', 'archived'] as const;
export type InboxStatus = (typeof INBOX_STATUSES)[number];

export interface InboxOwner {
  readonly tenantId: string;
  readonly userId: string;
}

/** `total` counts what is not deleted, archived items included; `unread` what is neither read nor archived. */
export interface InboxCounts {
  readonly sequence: number;
  readonly unread: number;
  readonly total: number;
}

export interface InboxState extends InboxCounts {
  /** Changes up to this number can't be told one by one any more. */
  readonly floor: number;
}

export interface InboxFilter extends InboxOwner {
  readonly status: InboxStatus;
  /** At least one of them. Empty: no filter. */
  readonly includeTags: readonly string[];
  /** None of them, whatever else matches. */
  readonly excludeTags: readonly string[];
  readonly tagPrefix: string | null;
  readonly limit: number;
  readonly offset: number;
  /** UUID: only items older than it; when `forward`, younger ones, and the oldest of them first. */
  readonly cursor: string | null;
  readonly forward: boolean;
}

export interface InboxPage {
  readonly items: readonly InboxItem[];
  /** All that match, whatever the page: without a filter the inbox's own total. */
  readonly total: number;
  readonly hasMore: boolean;
  readonly unread: number;
  readonly sequence: number;
}

export interface InboxRow {
  id: string;
  event_id: string;
  type: string;
  subject: string;
  body: string;
  action_url: string | null;
  severity: number;
  tags: string[];
  metadata: Record<string, unknown>;
  created_at: Date;
  created_sequence: number;
  sequence: number;
  read_at: Date | null;
  clicked_at: Date | null;
  archived_at: Date | null;
  deleted_at: Date | null;
}

export const ITEM_COLUMNS =
  'n.id, n.event_id, n.type, n.subject, n.body, n.action_url, n.severity, n.tags, n.metadata, n.created_at, n.created_sequence, n.sequence, n.read_at, n.clicked_at, n.archived_at, n.deleted_at';

/** A user who was never told anything in-app has no row, and an empty inbox. */
const STATE = `(select coalesce(max(sequence), 0) as inbox_sequence, coalesce(max(floor), 0) as floor, coalesce(max(unread), 0) as unread, coalesce(max(total), 0) as total
                  from carillon.inbox where tenant_id = $1 and user_id = $2)`;

const MATCHES = `n.tenant_id = $1 and n.user_id = $2 and n.inbox_at is not null and n.deleted_at is null
             and case $3::text when 'all' then true
                               when 'archived' then n.archived_at is not null
                               when 'read' then n.read_at is not null and n.archived_at is null
                               else n.read_at is null and n.archived_at is null end
             and ($4::text[] = '{}' or n.tags && $4)
             and not n.tags && $5::text[]
             and ($6::text is null or exists (select from unnest(n.tags) as t (tag) where starts_with(t.tag, $6)))`;

interface StateRow {
  inbox_sequence: number;
  floor: number;
  unread: number;
  total: number;
}

export function toItem(row: InboxRow): InboxItem {
  return {
    id: row.id,
    eventId: row.event_id,
    type: row.type,
    subject: row.subject,
    body: row.body,
    actionUrl: row.action_url,
    severity: nameOf(SEVERITIES, row.severity),
    tags: row.tags,
    metadata: row.metadata,
    createdAt: row.created_at,
    createdSequence: row.created_sequence,
    sequence: row.sequence,
    readAt: row.read_at,
    clickedAt: row.clicked_at,
    archivedAt: row.archived_at,
    deletedAt: row.deleted_at,
  };
}

const FIRST_ID = '00000000-0000-0000-0000-000000000000';
const LAST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/** Newest first, unless `forward`. */
export async function listInbox(tx: Tx, filter: InboxFilter): Promise<InboxPage> {
  const { tenantId, userId, status, includeTags, excludeTags, tagPrefix, limit, offset, cursor, forward } = filter;
  const filtered = status !== 'all' || includeTags.length > 0 || excludeTags.length > 0 || tagPrefix !== null;
  const [compare, order, start] = forward ? ['>', 'asc', FIRST_ID] : ['<', 'desc', LAST_ID];
  const { rows } = await within(tx).query<StateRow & (InboxRow | { id: null }) & { matching: number | null }>({
    name: forward ? 'inbox-list-forward' : 'inbox-list',
    text: `select i.*, case when $10::boolean then (select count(*) from carillon.notifications n where ${MATCHES}) end as matching, item.*
             from ${STATE} as i
             left join lateral (
                  select ${ITEM_COLUMNS} from carillon.notifications n
                   where ${MATCHES} and n.id ${compare} $9
                   order by n.id ${order} limit $7::integer + 1 offset $8
                  ) as item on true
            order by item.id ${order}`,
    values: [tenantId, userId, status, includeTags, excludeTags, tagPrefix, limit, offset, cursor ?? start, filtered],
  });
  const [state] = rows;
  if (!state) throw new Error('an aggregate gave no row');
  const items = rows.filter((row) => row.id !== null).map(toItem);
  return {
    items: items.slice(0, limit),
    total: state.matching ?? state.total,
    hasMore: items.length > limit,
    unread: state.unread,
    sequence: state.inbox_sequence,
  };
}

export async function inboxState(tx: Tx, { tenantId, userId }: InboxOwner): Promise<InboxState> {
  const { rows } = await within(tx).query<StateRow>({
    name: 'inbox-state',
    text: `select * from ${STATE} as i`,
    values: [tenantId, userId],
  });
  return stateOf(rows[0]);
}

function stateOf(row: StateRow | undefined): InboxState {
  if (!row) throw new Error('an aggregate gave no row');
  return { sequence: row.inbox_sequence, floor: row.floor, unread: row.unread, total: row.total };
}

export interface InboxChanges extends InboxState {
  /** In order of their last change, tombstones included. */
  readonly items: readonly InboxItem[];
}

/** What changed after a number, up to `limit` items; none for null. As many items as the limit: there may be more. */
export async function changesSince(
  tx: Tx,
  { tenantId, userId, after, limit }: InboxOwner & { after: number | null; limit: number },
): Promise<InboxChanges> {
  const { rows } = await within(tx).query<StateRow & (InboxRow | { id: null })>({
    name: 'inbox-changes',
    text: `select i.*, item.*
             from ${STATE} as i
             left join lateral (
                  select ${ITEM_COLUMNS} from carillon.notifications n
                   where n.tenant_id = $1 and n.user_id = $2 and n.sequence > $3 and n.inbox_at is not null
                   order by n.sequence limit $4
                  ) as item on true
            order by item.sequence`,
    values: [tenantId, userId, after, limit],
  });
  return { ...stateOf(rows[0]), items: rows.filter((row) => row.id !== null).map(toItem) };
}

/** The current numbers of many users at once, without those that have none. */
export async function inboxSequences(db: Queryable, owners: readonly InboxOwner[]): Promise<(InboxOwner & { sequence: number })[]> {
  const { rows } = await db.query<InboxOwner & { sequence: number }>({
    name: 'inbox-sequences',
    text: `select i.tenant_id as "tenantId", i.user_id as "userId", i.sequence
             from unnest($1::text[], $2::text[]) as given (tenant_id, user_id)
            cross join lateral (select * from carillon.inbox i where i.tenant_id = given.tenant_id and i.user_id = given.user_id offset 0) as i`,
    values: [owners.map((owner) => owner.tenantId), owners.map((owner) => owner.userId)],
  });
  return rows;
}

/** Marks a stream ticket as used. False when it was used before. The row is swept like any expired key. */
export async function spendTicket(
  tx: Tx,
  { tenantId, ticketId, ttlMs }: { tenantId: string; ticketId: string; ttlMs: number },
): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'inbox-spend-ticket',
    text: `insert into carillon.idempotency_keys (tenant_id, route, key, request_hash, answer, expires_at)
           values ($1, 'stream-ticket', $2, '', 'null', carillon.now() + make_interval(secs => $3::float8 / 1000))
               on conflict do nothing`,
    values: [tenantId, ticketId, ttlMs],
  });
  return rowCount === 1;
}
