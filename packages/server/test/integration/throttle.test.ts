/** At most so many notifications for one user in any window, whoever routes them (A4). */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Throttle } from '../../src/domain/throttle.ts';
import { connect, within, type Database } from '../../src/store/database.ts';
import { admitThrottled, sweepThrottles } from '../../src/store/throttles.ts';
import { deliveriesOf, eventually } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const HOUR = 3_600_000;

describe('four racing routers', () => {
  let db: TestDatabase;
  let routers: Database[];
  beforeAll(async () => {
    db = await freshDatabase();
    await db.query("insert into carillon.tenants (id) values ('acme')");
    routers = Array.from({ length: 4 }, () =>
      connect({ connection: db.connection, engineConnections: 1, apiConnections: 1, log: () => undefined }),
    );
  });
  afterAll(async () => {
    await Promise.all(routers.map((router) => router.close()));
    await db.drop();
  });

  interface Grant {
    readonly user: string;
    readonly at: number;
    readonly count: number;
  }

  /** One transaction, which begins before the others have the lock. */
  async function ask(router: Database, throttle: Throttle, wanted: readonly number[]): Promise<Grant[]> {
    return router.transaction(async (tx) => {
      const { rows } = await within(tx).query<{ at: Date }>({ name: 'began', text: 'select carillon.now() as at', values: [] });
      // Each router names the users in an order of its own: the statement sorts them, or two of them would wait for each other for good.
      const users = wanted.map((_, user) => user).toSorted(() => (wanted[0] === 1 ? -1 : 1));
      const asked = users.map((user) => ({
        tenantId: 'acme',
        userId: `${run}-${user}`,
        limit: { ...throttle, bucket: 'severity high' },
        wanted: wanted[user]!,
      }));
      const granted = await admitThrottled(tx, asked);
      return asked.map(({ userId }, index) => ({ user: userId, at: rows[0]!.at.getTime(), count: granted[index]! }));
    });
  }
  let run = 0;

  function most(grants: readonly Grant[], windowMs: number): number {
    const totals = grants.map(({ user, at }) =>
      grants.filter((one) => one.user === user && one.at > at - windowMs && one.at <= at).reduce((sum, { count }) => sum + count, 0),
    );
    return Math.max(0, ...totals);
  }

  test('never admit more in any window, and no fewer than it holds', async () => {
    const wanted = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 2, maxLength: 2 });
    const rounds = fc.array(
      fc.record({ stepMs: fc.integer({ min: 0, max: 1_500 }), wanted: fc.array(wanted, { minLength: 4, maxLength: 4 }) }),
      { minLength: 2, maxLength: 6 },
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 5 }), rounds, async (max, all) => {
        run++;
        const throttle: Throttle = { max_per_window: max, window_seconds: 2, per: 'severity' };
        const grants: Grant[] = [];
        for (const [index, round] of all.entries()) {
          await db.moveClock(round.stepMs);
          const answers = await Promise.all(routers.map((router, at) => ask(router, throttle, round.wanted[at]!)));
          grants.push(...answers.flat());
          if (index === 0) expect(most(grants, 2_000)).toBe(max); // four or more were wanted of each
        }
        expect(most(grants, 2_000)).toBeLessThanOrEqual(max);
      }),
      { numRuns: 25 },
    );
  }, 60_000);
});

describe('in the pipeline', () => {
  let db: TestDatabase;
  let server: TestServer;
  let other: TestServer;
  beforeAll(async () => {
    db = await freshDatabase();
    const settings = { 'throttle.max_per_window': 5 };
    server = await startServer(settings, { on: db });
    other = await startServer(settings, { on: db });
  });
  afterAll(async () => {
    await Promise.all([server.stop(), other.stop()]);
    await db.drop();
  });

  /** Reasons, sorted. */
  async function told(user: string, items: readonly Record<string, unknown>[], by = [server]): Promise<string[]> {
    const ids = await Promise.all(
      items.map(async (item, index) => {
        const { status, body } = await by[index % by.length]!.api('POST', '/v1/events', { type: 'run.failed', to: [user], ...item });
        expect(status).toBe(202);
        return body.id as string;
      }),
    );
    const rows = async () => (await Promise.all(ids.map((id) => deliveriesOf(db, id)))).flat();
    await eventually(async () => (await rows()).length).toBe(items.length);
    return (await rows()).map(({ channel, reason }) => `${channel} ${reason}`).toSorted();
  }
  const times = (count: number, item: Record<string, unknown> = {}) => Array.from({ length: count }, () => item);
  const sent = (count: number) => Array.from({ length: count }, () => 'in_app sent');
  const throttled = (count: number) => Array.from({ length: count }, () => '* throttled');
  const countsOf = async (user: string) => (await server.api('GET', `/v1/users/${user}/throttle`)).body.data;

  test('two processes together tell five of forty, and record why not the others', async () => {
    expect(await told('flooded', times(40), [server, other])).toEqual([...throttled(35), ...sent(5)]);
    expect(await countsOf('flooded')).toEqual([{ bucket: 'severity medium', count: 5, max_per_window: 5, window_seconds: 3_600 }]);
    const { body } = await server.api('GET', '/v1/deliveries?reason=throttled&limit=1');
    expect(body.data[0]).toMatchObject({ status: 'skipped', sentence: expect.stringContaining('throttle'), hint: expect.any(String) });
  });

  test('severities and users are counted apart; what is refused or reaches nobody does not count', async () => {
    await server.api('PUT', '/v1/users/apart/preferences', { event_types: { unwanted: { in_app: { enabled: false } } } });
    await told('apart', times(3, { type: 'unwanted' }));
    expect(await told('apart', times(4))).toEqual(sent(4));
    expect(await told('apart', times(3))).toEqual([...throttled(2), ...sent(1)]);
    expect(await told('apart', times(5, { severity: 'low' }))).toEqual(sent(5));
    expect(await told('neighbour', times(5))).toEqual(sent(5));
  });

  test('system notifications that are high or urgent pass and do not count, unless the request says otherwise', async () => {
    const system = { severity: 'high', tags: ['system'] };
    expect(await told('watched', times(7, system))).toEqual(sent(7));
    expect(await told('watched', times(6, { ...system, throttle_exempt: false }))).toEqual([...throttled(1), ...sent(5)]);
    expect(await told('watched', times(1, { severity: 'high', throttle_exempt: true }))).toEqual(sent(1));
  });

  test('the window slides', async () => {
    expect(await told('sliding', times(3))).toEqual(sent(3));
    await db.moveClock(HOUR / 2);
    await server.running.catchUp();
    expect(await told('sliding', times(3))).toEqual([...throttled(1), ...sent(2)]);
    await db.moveClock(HOUR / 2 + 1_000);
    await server.running.catchUp();
    expect(await told('sliding', times(4))).toEqual([...throttled(1), ...sent(3)]);
  });

  test('an operator lets it begin anew', async () => {
    await told('pardoned', times(6));
    expect((await server.api('POST', '/v1/users/pardoned/clear-throttle')).body).toEqual({ cleared: 1 });
    expect(await countsOf('pardoned')).toEqual([]);
    expect(await told('pardoned', times(6))).toEqual([...throttled(1), ...sent(5)]);
    expect((await server.api('POST', '/v1/users/nobody/clear-throttle')).status).toBe(404);
  });

  test('a tenant has its own, by type or by key', async () => {
    const settings = (throttle: unknown) => server.api('PATCH', '/v1/tenants/default', { settings: { throttle } });
    try {
      expect((await settings({ max_per_window: 1, per: 'key' })).status).toBe(200);
      expect(await told('keyed', [...times(2, { throttle_key: 'a' }), ...times(2, { throttle_key: 'b' }), ...times(2)])).toEqual([
        ...throttled(3),
        ...sent(3),
      ]);
      await settings({ max_per_window: 1, window_seconds: 60, per: 'type' });
      expect(await told('typed', [...times(2, { type: 'a' }), ...times(2, { type: 'b', throttle_key: 'k' })])).toEqual([
        ...throttled(2),
        ...sent(2),
      ]);
      await settings({ max_per_window: 0 });
      expect(await told('free', times(9))).toEqual(sent(9));
    } finally {
      await server.api('PATCH', '/v1/tenants/default', { settings: {} });
    }
  });

  test('what no longer counts is swept', async () => {
    await told('swept', times(1));
    await db.moveClock(2 * HOUR);
    await server.running.catchUp();
    expect(await sweepThrottles(db.database.engine, 10)).toBe(0);
    expect(await db.query("select from carillon.throttles where user_id = 'swept'")).toEqual([]);
  });
});
