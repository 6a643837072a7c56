/** The store's statements obey the state machine: each is run on a row in each state, and what it did is looked up. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freshDatabase, type TestDatabase } from '../../test/harness/database.ts';
import { newId } from '../lib/id.ts';
import { cancelEvent } from './cancel.ts';
import * as store from './deliveries.ts';
import { retryDelivery } from './retry.ts';
import { DELIVERY_STATES, deliveryState, LEGAL_MOVES, type Completion, type DeliveryState } from '../domain/delivery.ts';
import { REASONS } from '../domain/reason.ts';

const STATES = Object.keys(DELIVERY_STATES) as DeliveryState[];
const TOKEN = randomUUID();
const LEASE = { token: TOKEN, leaseMs: 20_000 };

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
});
afterAll(() => db.drop());

interface Row {
  readonly id: string;
  readonly eventId: string;
}

/** A row in that state, due since a while; in `sending` its lease has ended. */
async function rowIn(state: DeliveryState, { cancelRequested = false } = {}): Promise<Row> {
  const at = new Date();
  const [id, eventId] = [newId(at), newId(at)];
  await db.query(
    `insert into carillon.events (id, tenant_id, type, status, severity, tags, accepted_at, request) values ($1, 'acme', 'disk.full', 3, 2, '{}', $2, '{}')`,
    [eventId, at],
  );
  await db.query(
    `insert into carillon.deliveries (id, tenant_id, event_id, notification_id, user_id, channel, address, lane, status, reason, due_at, created_at, attempt_count, lease_token, cancel_requested)
     values ($1, 'acme', $2, $3, 'ada', 'webhook', 'https://example.org/', 'lane', $4, ${REASONS.queued.number},
             case when $5 in ('pending', 'held', 'sending') then carillon.now() - interval '1 s' end, $6, 1, case when $5 = 'sending' then $7::uuid end, $8)`,
    [id, eventId, newId(at), DELIVERY_STATES[state], state, at, TOKEN, cancelRequested],
  );
  return { id, eventId };
}

async function stateOf(id: string): Promise<DeliveryState> {
  const [row] = await db.query<{ status: number }>('select status from carillon.deliveries where id = $1', [id]);
  return deliveryState(row!.status);
}

const complete =
  (state: Completion['state'], kind: Completion['kind'] = 'attempt', detail: string | null = null) =>
  async ({ id }: Row): Promise<void> => {
    const rest = {
      provider: null,
      outcome: null,
      attemptReason: 'sent',
      status: null,
      response: null,
      durationMs: 1,
      detail,
    } as const;
    const dueAt = state === 'pending' ? new Date() : null;
    await store.completeDeliveries(db.database.engine, [
      { ...LEASE, ...rest, id, tenantId: 'acme', destinationId: null, attempt: 1, kind, state, reason: 'sent', dueAt, at: new Date() },
    ]);
  };

/** All that changes a delivery, by the state that it leaves each of the eight in. */
const STATEMENTS: Record<string, (row: Row) => Promise<unknown>> = {
  lease: ({ id }) =>
    db.database.transaction(async (tx) => {
      const due = (await store.lockDue(tx, { limit: 200, from: null, without: [] })).filter((row) => row.id === id);
      if (due.length > 0) await store.leaseRows(tx, due, { ...LEASE, token: randomUUID() });
    }),
  renew: ({ id }) => store.renewLeases(db.database.engine, [{ id, token: TOKEN }], 20_000),
  release: ({ id }) => store.releaseDeliveries(db.database.engine, [{ id, token: TOKEN, attempt: 1 }]),
  'return all leases': () => store.returnAllLeases(db.database.engine),
  'skip erased': ({ id }) => db.database.transaction((tx) => store.skipErased(tx, [id])),
  cancel: ({ eventId }) => db.database.asTenant('acme', (tx) => cancelEvent(tx, { tenantId: 'acme', id: eventId })),
  retry: ({ id }) => db.database.asTenant('acme', (tx) => retryDelivery(tx, { tenantId: 'acme', id }, { in_app: 1, email: 1, webhook: 1 })),
  'complete: delivered': complete('delivered'),
  'complete: retry': complete('pending'),
  'complete: failed': complete('failed'),
  'complete: expired': complete('expired', 'gate'),
  'complete: skipped': complete('skipped', 'gate'),
  'complete: cancelled': complete('cancelled', 'gate'),
};

/** What each is for; all other states it leaves alone. */
const MOVES: Record<string, Partial<Record<DeliveryState, DeliveryState>>> = {
  lease: { pending: 'sending', held: 'sending' },
  renew: {},
  release: { sending: 'pending' },
  'return all leases': {},
  'skip erased': { sending: 'skipped' },
  cancel: { pending: 'cancelled', held: 'cancelled' },
  retry: { failed: 'pending' },
  'complete: delivered': { sending: 'delivered' },
  'complete: retry': { sending: 'pending' },
  'complete: failed': { sending: 'failed' },
  'complete: expired': { sending: 'expired' },
  'complete: skipped': { sending: 'skipped' },
  'complete: cancelled': { sending: 'cancelled' },
};

describe('each statement', () => {
  test.each(Object.keys(STATEMENTS))('%s: moves what it is for, and nothing else', async (name) => {
    for (const from of STATES) {
      const row = await rowIn(from);
      await STATEMENTS[name]!(row);
      const to = await stateOf(row.id);
      expect(`${from} > ${to}`).toBe(`${from} > ${MOVES[name]![from] ?? from}`);
      if (to !== from) expect(LEGAL_MOVES[from]).toContain(to);
    }
  });

  test.each(['release', 'complete: retry'])('%s of what was to be cancelled cancels it', async (name) => {
    const row = await rowIn('sending', { cancelRequested: true });
    await STATEMENTS[name]!(row);
    expect(await stateOf(row.id)).toBe('cancelled');
    expect(LEGAL_MOVES.sending).toContain('cancelled');
    expect(await db.query('select due_at, lease_token, reason from carillon.deliveries where id = $1', [row.id])).toEqual([
      { due_at: null, lease_token: null, reason: REASONS.cancelled.number },
    ]);
  });

  test.each(['complete: delivered', 'complete: failed'])('%s counts more than a cancel that came too late', async (name) => {
    const row = await rowIn('sending', { cancelRequested: true });
    await STATEMENTS[name]!(row);
    expect(await stateOf(row.id)).toBe(MOVES[name]!.sending);
  });

  test.each(['renew', 'release', 'complete: delivered', 'complete: retry'])('%s does nothing without the lease', async (name) => {
    const row = await rowIn('sending');
    const other = randomUUID();
    await db.query('update carillon.deliveries set lease_token = $2 where id = $1', [row.id, other]);
    const before = await db.query('select * from carillon.deliveries where id = $1', [row.id]);
    await STATEMENTS[name]!(row);
    expect(await db.query('select * from carillon.deliveries where id = $1', [row.id])).toEqual(before);
    expect(await db.query('select 1 from carillon.attempts where delivery_id = $1', [row.id])).toEqual([]);
  });

  test.each(['release', 'complete: delivered'])('%s does nothing for an earlier attempt', async (name) => {
    const row = await rowIn('sending');
    await db.query('update carillon.deliveries set attempt_count = 2 where id = $1', [row.id]);
    await STATEMENTS[name]!(row);
    expect(await stateOf(row.id)).toBe('sending');
  });
});

test('B5 the last error is cut at 1,000 characters, and cleared by success', async () => {
  const row = await rowIn('sending');
  const errorOf = async () =>
    (await db.query<{ error: string | null }>('select last_error as error from carillon.deliveries where id = $1', [row.id]))[0]!.error;
  await complete('pending', 'attempt', 'ä'.repeat(3_000))(row);
  expect(await errorOf()).toBe('ä'.repeat(1_000));
  await db.query(`update carillon.deliveries set status = ${DELIVERY_STATES.sending}, lease_token = $2 where id = $1`, [row.id, TOKEN]);
  await complete('delivered')(row);
  expect(await errorOf()).toBeNull();
});
