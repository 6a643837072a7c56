/** Leases, lanes and stopping: nobody sends what another holds, and nobody waits for somebody else's far end. */
import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { count, deliveriesOf, deliveryOf, entriesOf, eventually, uuidOf } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startReceiver, type Answer, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function database(): Promise<TestDatabase> {
  const db = await freshDatabase();
  cleanups.push(db.drop);
  return db;
}

async function receiving(answer: Answer): Promise<Receiver> {
  const receiver = await startReceiver(answer);
  cleanups.push(receiver.close);
  return receiver;
}

async function started(on: TestDatabase, overrides: Parameters<typeof startServer>[0] = {}): Promise<TestServer> {
  const server = await startServer(overrides, { on });
  cleanups.push(server.stop);
  return server;
}

const ok: Answer = (response) => response.end();
const eventFor = (url: string, userId: string = randomUUID()) => ({
  type: 'disk.full',
  to: [{ user_id: userId, webhook_url: url }],
  channels: ['webhook'],
});

async function send(server: TestServer, url: string): Promise<string> {
  const { status, body } = await server.api('POST', '/v1/events', eventFor(url));
  expect(status).toBe(202);
  return body.id;
}

async function sendMany(server: TestServer, urls: readonly string[]): Promise<void> {
  const { status, body } = await server.api(
    'POST',
    '/v1/events/batch',
    urls.map((url) => eventFor(url)),
  );
  expect(status).toBe(202);
  expect(body.results.filter((result: object) => 'error' in result)).toEqual([]);
}

const withState = (on: TestDatabase, state: string, address = '%') =>
  count(on, `deliveries where status = ${state} and address like $1`, [address]);
const DELIVERED = '4';
const PENDING = '1';

describe('far ends that hang', () => {
  const settings = {
    'delivery.slots': 8,
    'delivery.lane_limit': 4,
    'delivery.total_timeout': 1_000,
    'delivery.connect_timeout': 500,
    'delivery.lease': 3_000,
  };

  test('get a quarter of the slots together, however many they are, while the others are served', async () => {
    const hanging = new Set<ServerResponse>();
    let found = false;
    let most = 0;
    let probes = 0;
    const receiver = await receiving((response, { path }) => {
      if (path.startsWith('/ok')) {
        response.end();
        return;
      }
      hanging.add(response);
      response.on('close', () => hanging.delete(response));
      if (!found) return;
      probes += 1;
      most = Math.max(most, hanging.size);
    });
    const at = (path: string) => `http://127.0.0.1:${receiver.port}${path}`;
    const on = await database();
    const server = await started(on, settings);
    const lanes = Array.from({ length: 20 }, (_, n) => `/hang-${n}`);
    await sendMany(
      server,
      Array.from({ length: 800 }, (_, n) => at(lanes[n % lanes.length]!)),
    );
    const foundOut = 'select distinct d.address from carillon.deliveries d join carillon.attempts a on a.delivery_id = d.id';
    await eventually(async () => (await on.query(foundOut)).length).toBe(lanes.length);
    found = true;

    for (let batch = 0; batch < 5 || probes < 4; batch++) {
      await sendMany(
        server,
        Array.from({ length: 100 }, (_, n) => at(`/ok-${n % 3}`)),
      );
      await eventually(() => withState(on, DELIVERED, '%/ok-%')).toBe((batch + 1) * 100);
    }
    expect(await withState(on, DELIVERED, '%/hang-%')).toBe(0);
    expect(await count(on, "deliveries where address like '%/hang-%' and attempt_count = 0")).toBeGreaterThan(400);
    expect(most).toBeLessThan(8); // those whose end the receiver has not noticed yet count twice here: limits.test.ts has the exact number
  });

  test('do not hold up what is claimed behind them', async () => {
    const receiver = await receiving((response, { path }) => {
      if (path === '/ok') response.end();
    });
    const on = await database();
    const front = await started(on, { roles: ['api', 'router'] });
    const at = (path: string) => `http://127.0.0.1:${receiver.port}${path}`;
    await sendMany(
      front,
      Array.from({ length: 900 }, () => at('/hang')),
    );
    await sendMany(
      front,
      Array.from({ length: 20 }, () => at('/ok')),
    );
    await eventually(() => withState(on, PENDING)).toBe(920);
    await started(on, { ...settings, roles: ['delivery'] });
    await eventually(() => withState(on, DELIVERED, '%/ok')).toBe(20);
    expect(await count(on, "deliveries where address like '%/hang' and attempt_count = 0")).toBeGreaterThan(600);
  });
});

test('two slots are enough for a backlog', async () => {
  const receiver = await receiving(ok);
  const on = await database();
  const server = await started(on, { 'delivery.slots': 2, 'delivery.lane_limit': 2 });
  await sendMany(
    server,
    Array.from({ length: 500 }, (_, n) => `http://127.0.0.1:${receiver.port}/${n}`),
  );
  await eventually(() => withState(on, DELIVERED)).toBe(500);
  expect(new Set(receiver.requests.map(({ headers }) => headers['webhook-id'])).size).toBe(500);
  expect(receiver.requests).toHaveLength(500);
});

describe('a lease', () => {
  test('that went to somebody else makes the outcome void, and is counted', async () => {
    const held: (() => void)[] = [];
    const receiver = await receiving((response) => held.push(() => response.end()));
    const on = await database();
    const server = await started(on);
    const id = await send(server, `http://127.0.0.1:${receiver.port}/`);
    await eventually(() => held.length).toBe(1);
    const other = randomUUID();
    await on.query(
      "update carillon.deliveries set lease_token = $2, attempt_count = 2, due_at = carillon.now() + interval '1 h' where event_id = $1",
      [uuidOf(id), other],
    );
    held[0]!();
    await eventually(async () => (await server.api('GET', '/metrics')).body).toContain('carillon_lease_lost_total 1');
    expect(await deliveryOf(on, id)).toMatchObject({ state: 'sending', attempts: 2 });
    expect(await count(on, 'deliveries where lease_token = $1', [other])).toBe(1);
    expect(await count(on, 'attempts')).toBe(0);
  });

  test('that ended with its process is taken over: attempt 2, and the timeline says so', async () => {
    const receiver = await receiving(ok);
    const { on, id, address } = await leftBehind(receiver);
    const worker = await started(on, { roles: ['delivery'] });
    await eventually(() => receiver.requests.map(({ path }) => path)).toEqual(['/other']);
    expect(await deliveryOf(on, id)).toMatchObject({ state: 'sending', attempts: 1 });

    await worker.moveClock(21_000);
    await eventually(async () => (await deliveryOf(on, id)).state).toBe('delivered');
    expect(receiver.requests.map(({ path }) => path)).toEqual(['/other', address]);
    const row = await deliveryOf(on, id);
    expect(row.attempts).toBe(2);
    expect((await entriesOf(on, row.id)).map(({ kind, reason }) => [kind, reason])).toEqual([
      ['lease_lost', 'internal'],
      ['attempt', 'sent'],
    ]);
  });

  test('that ended with its process is no leave to send what was cancelled meanwhile', async () => {
    const receiver = await receiving(ok);
    const { on, id, front } = await leftBehind(receiver);
    expect((await front.api('POST', `/v1/events/${id}/cancel`)).body).toMatchObject({ outcome: 'too_late', too_late: 1 });
    const worker = await started(on, { roles: ['delivery'] });
    await worker.moveClock(21_000);
    await eventually(async () => (await deliveryOf(on, id)).state).toBe('cancelled');
    expect(await deliveryOf(on, id)).toMatchObject({ reason: 'cancelled', dueAt: null });
    await eventually(() => receiver.requests.map(({ path }) => path)).toEqual(['/other']);
  });

  /** One delivery as a worker that died leaves it, its lease not ended yet, and another that is due. */
  async function leftBehind(receiver: Receiver) {
    const on = await database();
    const front = await started(on, { roles: ['api', 'router'] });
    const id = await send(front, `http://127.0.0.1:${receiver.port}/left`);
    await on.query(
      "update carillon.deliveries set status = 2, reason = 3, lease_token = gen_random_uuid(), attempt_count = 1, sent_at = carillon.now(), due_at = carillon.now() + interval '20 s' where event_id = $1",
      [uuidOf(id)],
    );
    await send(front, `http://127.0.0.1:${receiver.port}/other`);
    return { on, front, id, address: '/left' };
  }
});

describe('stopping', () => {
  test('ends what has begun, gives back what has not, and the next process sends that: each once', async () => {
    const held: (() => void)[] = [];
    let holding = true;
    const receiver = await receiving((response) => {
      if (holding) held.push(() => response.end());
      else response.end();
    });
    const on = await database();
    const server = await started(on, { 'delivery.lane_limit': 2 });
    await sendMany(
      server,
      Array.from({ length: 40 }, () => `http://127.0.0.1:${receiver.port}/`),
    );
    await eventually(() => receiver.requests.length).toBe(2);
    expect(await count(on, 'deliveries where status = 2')).toBeGreaterThan(2);

    const stopping = server.stop();
    await eventually(() => withState(on, PENDING)).toBe(38);
    for (const one of held) one();
    await stopping;
    expect(receiver.requests).toHaveLength(2);
    expect(await withState(on, DELIVERED)).toBe(2);
    expect(await count(on, 'deliveries where status = 1 and attempt_count = 0 and sent_at is null and due_at <= carillon.now()')).toBe(38);
    expect(await count(on, 'attempts')).toBe(2);

    holding = false;
    await started(on);
    await eventually(() => withState(on, DELIVERED)).toBe(40);
    expect(receiver.requests).toHaveLength(40);
    expect(new Set(receiver.requests.map(({ headers }) => headers['webhook-id'])).size).toBe(40);
  });

  test('cuts short what does not end in time, and does not count it', async () => {
    const receiver = await receiving(() => undefined);
    const on = await database();
    const server = await started(on, { drain: 200 });
    const id = await send(server, `http://127.0.0.1:${receiver.port}/`);
    await eventually(() => receiver.requests.length).toBe(1);
    await server.stop();
    expect(await deliveriesOf(on, id)).toMatchObject([{ state: 'pending', reason: 'queued', attempts: 0 }]);
    expect(await count(on, 'attempts')).toBe(0);
  });

  test('gives back as cancelled what was cancelled meanwhile', async () => {
    const receiver = await receiving(() => undefined);
    const on = await database();
    const [server, front] = [await started(on, { drain: 200 }), await started(on, { roles: ['api'] })];
    const id = await send(server, `http://127.0.0.1:${receiver.port}/`);
    await eventually(() => receiver.requests.length).toBe(1);
    expect((await front.api('POST', `/v1/events/${id}/cancel`)).body).toMatchObject({ outcome: 'too_late' });
    await server.stop();
    expect(await deliveriesOf(on, id)).toMatchObject([{ state: 'cancelled', reason: 'cancelled', attempts: 0, dueAt: null }]);
  });
});
