/** What tests of the core path look at in the database, and its words for what is stored as a number. */
import { deliveryState, ENTRY_KINDS, nameOf, type DeliveryState } from '../../src/domain/delivery.ts';
import { EVENT_STATES } from '../../src/domain/event.ts';
import { reasonOf } from '../../src/domain/reason.ts';
import { parseId } from '../../src/lib/id.ts';
import { expect } from 'vitest';
import type { TestDatabase } from './database.ts';

/** Waits for a condition, for long enough on a machine that has other things to do. */
export function eventually<T>(look: () => T | Promise<T>) {
  return expect.poll(look, { timeout: 20_000, interval: 20 });
}

export interface DeliveryRow {
  readonly id: string;
  /** Null for a destination. */
  readonly user: string | null;
  readonly channel: string;
  readonly address: string | null;
  readonly state: DeliveryState;
  readonly reason: string;
  readonly attempts: number;
  readonly dueAt: Date | null;
}

interface StoredDelivery {
  id: string;
  user_id: string | null;
  channel: string;
  address: string | null;
  status: number;
  reason: number;
  attempt_count: number;
  due_at: Date | null;
}

/** By user, channel and address. `eventId` as on the wire. */
export async function deliveriesOf(db: TestDatabase, eventId: string): Promise<DeliveryRow[]> {
  const rows = await db.query<StoredDelivery>(
    'select id, user_id, channel, address, status, reason, attempt_count, due_at from carillon.deliveries where event_id = $1 order by user_id, channel, address',
    [uuidOf(eventId)],
  );
  return rows.map((row) => ({
    id: row.id,
    user: row.user_id,
    channel: row.channel,
    address: row.address,
    state: deliveryState(row.status),
    reason: reasonOf(row.reason),
    attempts: row.attempt_count,
    dueAt: row.due_at,
  }));
}

/** The only one of this event, or the only one on that channel. */
export async function deliveryOf(db: TestDatabase, eventId: string, channel?: string): Promise<DeliveryRow> {
  const rows = (await deliveriesOf(db, eventId)).filter((row) => channel === undefined || row.channel === channel);
  if (rows.length !== 1) throw new Error(`${rows.length} deliveries instead of one`);
  return rows[0]!;
}

export interface Entry {
  readonly number: number;
  readonly kind: string;
  readonly reason: string;
  readonly status: number | null;
  readonly next_attempt_at: Date | null;
}

export async function entriesOf(db: TestDatabase, deliveryId: string): Promise<Entry[]> {
  const rows = await db.query<{ number: number; kind: number; reason: number; status: number | null; next_attempt_at: Date | null }>(
    'select number, kind, reason, status, next_attempt_at from carillon.attempts where delivery_id = $1 order by number',
    [deliveryId],
  );
  return rows.map((row) => ({ ...row, kind: nameOf(ENTRY_KINDS, row.kind), reason: reasonOf(row.reason) }));
}

export async function eventState(db: TestDatabase, eventId: string): Promise<string> {
  const [row] = await db.query<{ status: number }>('select status from carillon.events where id = $1', [uuidOf(eventId)]);
  return row ? nameOf(EVENT_STATES, row.status) : 'absent';
}

export async function count(db: TestDatabase, from: string, values: unknown[] = []): Promise<number> {
  const [row] = await db.query<{ n: string }>(`select count(*) as n from carillon.${from}`, values);
  return Number(row?.n);
}

/** The database's time. */
export async function nowOf(db: TestDatabase): Promise<Date> {
  const [row] = await db.query<{ now: Date }>('select carillon.now() as now');
  if (!row) throw new Error('the database gave no time');
  return row.now;
}

export function uuidOf(eventId: string): string {
  const uuid = parseId('evt', eventId);
  if (uuid === undefined) throw new Error(`${eventId} is no event's id`);
  return uuid;
}
