/** Large audiences, and many who write to the same inboxes at once. */
import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, test } from 'vitest';
import type { ChannelName } from '../../src/domain/channel.ts';
import { route } from '../../src/router/router.ts';
import { insertDeliveries } from '../../src/store/deliveries.ts';
import { claimEvents, recordProgress } from '../../src/store/events.ts';
import { insertNotifications } from '../../src/store/notifications.ts';
import { audienceChunk, audienceSize, recipientsFor } from '../../src/store/recipients.ts';
import { knownChannels } from '../harness/channels.ts';
import { count, eventState, eventually, uuidOf } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const servers: TestServer[] = [];
let db: TestDatabase | undefined;

async function started(on: TestDatabase, overrides: Parameters<typeof startServer>[0] = {}): Promise<TestServer> {
  const server = await startServer(overrides, { on });
  servers.push(server);
  return server;
}

async function database(): Promise<TestDatabase> {
  db = await freshDatabase();
  return db;
}

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
  await db?.drop();
  db = undefined;
});

const USERS = 2_500;
const told = (on: TestDatabase, eventId: string) => count(on, 'notifications where event_id = $1', [uuidOf(eventId)]);

async function distinctUsers(on: TestDatabase): Promise<number> {
  return (await on.query('select distinct user_id from carillon.notifications')).length;
}

/** One transaction of the router. It dies before its commit when `killed`. */
async function routeOnce(on: TestDatabase, { killed = false } = {}): Promise<void> {
  const routing = on.database.transaction(async (tx) => {
    const events = await claimEvents(tx, 100);
    expect(events).toHaveLength(1);
    const { progress } = await route(
      {
        recipients: (inner, keys) => recipientsFor(inner, keys, { create: true }),
        audience: audienceChunk,
        audienceSize,
        destinations: async () => new Map(),
        texts: () => Promise.resolve([]),
        insertNotifications,
        insertDeliveries: (inner, rows, token) => insertDeliveries(inner, rows, { token, leaseMs: 20_000 }),
        enqueue: () => Promise.resolve([]),
        joinDigests: () => Promise.resolve(),
        nextRun: () => null,
        leaseEndsAtMs: () => performance.now(),
        areSuppressed: async () => [],
        channels: knownChannels(),
        defaults: async () => () => undefined,
        throttleOf: () => undefined,
        admit: async () => [],
        quietUntil: () => null,
        decisionFailed: () => undefined,
        newToken: randomUUID,
        now: () => new Date(),
      },
      tx,
      events,
      { reserve: () => false },
    );
    await recordProgress(tx, progress);
    if (killed) throw new Error('killed');
  });
  if (killed) await expect(routing).rejects.toThrow('killed');
  else await routing;
}

describe('an audience of 2,500', () => {
  async function broadcast(channels: ChannelName[]): Promise<{ on: TestDatabase; front: TestServer; id: string }> {
    const on = await database();
    const front = await started(on, { roles: ['api'] });
    await on.query(
      `insert into carillon.users (tenant_id, id, webhook_url) select 'default', 'user-' || n, 'http://127.0.0.1:1/' || n from generate_series(1, ${USERS}) n`,
    );
    const { body } = await front.api('POST', '/v1/events', { type: 'news', to: [{ all: true }, 'user-7'], channels });
    return { on, front, id: body.id };
  }

  test('killed in the middle of a chunk and between chunks: everybody is told once', async () => {
    const { on, id } = await broadcast(['in_app']);
    await routeOnce(on, { killed: true });
    expect(await told(on, id)).toBe(0);
    await routeOnce(on);
    expect(await told(on, id)).toBe(1_000);
    await routeOnce(on, { killed: true });
    expect(await told(on, id)).toBe(1_000);
    expect(await eventState(on, id)).toBe('accepted');

    await started(on, { roles: ['router'] });
    await eventually(() => eventState(on, id)).toBe('routed');
    expect(await told(on, id)).toBe(USERS);
    expect(await distinctUsers(on)).toBe(USERS);
    expect(await count(on, 'inbox where sequence = 1 and unread = 1 and total = 1')).toBe(USERS);
    expect(await count(on, 'deliveries where event_id = $1', [uuidOf(id)])).toBe(USERS);
  });

  test('two processes route it together with other events: everybody is told once', async () => {
    const { on, front, id } = await broadcast(['in_app']);
    const more = await front.api(
      'POST',
      '/v1/events/batch',
      Array.from({ length: 50 }, (_, n) => ({ type: 'aside', to: [`user-${n + 1}`] })),
    );
    expect(more.status).toBe(202);
    const both = await Promise.all([started(on), started(on)]);
    await eventually(() => count(on, 'events where due_at is not null')).toBe(0);
    expect(await told(on, id)).toBe(USERS);
    expect(await count(on, 'notifications')).toBe(USERS + 50);
    expect(await count(on, 'inbox where sequence = unread and sequence = total')).toBe(USERS);
    expect(both.flatMap(({ logs }) => logs).filter(({ event }) => event.startsWith('router.') && event !== 'router.ran')).toEqual([]);
  });

  test('cancelled after the first chunk: what waits is stopped, and nobody else is told', async () => {
    const { on, front, id } = await broadcast(['webhook']);
    await routeOnce(on);
    const cancelled = await front.api('POST', `/v1/events/${id}/cancel`);
    expect(cancelled).toMatchObject({ status: 200, body: { outcome: 'cancelled', cancelled: 1_000, too_late: 0 } });

    const back = await started(on);
    const { body: other } = await back.api('POST', '/v1/events', { type: 'other', to: [{ role: 'nobody' }, 'user-1'] });
    await eventually(() => eventState(on, other.id)).toBe('routed');
    expect(await eventState(on, id)).toBe('cancelled');
    expect(await told(on, id)).toBe(1_000);
    expect(await count(on, 'deliveries where event_id = $1 and attempt_count > 0', [uuidOf(id)])).toBe(0);
  });
});

test('twenty batches at once to the same inboxes, in two processes: numbers without gaps, right counts, no deadlock', async () => {
  const on = await database();
  // Each row is held for long enough that any other order would meet itself.
  await on.query(`
    create function carillon.test_linger() returns trigger language plpgsql as $$ begin perform pg_sleep(0.003); return new; end $$;
    create trigger test_linger before update on carillon.inbox for each row execute function carillon.test_linger()`);
  const both = await Promise.all([started(on), started(on)]);
  const users = Array.from({ length: 10 }, (_, n) => `user-${n}`);
  const expected = new Map(users.map((user) => [user, 0]));
  /** A different order each time, always the same. */
  const pick = (batch: number, n: number) => [3, 7, 1].map((step) => users[(batch * 7 + n * step) % users.length]!);
  const batches = Array.from({ length: 20 }, (_, batch) =>
    Array.from({ length: 50 }, (_unused, n) => {
      const to = [...new Set(pick(batch, n))];
      for (const user of to) expected.set(user, expected.get(user)! + 1);
      return { type: 'many', to };
    }),
  );
  const replies = await Promise.all(batches.map((items, n) => both[n % 2]!.api('POST', '/v1/events/batch', items)));
  expect(replies.map(({ status }) => status)).toEqual(Array<number>(20).fill(202));
  await eventually(() => count(on, 'events where due_at is not null')).toBe(0);

  for (const [user, n] of expected) {
    const rows = await on.query<{ sequence: string }>('select sequence from carillon.notifications where user_id = $1 order by sequence', [
      user,
    ]);
    expect(rows.map(({ sequence }) => Number(sequence))).toEqual(Array.from({ length: n }, (_, index) => index + 1));
    expect(await on.query('select sequence::int, unread, total from carillon.inbox where user_id = $1', [user])).toEqual([
      { sequence: n, unread: n, total: n },
    ]);
  }
  const failures = both
    .flatMap(({ logs }) => logs)
    .filter(({ event }) => /routing-failed|batch-failed|event-failed|router\.failed/.test(event));
  expect(failures).toEqual([]);
});
