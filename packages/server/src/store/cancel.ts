/** Taking back what has not been sent. Each answer is definite: the rows it speaks of are locked until commit. */
import { DELIVERY_STATES as S } from '../domain/delivery.ts';
import { EVENT_STATES as E, type Tx } from '../domain/event.ts';
import { REASONS } from '../domain/reason.ts';
import { firstIdAt, timeOf } from '../lib/id.ts';
import { within } from './database.ts';

export interface CancelAnswer {
  readonly outcome: 'cancelled' | 'too_late';
  /** Deliveries that are cancelled, by this request or an earlier one. */
  readonly cancelled: number;
  /** Deliveries that have been sent or are being sent. */
  readonly tooLate: number;
  /** When the first of those left. */
  readonly sentAt: Date | null;
}

export interface TenantRow {
  readonly tenantId: string;
  /** UUID. */
  readonly id: string;
}

/** The deliveries that belong to one event, or to one of its notifications, with the bounds of their ids. */
interface Scope {
  readonly tenantId: string;
  readonly eventId: string;
  readonly notificationId: string | null;
  readonly low: string;
  readonly high: string;
}

interface Tally {
  cancelled: number;
  too_late: number;
  sent_at: Date | null;
}

/** Undefined for an event that is not there. A chunk of a large audience that is being routed is waited for. */
export async function cancelEvent(tx: Tx, { tenantId, id }: TenantRow): Promise<CancelAnswer | undefined> {
  const event = await lockEvent(tx, { tenantId, id });
  if (!event) return undefined;
  if (event.status === E.accepted || event.status === E.scheduled) await markCancelled(tx, { tenantId, id });
  const tally = await cancelDeliveries(tx, { tenantId, eventId: id, notificationId: null, ...within1ms(event.due_at) });
  return toAnswer(tally, event.status !== E.routed && event.status !== E.expired);
}

/** Undefined for a notification that is not there. */
export async function cancelNotification(tx: Tx, { tenantId, id }: TenantRow): Promise<CancelAnswer | undefined> {
  const { rows } = await within(tx).query<{ event_id: string }>({
    name: 'cancel-notification',
    text: 'select event_id from carillon.notifications where id = $1 and tenant_id = $2',
    values: [id, tenantId],
  });
  const [row] = rows;
  if (!row) return undefined;
  return toAnswer(await cancelDeliveries(tx, { tenantId, eventId: row.event_id, notificationId: id, ...within1ms(timeOf(id)) }), false);
}

/** Nothing was sent and something was stopped: only that is `cancelled`. */
function toAnswer({ cancelled, too_late: tooLate, sent_at: sentAt }: Tally, eventStopped: boolean): CancelAnswer {
  return { outcome: tooLate === 0 && (cancelled > 0 || eventStopped) ? 'cancelled' : 'too_late', cancelled, tooLate, sentAt };
}

/** Deliveries' ids hold the event's due time. */
function within1ms(at: Date): { low: string; high: string } {
  return { low: firstIdAt(at), high: firstIdAt(new Date(at.getTime() + 1)) };
}

async function lockEvent(tx: Tx, { tenantId, id }: TenantRow): Promise<{ status: number; due_at: Date } | undefined> {
  const { rows } = await within(tx).query<{ status: number; due_at: Date }>({
    name: 'cancel-lock-event',
    text: 'select status, coalesce(scheduled_for, accepted_at) as due_at from carillon.events where id = $1 and tenant_id = $2 for update',
    values: [id, tenantId],
  });
  return rows[0];
}

/** `cursor` stays: it says how far a large audience had been told. */
async function markCancelled(tx: Tx, { tenantId, id }: TenantRow): Promise<void> {
  await within(tx).query({
    name: 'cancel-event',
    text: `update carillon.events set status = ${E.cancelled}, due_at = null, cancelled_at = carillon.now()
            where id = $1 and tenant_id = $2 and status in (${E.accepted}, ${E.scheduled})`,
    values: [id, tenantId],
  });
}

const OF_SCOPE = 'tenant_id = $1 and event_id = $2 and id >= $4 and id < $5 and ($3::uuid is null or notification_id = $3)';

/** Locked first, in the order of all who lock deliveries; each statement after that sees what the others had committed. */
async function cancelDeliveries(tx: Tx, scope: Scope): Promise<Tally> {
  const [, , tally] = await Promise.all([lockDeliveries(tx, scope), markDeliveries(tx, scope), countDeliveries(tx, scope)]);
  return tally;
}

function valuesOf({ tenantId, eventId, notificationId, low, high }: Scope): unknown[] {
  return [tenantId, eventId, notificationId, low, high];
}

async function lockDeliveries(tx: Tx, scope: Scope): Promise<void> {
  await within(tx).query({
    name: 'cancel-lock-deliveries',
    text: `select count(*) from (select id from carillon.deliveries where ${OF_SCOPE} and status in (${S.pending}, ${S.held}, ${S.sending}) order by id for update) as locked`,
    values: valuesOf(scope),
  });
}

/** pending, held → cancelled. What is being sent can't be called back, but no retry follows it. */
async function markDeliveries(tx: Tx, scope: Scope): Promise<void> {
  await within(tx).query({
    name: 'cancel-deliveries',
    text: `update carillon.deliveries
              set status = case when status = ${S.sending} then status else ${S.cancelled} end,
                  reason = case when status = ${S.sending} then reason else ${REASONS.cancelled.number} end,
                  due_at = case when status = ${S.sending} then due_at end,
                  finished_at = case when status = ${S.sending} then finished_at else carillon.now() end,
                  cancel_requested = true
            where ${OF_SCOPE} and status in (${S.pending}, ${S.held}, ${S.sending})`,
    values: valuesOf(scope),
  });
}

async function countDeliveries(tx: Tx, scope: Scope): Promise<Tally> {
  const { rows } = await within(tx).query<Tally>({
    name: 'cancel-count',
    text: `select count(*) filter (where status = ${S.cancelled}) as cancelled,
                  count(*) filter (where status in (${S.sending}, ${S.delivered})) as too_late,
                  min(coalesce(sent_at, finished_at)) filter (where status in (${S.sending}, ${S.delivered})) as sent_at
             from carillon.deliveries where ${OF_SCOPE}`,
    values: valuesOf(scope),
  });
  const [tally] = rows;
  if (!tally) throw new Error('an aggregate gave no row');
  return tally;
}

/** For a notification that was never in an inbox, or not yet: an inbox item's deletion is counted and numbered. */
export async function hideNotification(tx: Tx, { tenantId, id }: TenantRow): Promise<void> {
  await within(tx).query({
    name: 'cancel-hide',
    text: 'update carillon.notifications set deleted_at = coalesce(deleted_at, carillon.now()) where id = $1 and tenant_id = $2',
    values: [id, tenantId],
  });
}
