/** Digests that are due: locked, read, and what came of each written. */
import { DELIVERY_STATES as S, ENTRY_KINDS, nameOf } from '../domain/delivery.ts';
import type { DueDigest, WaitingItem } from '../domain/digest.ts';
import { SEVERITIES, type EventRequest, type Tx, type TypeDigest } from '../domain/event.ts';
import { REASONS } from '../domain/reason.ts';
import { bareArray, bounds, textArray } from './arrays.ts';
import { within } from './database.ts';

interface DueRow {
  tenant_id: string;
  id: string;
  user_id: string;
  channel: string;
  address: string;
  key: string;
  opened_at: Date;
  claimed_at: Date;
  low: string;
  high: string;
}

/** Locks what is due until the end of the transaction, and passes over what somebody else has: an item may be coming in. */
export async function claimDigests(tx: Tx, limit: number): Promise<DueDigest[]> {
  const claimed = within(tx).query<DueRow>({
    name: 'digests-claim',
    text: `select tenant_id, id, user_id, channel, address, key, opened_at, low, high, carillon.now() as claimed_at from carillon.digests
            where closed_at is null and closes_at <= carillon.now() order by closes_at limit $1 for update skip locked`,
    values: [limit],
  });
  const [{ rows }] = await Promise.all([claimed, byIndexAlone(tx)]);
  return rows.map(({ tenant_id: tenantId, user_id: userId, opened_at: openedAt, claimed_at: claimedAt, ...row }) => ({
    ...row,
    ...{ tenantId, userId, openedAt, claimedAt },
  }));
}

/** Of an item's body; a message of many would else be longer than anybody takes. */
const MAX_BODY = 1_000;
const MAX_DATA_BYTES = 4_096;

/** What still waits in these digests, in the order of the events. Locked in the order of all who lock deliveries. */
export async function itemsOfDigests(tx: Tx, digests: readonly DueDigest[]): Promise<WaitingItem[]> {
  const waiting = await lockItems(tx, digests);
  if (waiting.length === 0) return [];
  const [contents, events] = await Promise.all([
    loadContents(tx, [...new Set(waiting.map((row) => row.notification_id))]),
    loadEvents(tx, [...new Set(waiting.map((row) => row.event_id))]),
  ]);
  const items = waiting.flatMap((row): WaitingItem[] => {
    const content = contents.get(row.notification_id);
    return content ? [itemOf(row, content, events.get(row.event_id))] : [];
  });
  return items.sort((a, b) => a.at.getTime() - b.at.getTime() || (a.eventId < b.eventId ? -1 : 1));
}

interface ItemRow {
  id: string;
  tenant_id: string;
  digest_id: string;
  notification_id: string;
  event_id: string;
  created_at: Date;
  expires_at: Date | null;
  channel: string;
  critical: boolean;
}

async function lockItems(tx: Tx, digests: readonly DueDigest[]): Promise<ItemRow[]> {
  const { rows } = await within(tx).query<ItemRow>({
    name: 'digests-lock-items',
    text: `select id, tenant_id, digest_id, notification_id, event_id, created_at, expires_at, channel, critical from carillon.deliveries
            where digest_id = any($1) and id between $2 and $3 and status = ${S.held} order by id for update`,
    values: [bareArray(digests.map(({ id }) => id)), ...spanOf(digests)],
  });
  return rows;
}

/** Planned while the tables are empty, or for all partitions together, scans would look cheaper. */
export async function byIndexAlone(tx: Tx): Promise<void> {
  await within(tx).query({
    name: 'digests-settings',
    text: "select set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)",
    values: [],
  });
}

export function spanOf(digests: readonly Pick<DueDigest, 'low' | 'high'>[]): [string, string] {
  return bounds(digests.flatMap(({ low, high }) => [low, high]));
}

interface ContentRow {
  id: string;
  type: string;
  subject: string;
  body: string;
  action_url: string | null;
  severity: number;
  tags: string[];
  seen: boolean;
}

async function loadContents(tx: Tx, ids: readonly string[]): Promise<Map<string, ContentRow>> {
  const { rows } = await within(tx).query<ContentRow>({
    name: 'digests-contents',
    text: `select id, type, subject, case when length(body) > ${MAX_BODY} then left(body, ${MAX_BODY - 1}) || '…' else body end as body, action_url, severity, tags,
                  read_at is not null or archived_at is not null or deleted_at is not null as seen
             from carillon.notifications where id = any($1) and id between $2 and $3`,
    values: [bareArray(ids), ...bounds(ids)],
  });
  return new Map(rows.map((row) => [row.id, row]));
}

interface EventRow {
  id: string;
  category: string | null;
  version: string | null;
  digest: TypeDigest | null;
  delays: EventRequest['delays'] | null;
  data: Record<string, unknown> | null;
}

/** One whose partition has been dropped is not there. */
async function loadEvents(tx: Tx, ids: readonly string[]): Promise<Map<string, EventRow>> {
  const { rows } = await within(tx).query<EventRow>({
    name: 'digests-events',
    text: `select id, request ->> 'category' as category, version, request -> 'digest' as digest, request -> 'delays' as delays,
                  case when octet_length((request -> 'data')::text) <= ${MAX_DATA_BYTES} then request -> 'data' end as data
             from carillon.events where id = any($1) and id between $2 and $3`,
    values: [bareArray(ids), ...bounds(ids)],
  });
  return new Map(rows.map((row) => [row.id, row]));
}

function itemOf(row: ItemRow, content: ContentRow, event: EventRow | undefined): WaitingItem {
  const { type, subject, body, tags, seen } = content;
  return {
    ...{ deliveryId: row.id, digestId: row.digest_id, tenantId: row.tenant_id, notificationId: row.notification_id, eventId: row.event_id },
    ...{ at: row.created_at, expiresAt: row.expires_at, type, subject, body, tags, seen, actionUrl: content.action_url },
    severity: nameOf(SEVERITIES, content.severity),
    category: event?.category ?? null,
    version: event?.version ?? null,
    data: event?.data ?? {},
    critical: row.critical,
    onlyIfUnread: [event?.digest, event?.delays?.[row.channel]].some((said) => said?.only_if === 'unread'),
  };
}

/** held → what the closing said. */
export async function dropItems(
  tx: Tx,
  rows: readonly { readonly id: string; readonly state: 'skipped' | 'expired'; readonly reason: keyof typeof REASONS }[],
): Promise<void> {
  if (rows.length === 0) return;
  const ids = rows.map(({ id }) => id);
  await within(tx).query({
    name: 'digests-drop-items',
    text: `update carillon.deliveries d set status = g.status, reason = g.reason, finished_at = carillon.now()
             from unnest($1::uuid[], $4::smallint[], $5::smallint[]) as g (id, status, reason)
            where d.id = any($1) and d.id between $2 and $3 and d.id = g.id and d.status = ${S.held}`,
    values: [
      bareArray(ids),
      ...bounds(ids),
      bareArray(rows.map(({ state }) => S[state])),
      bareArray(rows.map(({ reason }) => REASONS[reason].number)),
    ],
  });
}

/** held → sending: on their way with the message, under the digest's id as their lease. */
export async function beginItems(tx: Tx, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await within(tx).query({
    name: 'digests-begin-items',
    text: `with begun as (
             update carillon.deliveries
                set status = ${S.sending}, reason = ${REASONS.digest_sending.number}, lease_token = digest_id, sent_at = carillon.now(), entry_count = entry_count + 1
              where id = any($1) and id between $2 and $3 and status = ${S.held}
          returning id, tenant_id, entry_count
           )
           insert into carillon.attempts (delivery_id, number, tenant_id, kind, at, reason)
           select id, entry_count, tenant_id, ${ENTRY_KINDS.released}, carillon.now(), ${REASONS.digest_sending.number} from begun`,
    values: [bareArray(ids), ...bounds(ids)],
  });
}

/** Due again then; what comes in meanwhile does not make it due before. Each item's timeline says so. */
export async function holdDigests(tx: Tx, held: readonly { readonly digest: DueDigest; readonly until: Date }[]): Promise<void> {
  if (held.length === 0) return;
  const digests = held.map(({ digest }) => digest);
  await within(tx).query({
    name: 'digests-hold',
    text: `with given as materialized (
             select * from unnest($1::uuid[], $4::text[], $5::timestamptz[]) as g (id, tenant_id, until)
           ), noted as (
             update carillon.deliveries d set entry_count = d.entry_count + 1
               from given g where d.digest_id = any($1) and d.id between $2 and $3 and d.digest_id = g.id and d.status = ${S.held}
          returning d.id, d.tenant_id, d.entry_count, g.until
           ), entered as (
             insert into carillon.attempts (delivery_id, number, tenant_id, kind, at, reason, next_attempt_at)
             select id, entry_count, tenant_id, ${ENTRY_KINDS.held}, carillon.now(), ${REASONS.quiet_hours_held.number}, until from noted
           )
           update carillon.digests d set closes_at = g.until, held_until = g.until from given g where d.tenant_id = g.tenant_id and d.id = g.id`,
    values: [
      bareArray(digests.map(({ id }) => id)),
      ...spanOf(digests),
      textArray(digests.map(({ tenantId }) => tenantId)),
      bareArray(held.map(({ until }) => until.toISOString())),
    ],
  });
}

interface Sent {
  /** Of the delivery. */
  readonly id: string;
  readonly notificationId: string | null;
}

/** For good, with the message that carries their items; null: nothing was left to say. */
export async function closeRows(tx: Tx, closed: readonly { readonly digest: DueDigest; readonly message: Sent | null }[]): Promise<void> {
  if (closed.length === 0) return;
  await within(tx).query({
    name: 'digests-close',
    text: `update carillon.digests d
              set open = false, closed_at = carillon.now(), delivery_id = g.delivery_id, notification_id = g.notification_id, settled_at = case when g.delivery_id is null then carillon.now() end
             from unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[]) as g (tenant_id, id, delivery_id, notification_id) where d.tenant_id = g.tenant_id and d.id = g.id`,
    values: [
      textArray(closed.map(({ digest }) => digest.tenantId)),
      bareArray(closed.map(({ digest }) => digest.id)),
      bareArray(closed.map(({ message }) => message?.id ?? null)),
      bareArray(closed.map(({ message }) => message?.notificationId ?? null)),
    ],
  });
}

/** After it could not be closed: a defect, which a later version may not have. */
export async function postponeDigest(tx: Tx, { tenantId, id }: Pick<DueDigest, 'tenantId' | 'id'>): Promise<void> {
  await within(tx).query({
    name: 'digests-postpone',
    text: "update carillon.digests set closes_at = carillon.now() + interval '1 minute' where tenant_id = $1 and id = $2",
    values: [tenantId, id],
  });
}
