/** `ordering_key`: at one address, what has the same key goes out one at a time, in the order of acceptance. */
import { afterEach, expect, test } from 'vitest';
import { count, deliveriesOf, deliveryOf, eventually, uuidOf } from '../harness/core.ts';
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
  const server = await startServer({ 'webhook.retry': [10, 10, 10], ...overrides }, { on });
  cleanups.push(server.stop);
  return server;
}

interface Wanted {
  readonly key?: string | undefined;
  readonly path?: string;
  readonly n: number;
  readonly more?: Record<string, unknown>;
}

const item = (receiver: Receiver, { key, path = '/', n, more }: Wanted) => ({
  type: 'counted',
  to: [{ user_id: `user-${n % 3}`, webhook_url: `http://127.0.0.1:${receiver.port}${path}` }],
  channels: ['webhook'],
  data: { n, key },
  ...(key === undefined ? {} : { ordering_key: key }),
  ...more,
});

async function send(server: TestServer, receiver: Receiver, wanted: Wanted): Promise<string> {
  const { status, body } = await server.api('POST', '/v1/events', item(receiver, wanted));
  expect(status).toBe(202);
  return body.id;
}

const dataOf = (body: string) => (JSON.parse(body) as { data: { data: { n: number; key: string } } }).data.data;
const numbersAt = (receiver: Receiver, key: string) => receiver.requests.map(({ body }) => dataOf(body)).filter((one) => one.key === key);
const upTo = (n: number) => Array.from({ length: n }, (_, index) => index);

test('order is kept while attempts fail, and one key does not wait for another', async () => {
  const refusals = new Map<number, number>();
  let inFlight = 0;
  let most = 0;
  const receiver = await receiving((response, { body }) => {
    const { n, key } = dataOf(body);
    if (key === 'a') most = Math.max(most, ++inFlight);
    setImmediate(() => {
      if (key === 'a') inFlight--;
      const before = refusals.get(n) ?? 0;
      if (key === 'a') refusals.set(n, before + 1);
      response.writeHead(key === 'a' && n % 3 === 0 && before < 2 ? 503 : 200).end();
    });
  });
  const on = await database();
  const server = await started(on);
  const batch = [...upTo(12).map((n) => ({ n, key: 'a' })), ...upTo(5).map((n) => ({ n, key: 'b' })), { n: 99, key: undefined }];
  const reply = await server.api(
    'POST',
    '/v1/events/batch',
    batch.map((one) => item(receiver, one)),
  );
  expect(reply.body.results.filter((result: object) => 'error' in result)).toEqual([]);
  for (const n of [12, 13, 14]) await send(server, receiver, { n, key: 'a' });
  await eventually(() => count(on, 'deliveries where status = 4')).toBe(21);
  const a = numbersAt(receiver, 'a').map(({ n }) => n);
  expect(a.filter((n, at) => n !== a[at - 1])).toEqual(upTo(15)); // repeats stand next to each other
  expect(a.filter((n) => n === 0)).toHaveLength(3);
  expect(most).toBe(1);
  expect(numbersAt(receiver, 'b').map(({ n }) => n)).toEqual(upTo(5));
});

test('one that fails for good, or is cancelled, lets the next go; a person’s retry of it waits for its turn', async () => {
  const held: (() => void)[] = [];
  const receiver = await receiving((response, { body }) => {
    const { n } = dataOf(body);
    if (n === 0) response.writeHead(410).end();
    else if (n === 2 && held.length === 0) held.push(() => response.end());
    else response.end();
  });
  const on = await database();
  const server = await started(on);
  const first = await send(server, receiver, { n: 0, key: 'a' });
  await send(server, receiver, { n: 1, key: 'a' });
  await send(server, receiver, { n: 2, key: 'a' });
  const cancelled = await send(server, receiver, { n: 3, key: 'a' });
  await send(server, receiver, { n: 4, key: 'a' });
  await eventually(() => held.length).toBe(1);
  expect(await deliveriesOf(on, cancelled)).toMatchObject([{ state: 'pending', reason: 'in_order', dueAt: null, attempts: 0 }]);
  expect((await server.api('POST', `/v1/events/${cancelled}/cancel`)).body).toMatchObject({ outcome: 'cancelled' });
  const { body } = await server.api('GET', `/v1/events/${first}`);
  const [{ id }] = body.notifications[0].deliveries;
  expect((await server.api('POST', `/v1/deliveries/${id}/retry`)).status).toBe(202);
  expect(await deliveryOf(on, first)).toMatchObject({ state: 'pending', dueAt: null });
  held[0]!();
  await eventually(async () => (await deliveryOf(on, first)).state).toBe('failed');
  await eventually(() => numbersAt(receiver, 'a').map(({ n }) => n)).toEqual([0, 1, 2, 0, 4]);
});

test('two processes that accept, route and send keep the order, however their clocks stand', async () => {
  const receiver = await receiving((response) => response.end());
  const on = await database();
  const pair = [await started(on), await started(on), await started(on, { roles: ['api'] })];
  for (const n of upTo(40)) await send(pair[n % 3]!, receiver, { n, key: `key-${n % 2}`, path: `/${n % 2}` });
  await eventually(() => count(on, 'deliveries where status = 4')).toBe(40);
  for (const rest of [0, 1]) expect(numbersAt(receiver, `key-${rest}`).map(({ n }) => n)).toEqual(upTo(40).filter((n) => n % 2 === rest));
});

test('what was accepted earlier and is still to be routed goes first', async () => {
  const receiver = await receiving((response) => response.end());
  const on = await database();
  const front = await started(on, { roles: ['api'] });
  const early = await send(front, receiver, { n: 0, key: 'a' });
  await on.query("update carillon.events set due_at = carillon.now() + interval '1 hour' where id = $1", [uuidOf(early)]); // as after a failure
  const late = await send(front, receiver, { n: 1, key: 'a' });
  const worker = await started(on, { roles: ['router', 'delivery', 'scheduler'] });
  await eventually(() => count(on, 'deliveries')).toBe(1);
  await worker.running.catchUp();
  expect(await deliveriesOf(on, late)).toMatchObject([{ state: 'pending', reason: 'in_order' }]);
  await worker.moveClock(3_600_000);
  await eventually(() => count(on, 'deliveries where status = 4')).toBe(2);
  expect(numbersAt(receiver, 'a').map(({ n }) => n)).toEqual([0, 1]);
});

test('without a turn taken by who ended it, the sweep takes it: a killed process stops nobody', async () => {
  const receiver = await receiving((response) => response.end());
  const on = await database();
  const front = await started(on, { roles: ['api', 'router'] });
  const [first, second] = [await send(front, receiver, { n: 0, key: 'a' }), await send(front, receiver, { n: 1, key: 'a' })];
  await eventually(async () => (await deliveriesOf(on, second)).length).toBe(1);
  await eventually(async () => (await deliveryOf(on, first)).dueAt !== null).toBe(true);
  // Leased by a process that died in the middle of its attempt.
  await on.query(
    "update carillon.deliveries set status = 2, reason = 3, lease_token = gen_random_uuid(), attempt_count = 1, sent_at = carillon.now(), due_at = carillon.now() + interval '20 s' where event_id = $1",
    [uuidOf(first)],
  );
  const worker = await started(on, { roles: ['delivery', 'scheduler'] });
  await worker.running.catchUp();
  expect(await deliveryOf(on, second)).toMatchObject({ state: 'pending', reason: 'in_order', dueAt: null });
  await worker.moveClock(21_000);
  await eventually(() => count(on, 'deliveries where status = 4')).toBe(2);
  expect(numbersAt(receiver, 'a').map(({ n }) => n)).toEqual([0, 1]);
  const third = await send(front, receiver, { n: 2, key: 'a' });
  const fourth = await send(front, receiver, { n: 3, key: 'a' });
  // As if its process had been killed between the outcome and the next one's turn.
  await on.query('update carillon.deliveries set status = 7, due_at = null, finished_at = carillon.now() where event_id = $1', [
    uuidOf(third),
  ]);
  await eventually(async () => (await deliveryOf(on, fourth)).state).toBe('delivered');
});

test('the key is 1 to 256 bytes, in notifications and batches too', async () => {
  const receiver = await receiving((response) => response.end());
  const server = await started(await database());
  const bad = await server.api('POST', '/v1/events', item(receiver, { n: 0, key: 'x'.repeat(257) }));
  expect([bad.status, bad.body.errors]).toMatchObject([422, [{ pointer: '/ordering_key' }]]);
  const told = {
    to: [{ user_id: 'ada', webhook_url: `http://127.0.0.1:${receiver.port}/` }],
    subject: 's',
    ordering_key: 'a',
    channels: ['webhook'],
  };
  expect((await server.api('POST', '/v1/notifications', told)).status).toBe(202);
  const { body } = await server.api('POST', '/v1/notifications/batch', [told, { ...told, ordering_key: '' }]);
  expect(body.results).toMatchObject([{ duplicate: false }, { error: { errors: [{ pointer: '/ordering_key' }] } }]);
  await eventually(() => receiver.requests.length).toBe(2);
});
