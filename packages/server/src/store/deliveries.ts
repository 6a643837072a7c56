/** The state machine of deliveries in SQL: one function, one statement, one transition. */
import { DELIVERY_STATES as S, ENTRY_KINDS, type Completion, type NewDelivery } from '../domain/delivery.ts';
import type { Tx } from '../domain/event.ts';
import { REASONS } from '../domain/reason.ts';
import { bareArray, bareColumn, bounds, textArray, textColumn } from './arrays.ts';
import { within, type Queryable } from './database.ts';
import { markDelayed } from './delays.ts';

/** New rows, skips included. Those in `sending` are leased to whoever knows `token`. */
export async function insertDeliveries(
  tx: Tx,
  rows: readonly NewDelivery[],
  { token, leaseMs }: { token: string; leaseMs: number },
): Promise<void> {
  if (rows.length === 0) return;
  const waiting = rows.filter(({ state, reason }) => (state === 'held' && reason !== 'digest_waiting') || reason === 'delayed'); // of a digest: store/digest-joining.ts
  const delayed = waiting.filter((row) => row.reason === 'delayed');
  await Promise.all([
    insertRows(tx, rows, { token, leaseMs }),
    waiting.length > 0 ? insertHolds(tx, waiting) : null,
    delayed.length > 0 ? markDelayed(tx, delayed) : null,
  ]);
}

async function insertRows(tx: Tx, rows: readonly NewDelivery[], { token, leaseMs }: { token: string; leaseMs: number }): Promise<void> {
  await within(tx).query({
    name: 'deliveries-insert',
    text: `insert into carillon.deliveries (id, tenant_id, event_id, notification_id, user_id, channel, address, lane, status, reason, critical, expires_at, created_at, max_attempts, destination_id, due_at, sent_at, finished_at, attempt_count, entry_count, lease_token)
           select id, tenant_id, event_id, notification_id, user_id, channel, address, lane, status, reason, critical, expires_at, created_at, max_attempts, destination_id,
                  case status when ${S.sending} then carillon.now() + make_interval(secs => $17::float8 / 1000) when ${S.pending} then coalesce(held_until, carillon.now()) else held_until end,
                  case status when ${S.sending} then carillon.now() end,
                  case when status in (${S.delivered}, ${S.skipped}) then carillon.now() end,
                  case status when ${S.sending} then 1 else 0 end,
                  case when status = ${S.held} or held_until is not null then 1 else 0 end,
                  case status when ${S.sending} then $16::uuid end
             from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::smallint[], $10::smallint[], $11::boolean[], $12::timestamptz[], $13::timestamptz[], $14::smallint[], $15::uuid[], $18::timestamptz[])
               as g (id, tenant_id, event_id, notification_id, user_id, channel, address, lane, status, reason, critical, expires_at, created_at, max_attempts, destination_id, held_until)`,
    values: [
      bareColumn(rows, (row) => row.id),
      textColumn(rows, (row) => row.tenantId),
      bareColumn(rows, (row) => row.eventId),
      bareColumn(rows, (row) => row.notificationId),
      textColumn(rows, (row) => row.userId),
      textColumn(rows, (row) => row.channel),
      textColumn(rows, (row) => row.address),
      textColumn(rows, (row) => row.lane),
      bareColumn(rows, (row) => S[row.state]),
      bareColumn(rows, (row) => REASONS[row.reason].number),
      bareColumn(rows, (row) => row.critical),
      bareColumn(rows, (row) => row.expiresAt?.toISOString() ?? null),
      bareColumn(rows, (row) => row.createdAt.toISOString()),
      bareColumn(rows, (row) => row.maxAttempts),
      bareColumn(rows, (row) => row.destinationId),
      token,
      leaseMs,
      bareColumn(rows, (row) => row.dueAt?.toISOString() ?? null),
    ],
  });
}

/** The first entry of a delivery that begins held, or with a delay. */
async function insertHolds(tx: Tx, rows: readonly NewDelivery[]): Promise<void> {
  await within(tx).query({
    name: 'deliveries-insert-holds',
    text: `insert into carillon.attempts (delivery_id, number, tenant_id, kind, at, reason, next_attempt_at)
           select id, 1, tenant_id, ${ENTRY_KINDS.held}, carillon.now(), reason, held_until
             from unnest($1::uuid[], $2::text[], $3::smallint[], $4::timestamptz[]) as g (id, tenant_id, reason, held_until)`,
    values: [
      bareArray(rows.map((row) => row.id)),
      textArray(rows.map((row) => row.tenantId)),
      bareArray(rows.map((row) => REASONS[row.reason].number)),
      bareArray(rows.map((row) => row.dueAt?.toISOString() ?? null)),
    ],
  });
}

export interface DueRow {
  readonly id: string;
  readonly status: number;
  readonly due_at: Date;
}

/**
 * Locks what is due, oldest first: pending, held, and sending whose lease has ended. Workers never wait for one another.
 * `from` spares the walk over dead index entries at the head; `null` looks at everything.
 */
export async function lockDue(
  tx: Tx,
  { limit, from, without }: { limit: number; from: Date | null; without: readonly string[] },
): Promise<DueRow[]> {
  const [, { rows }] = await Promise.all([
    // A generic plan made on an empty table would scan; due order comes from the index alone.
    within(tx).query({
      name: 'deliveries-claim-settings',
      text: "select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)",
      values: [],
    }),
    within(tx).query<DueRow>({
      name: 'deliveries-lock-due',
      text: `select id, status, due_at from carillon.deliveries
            where due_at <= carillon.now() and due_at >= coalesce($2::timestamptz, '-infinity') and (lane is null or lane <> all($3::text[]))
            order by due_at
            limit $1
              for update skip locked`,
      values: [limit, from, without],
    }),
  ]);
  return rows;
}

export interface LeasedRow {
  readonly id: string;
  readonly tenant_id: string;
  readonly event_id: string;
  readonly notification_id: string | null;
  readonly user_id: string | null;
  readonly destination_id: string | null;
  readonly channel: string;
  readonly address: string;
  readonly lane: string;
  readonly critical: boolean;
  readonly created_at: Date;
  readonly expires_at: Date | null;
  readonly attempt_count: number;
  readonly max_attempts: number | null;
  readonly cancel_requested: boolean;
  readonly queue: number | null;
  readonly last_provider: string | null;
  readonly last_outcome: number | null;
  readonly delayed_until: Date | null;
}

/** Locked rows → sending. A lease that had ended leaves its entry in the timeline: that attempt may have gone out. So does a hold that ends. */
export async function leaseRows(
  tx: Tx,
  rows: readonly DueRow[],
  { token, leaseMs }: { token: string; leaseMs: number },
): Promise<LeasedRow[]> {
  const ids = rows.map((row) => row.id);
  const lost = rows.filter((row) => row.status === S.sending).map((row) => row.id);
  const released = rows.filter((row) => row.status === S.held).map((row) => row.id);
  const { rows: leased } = await within(tx).query<LeasedRow>({
    name: 'deliveries-lease',
    text: `with leased as (
             update carillon.deliveries d
                set status = ${S.sending}, reason = ${REASONS.sending.number}, lease_token = $4, due_at = carillon.now() + make_interval(secs => $5::float8 / 1000),
                    attempt_count = d.attempt_count + 1, sent_at = coalesce(d.sent_at, carillon.now()),
                    entry_count = d.entry_count + case when d.id = any($6) or d.id = any($7) then 1 else 0 end
              where d.id = any($1) and d.id between $2 and $3
          returning d.id, d.tenant_id, event_id, notification_id, user_id, destination_id, channel, address, lane, critical, created_at, expires_at, attempt_count, max_attempts, cancel_requested, entry_count, queue, last_provider, last_outcome, delayed_until
           ), entered as (
             insert into carillon.attempts (delivery_id, number, tenant_id, kind, at, reason)
             select id, entry_count, tenant_id, case when id = any($7) then ${ENTRY_KINDS.released} else ${ENTRY_KINDS.lease_lost} end, carillon.now(), case when id = any($7) then ${REASONS.sending.number} else ${REASONS.internal.number} end
               from leased where id = any($6) or id = any($7)
           )
           select * from leased`,
    values: [ids, ...bounds(ids), token, leaseMs, lost, released],
  });
  return leased;
}

/** sending → skipped, for rows whose recipient or content was erased meanwhile. */
export async function skipErased(tx: Tx, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await within(tx).query({
    name: 'deliveries-skip-erased',
    text: `update carillon.deliveries set status = ${S.skipped}, reason = ${REASONS.user_unknown.number}, due_at = null, lease_token = null, finished_at = carillon.now()
            where id = any($1) and id between $2 and $3 and status = ${S.sending}`,
    values: [ids, ...bounds(ids)],
  });
}

export interface Leased {
  readonly id: string;
  readonly token: string;
}

/** Longer leases for what this process still holds; returns the ids that are still ours. */
export async function renewLeases(db: Queryable, leases: readonly Leased[], leaseMs: number): Promise<string[]> {
  const ids = leases.map((lease) => lease.id);
  const { rows } = await db.query<{ id: string }>({
    name: 'deliveries-renew',
    text: `with mine as materialized (
             select d.id, d.tenant_id from carillon.deliveries d
              where d.id = any($1) and d.id between $2 and $3 and d.status = ${S.sending} and d.lease_token = any($4) order by d.id for update
           )
           update carillon.deliveries d set due_at = carillon.now() + make_interval(secs => $5::float8 / 1000)
             from mine where d.id = any($1) and d.id between $2 and $3 and d.id = mine.id
        returning d.id`,
    values: [ids, ...bounds(ids), [...new Set(leases.map((lease) => lease.token))], leaseMs],
  });
  return rows.map((row) => row.id);
}

/**
 * sending → what the attempt came to, with its entry in the timeline. Guarded by token and attempt: returns the ids that
 * changed, the others had lost their lease. What would go on ends here when a cancel was asked for meanwhile.
 */
export async function completeDeliveries(db: Queryable, rows: readonly Completion[]): Promise<string[]> {
  const ids = rows.map((row) => row.id);
  const { rows: done } = await db.query<{ delivery_id: string }>({
    name: 'deliveries-complete',
    text: `with given as materialized (
             select * from unnest($1::uuid[], $4::uuid[], $5::smallint[], $6::smallint[], $7::smallint[], $8::smallint[], $9::timestamptz[], $10::timestamptz[], $11::integer[], $12::text[], $13::smallint[], $14::smallint[], $15::integer[], $16::text[], $17::text[])
               as g (id, token, attempt, kind, status, reason, due_at, at, duration_ms, provider, outcome, attempt_reason, answer, detail, response)
           ), done as (
             update carillon.deliveries d
                set status = case when g.status in (${S.pending}, ${S.held}) and d.cancel_requested then ${S.cancelled} else g.status end,
                    reason = case when g.status in (${S.pending}, ${S.held}) and d.cancel_requested then ${REASONS.cancelled.number} else g.reason end,
                    due_at = case when g.status in (${S.pending}, ${S.held}) and not d.cancel_requested then g.due_at end,
                    finished_at = case when g.status not in (${S.pending}, ${S.held}) or d.cancel_requested then carillon.now() end,
                    attempt_count = d.attempt_count - case when g.kind in (${ENTRY_KINDS.gate}, ${ENTRY_KINDS.held}) then 1 else 0 end,
                    sent_at = case when g.kind = ${ENTRY_KINDS.attempt} or d.attempt_count > 1 then d.sent_at end,
                    entry_count = d.entry_count + 1, lease_token = null,
                    last_error = case when g.kind = ${ENTRY_KINDS.held} then d.last_error else left(g.detail, 1000) end,
                    last_provider = case when g.kind = ${ENTRY_KINDS.held} then d.last_provider when g.status = ${S.pending} then g.provider end,
                    last_outcome = case when g.kind = ${ENTRY_KINDS.held} then d.last_outcome when g.status = ${S.pending} then g.outcome end
               from given g
              where d.id = any($1) and d.id between $2 and $3 and d.id = g.id and d.status = ${S.sending} and d.lease_token = g.token and d.attempt_count = g.attempt
          returning d.id, d.tenant_id, d.entry_count, d.due_at as next_at, g.kind, g.at, g.duration_ms, g.provider, g.outcome, g.attempt_reason, g.answer, g.detail, g.response
           )
           insert into carillon.attempts (delivery_id, number, tenant_id, kind, at, duration_ms, provider, outcome, reason, status, detail, response, next_attempt_at)
           select id, entry_count, tenant_id, kind, at, duration_ms, provider, outcome, attempt_reason, answer, detail, response, next_at from done
        returning delivery_id`,
    values: [
      bareArray(ids),
      ...bounds(ids),
      bareColumn(rows, (row) => row.token),
      bareColumn(rows, (row) => row.attempt),
      bareColumn(rows, (row) => ENTRY_KINDS[row.kind]),
      bareColumn(rows, (row) => S[row.state]),
      bareColumn(rows, (row) => REASONS[row.reason].number),
      bareColumn(rows, (row) => row.dueAt?.toISOString() ?? null),
      bareColumn(rows, (row) => row.at.toISOString()),
      bareColumn(rows, (row) => row.durationMs),
      textColumn(rows, (row) => row.provider),
      bareColumn(rows, (row) => row.outcome),
      bareColumn(rows, (row) => REASONS[row.attemptReason].number),
      bareColumn(rows, (row) => row.status),
      textColumn(rows, (row) => row.detail),
      textColumn(rows, (row) => row.response),
    ],
  });
  return done.map((row) => row.delivery_id);
}

/** sending → pending, due at once and uncounted: the process stops, or the lease is too short for an attempt. Cancelled, when that was asked for meanwhile. */
export async function releaseDeliveries(db: Queryable, leases: readonly (Leased & { attempt: number })[]): Promise<void> {
  const ids = leases.map((lease) => lease.id);
  await db.query({
    name: 'deliveries-release',
    text: `update carillon.deliveries d
              set status = case when d.cancel_requested then ${S.cancelled} else ${S.pending} end,
                  reason = case when d.cancel_requested then ${REASONS.cancelled.number} else ${REASONS.queued.number} end,
                  due_at = case when not d.cancel_requested then carillon.now() end,
                  finished_at = case when d.cancel_requested then carillon.now() end,
                  attempt_count = d.attempt_count - 1, lease_token = null,
                  sent_at = case when d.attempt_count > 1 then d.sent_at end
             from unnest($1::uuid[], $4::uuid[], $5::smallint[]) as g (id, token, attempt)
            where d.id = any($1) and d.id between $2 and $3 and d.id = g.id and d.status = ${S.sending} and d.lease_token = g.token and d.attempt_count = g.attempt`,
    values: [ids, ...bounds(ids), leases.map((lease) => lease.token), leases.map((lease) => lease.attempt)],
  });
}

/** Ends every lease at once: for whoever has just taken exclusive hold of an embedded directory. */
export async function returnAllLeases(db: Queryable): Promise<number> {
  const { rowCount } = await db.query({
    name: 'deliveries-return-all',
    // No lease lasts for an hour: with an end to the range the index is taken, without one a partition is read through.
    text: `update carillon.deliveries set due_at = carillon.now() where status = ${S.sending} and due_at > carillon.now() and due_at < carillon.now() + interval '1 hour'`,
    values: [],
  });
  return rowCount;
}

/** Milliseconds from the database's now until the next delivery is due, or null. What is due already but passed over does not count. */
export async function nextDeliveryDueMs(db: Queryable): Promise<number | null> {
  const { rows } = await db.query<{ ms: number }>({
    name: 'deliveries-next-due',
    text: 'select (extract(epoch from due_at - carillon.now()) * 1000)::float8 as ms from carillon.deliveries where due_at > carillon.now() order by due_at limit 1',
    values: [],
  });
  return rows[0]?.ms ?? null;
}

/** Age in milliseconds of the oldest delivery that is due and not being sent, 0 when there is none. */
export async function oldestDueMs(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ ms: number }>({
    name: 'deliveries-oldest-due',
    text: `select (extract(epoch from carillon.now() - due_at) * 1000)::float8 as ms from carillon.deliveries where due_at <= carillon.now() order by due_at limit 1`,
    values: [],
  });
  return rows[0]?.ms ?? 0;
}

/** The address that was refused for good is not used again, until a new one is set. Only when it is the user's own: in the profile or in the preference. */
export async function suppressAddress(
  db: Queryable,
  { tenantId, userId, channel, address }: { tenantId: string; userId: string; channel: string; address: string },
  { field, profile }: { field: string; profile: string | null },
): Promise<void> {
  await db.query({
    name: 'users-suppress',
    text: `update carillon.users set suppressed = suppressed || jsonb_build_object($3::text, $4::text), updated_at = carillon.now()
            where tenant_id = $1 and id = $2
              and ($4 = case $5 when 'email' then email when 'phone' then phone when 'webhook_url' then webhook_url end
                   or jsonb_path_exists(preferences, '$.**.keyvalue() ? (@.key == $field && @.value == $address)', jsonb_build_object('field', $6::text, 'address', $4::text), true))`,
    values: [tenantId, userId, channel, address, profile, field],
  });
}
