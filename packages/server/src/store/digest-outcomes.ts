/** What became of a digest's message becomes the outcome of its items; and what is shown of digests. */
import { DELIVERY_STATES as S, deliveryState, ENTRY_KINDS, type DeliveryState } from '../domain/delivery.ts';
import type { Tx } from '../domain/event.ts';
import { REASONS } from '../domain/reason.ts';
import { bareArray, bounds, textArray } from './arrays.ts';
import { within, type Queryable } from './database.ts';
import { byIndexAlone, spanOf } from './digests.ts';
import type { UserKey } from './users.ts';

export interface MessageKey {
  readonly tenantId: string;
  /** Of the message. */
  readonly deliveryId: string;
}

interface ClosedRow {
  tenant_id: string;
  id: string;
  low: string;
  high: string;
  delivery_id: string;
}

interface MessageRow {
  id: string;
  status: number;
  reason: number;
  sent_at: Date | null;
}

interface Ended {
  readonly digest: ClosedRow;
  readonly message: MessageRow;
}

/**
 * Items of messages that have ended end with them. Where one of them expired before its message could be sent, a new message is made
 * of the others: their digest is due again. Resolves with how many are. What has been settled already is passed over.
 */
export async function settleDigests(tx: Tx, messages: readonly MessageKey[]): Promise<number> {
  const [, digests, ended] = await Promise.all([byIndexAlone(tx), lockUnsettled(tx, messages), endedMessages(tx, messages)]);
  const byId = new Map(ended.map((row) => [row.id, row]));
  const all = digests.flatMap((digest): Ended[] => {
    const message = byId.get(digest.delivery_id);
    return message ? [{ digest, message }] : [];
  });
  const [again, over] = [all.filter(hasExpired), all.filter((one) => !hasExpired(one))];
  await Promise.all([over.length > 0 ? endItems(tx, over) : null, again.length > 0 ? beginAnew(tx, again) : null]);
  return again.length;
}

function hasExpired({ message }: Ended): boolean {
  return message.status === S.expired;
}

async function lockUnsettled(tx: Tx, messages: readonly MessageKey[]): Promise<ClosedRow[]> {
  const { rows } = await within(tx).query<ClosedRow>({
    name: 'digests-lock-unsettled',
    text: `select tenant_id, id, low, high, delivery_id from carillon.digests
            where tenant_id = any($1) and delivery_id = any($2) and settled_at is null order by tenant_id, id for update`,
    values: [textArray([...new Set(messages.map(({ tenantId }) => tenantId))]), bareArray(messages.map(({ deliveryId }) => deliveryId))],
  });
  return rows;
}

async function endedMessages(tx: Tx, messages: readonly MessageKey[]): Promise<MessageRow[]> {
  const ids = messages.map(({ deliveryId }) => deliveryId);
  const { rows } = await within(tx).query<MessageRow>({
    name: 'digests-ended-messages',
    text: `select id, status, reason, sent_at from carillon.deliveries
            where id = any($1) and id between $2 and $3 and status in (${S.delivered}, ${S.failed}, ${S.skipped}, ${S.cancelled}, ${S.expired})`,
    values: [bareArray(ids), ...bounds(ids)],
  });
  return rows;
}

async function endItems(tx: Tx, ended: readonly Ended[]): Promise<void> {
  const isDelivered = ({ message }: Ended) => message.status === S.delivered;
  await within(tx).query({
    name: 'digests-end-items',
    text: `with given as materialized (
             select * from unnest($1::uuid[], $4::text[], $5::smallint[], $6::smallint[], $7::timestamptz[]) as g (id, tenant_id, status, reason, sent_at)
           ), ended as (
             update carillon.deliveries d set status = g.status, reason = g.reason, lease_token = null, sent_at = g.sent_at, finished_at = carillon.now()
               from given g
              where d.digest_id = any($1) and d.id between $2 and $3 and d.digest_id = g.id and d.status = ${S.sending} and d.lease_token = g.id
           )
           update carillon.digests d set settled_at = carillon.now() from given g where d.tenant_id = g.tenant_id and d.id = g.id`,
    values: [
      bareArray(ended.map(({ digest }) => digest.id)),
      ...spanOf(ended.map(({ digest }) => digest)),
      textArray(ended.map(({ digest }) => digest.tenant_id)),
      bareArray(ended.map(({ message }) => message.status)),
      bareArray(ended.map((one) => (isDelivered(one) ? REASONS.digested.number : one.message.reason))),
      bareArray(ended.map(({ message }) => message.sent_at?.toISOString() ?? null)),
    ],
  });
}

/** sending → held: the items wait again, in a digest that takes no more and is due. */
async function beginAnew(tx: Tx, expired: readonly Ended[]): Promise<void> {
  await within(tx).query({
    name: 'digests-begin-anew',
    text: `with given as materialized (
             select * from unnest($1::uuid[], $4::text[]) as g (id, tenant_id)
           ), held as (
             update carillon.deliveries d
                set status = ${S.held}, reason = ${REASONS.digest_waiting.number}, lease_token = null, sent_at = null, entry_count = d.entry_count + 1
               from given g
              where d.digest_id = any($1) and d.id between $2 and $3 and d.digest_id = g.id and d.status = ${S.sending} and d.lease_token = g.id
          returning d.id, d.tenant_id, d.entry_count
           ), entered as (
             insert into carillon.attempts (delivery_id, number, tenant_id, kind, at, reason, next_attempt_at)
             select id, entry_count, tenant_id, ${ENTRY_KINDS.held}, carillon.now(), ${REASONS.digest_waiting.number}, carillon.now() from held
           )
           update carillon.digests d set closed_at = null, closes_at = carillon.now(), delivery_id = null, notification_id = null
             from given g where d.tenant_id = g.tenant_id and d.id = g.id`,
    values: [
      bareArray(expired.map(({ digest }) => digest.id)),
      ...spanOf(expired.map(({ digest }) => digest)),
      textArray(expired.map(({ digest }) => digest.tenant_id)),
    ],
  });
}

/** Closed digests whose items have not ended, by id: most of them still have attempts to come. */
export async function unsettledAfter(db: Queryable, after: string, limit: number): Promise<(MessageKey & { readonly id: string })[]> {
  const { rows } = await db.query<MessageKey & { id: string }>({
    name: 'digests-unsettled',
    text: `select tenant_id as "tenantId", delivery_id as "deliveryId", id from carillon.digests
            where closed_at is not null and settled_at is null and id > $1 order by id limit $2`,
    values: [after, limit],
  });
  return rows;
}

/** Deletes up to `limit` whose items ended longer ago than rows are kept; returns how many. */
export async function sweepDigests(db: Queryable, { limit, days }: { limit: number; days: number }): Promise<number> {
  const { rowCount } = await db.query({
    name: 'digests-sweep',
    text: `with old as materialized (
             select tenant_id, id from carillon.digests where settled_at <= carillon.now() - make_interval(days => $2) order by settled_at limit $1 for update skip locked
           )
           delete from carillon.digests d using old o where d.tenant_id = o.tenant_id and d.id = o.id`,
    values: [limit, days],
  });
  return rowCount;
}

/** A failed message that is tried again takes along the items that failed with it: failed → pending → sending at once. Nothing for what is no message of a digest. */
export async function retryDigest(tx: Tx, { tenantId, deliveryId }: MessageKey): Promise<void> {
  const { rows } = await within(tx).query<ClosedRow>({
    name: 'digests-unsettle',
    text: `update carillon.digests set settled_at = null where tenant_id = $1 and delivery_id = $2 and settled_at is not null
        returning tenant_id, id, low, high, delivery_id`,
    values: [tenantId, deliveryId],
  });
  const [digest] = rows;
  if (!digest) return;
  const again = within(tx).query({
    name: 'digests-retry-items',
    text: `update carillon.deliveries
              set status = ${S.sending}, reason = ${REASONS.digest_sending.number}, lease_token = digest_id, finished_at = null
            where digest_id = $1 and id between $2 and $3 and tenant_id = $4 and status = ${S.failed}`,
    values: [digest.id, digest.low, digest.high, tenantId],
  });
  await Promise.all([byIndexAlone(tx), again]);
}

/** What quiet hours hold for these users is due at once: what they want now is asked when it closes. Returns how many. */
export async function recheckDigests(tx: Tx, tenantId: string, userIds: readonly string[]): Promise<number> {
  const { rowCount } = await within(tx).query({
    name: 'digests-recheck',
    // Not `closed_at is null`, which a hold in the future says too: PostgreSQL 15 would read all that are open.
    text: `update carillon.digests set closes_at = carillon.now(), held_until = null
            where tenant_id = $1 and user_id = any($2) and held_until > carillon.now()`,
    values: [tenantId, userIds],
  });
  return rowCount;
}

/** Of an erased user: nothing more comes in, and what is kept says nothing of where it was to go. */
export async function eraseDigests(tx: Tx, { tenantId, id }: UserKey): Promise<void> {
  await within(tx).query({
    name: 'erase-digests',
    text: `update carillon.digests set open = false, slot = id::text, address = '', key = '' where tenant_id = $1 and user_id = $2`,
    values: [tenantId, id],
  });
}

/** A digest as it is shown with its items. */
export interface DigestRecord {
  readonly id: string;
  readonly key: string;
  readonly openedAt: Date;
  readonly closesAt: Date;
  readonly closedAt: Date | null;
  readonly deliveryId: string | null;
  readonly notificationId: string | null;
  /** Of its message. */
  readonly status: DeliveryState | null;
  readonly reason: number | null;
}

type ShownRow = Omit<DigestRecord, 'status' | 'reason'>;

export interface InDigest {
  readonly digestId?: string | null | undefined;
  /** Where it waits, or waited, with others. */
  readonly digest?: DigestRecord | undefined;
}

/** Deliveries with the digests that they are items of. Costs nothing where none is. One that has been swept is not there. */
export async function withDigests<Row extends InDigest>(tx: Tx, tenantId: string, rows: Row[]): Promise<Row[]> {
  const ids = [...new Set(rows.flatMap(({ digestId }) => digestId ?? []))];
  if (ids.length === 0) return rows;
  const digests = await findDigests(tx, tenantId, ids);
  return rows.map((row) => {
    const digest = digests.get(row.digestId ?? '');
    return digest ? { ...row, digest } : row;
  });
}

async function findDigests(tx: Tx, tenantId: string, ids: readonly string[]): Promise<Map<string, DigestRecord>> {
  const { rows } = await within(tx).query<ShownRow>({
    name: 'digests-find',
    text: `select id, key, opened_at as "openedAt", closes_at as "closesAt", closed_at as "closedAt", delivery_id as "deliveryId", notification_id as "notificationId"
             from carillon.digests where tenant_id = $1 and id = any($2)`,
    values: [tenantId, bareArray(ids)],
  });
  const messages = await messagesOf(
    tx,
    tenantId,
    rows.flatMap(({ deliveryId }) => deliveryId ?? []),
  );
  return new Map(
    rows.map((row) => {
      const message = messages.get(row.deliveryId ?? '');
      return [row.id, { ...row, status: message ? deliveryState(message.status) : null, reason: message?.reason ?? null }];
    }),
  );
}

async function messagesOf(tx: Tx, tenantId: string, ids: readonly string[]): Promise<Map<string, { status: number; reason: number }>> {
  if (ids.length === 0) return new Map();
  const { rows } = await within(tx).query<{ id: string; status: number; reason: number }>({
    name: 'digests-messages',
    text: 'select id, status, reason from carillon.deliveries where id = any($2) and id between $3 and $4 and tenant_id = $1',
    values: [tenantId, bareArray(ids), ...bounds(ids)],
  });
  return new Map(rows.map((row) => [row.id, row]));
}
