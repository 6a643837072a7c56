/** What is over a throttle's limit goes into a digest instead of being skipped, where the event type says so. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { deliveriesOf, eventually } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const HOUR = 3_600_000;

let db: TestDatabase;
let server: TestServer;
let receiver: Receiver;
let names = 0;
let user: string;

beforeAll(async () => {
  receiver = await startReceiver((response) => response.end());
  db = await freshDatabase();
  server = await startServer({}, { on: db });
});
afterAll(async () => {
  await server.stop();
  await db.drop();
  await receiver.close();
});
beforeEach(async () => {
  user = `user-${++names}`;
  await server.api('PUT', `/v1/users/${user}`, { webhook_url: `http://127.0.0.1:${receiver.port}/${user}` });
});

async function push(type: string, text: string): Promise<void> {
  const { status, body } = await server.api('PUT', `/v1/event-types/${type}`, { files: { 'event.yaml': text } });
  expect(status, JSON.stringify(body)).toBeLessThan(300);
}
async function report(type: string, times: number, more: Record<string, unknown> = {}): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 1; n <= times; n++) {
    const { body } = await server.api('POST', '/v1/events', { type, to: [user], data: { n }, ...more });
    ids.push(body.id);
    await eventually(async () => (await deliveriesOf(db, body.id)).length).toBeGreaterThan(0);
  }
  return ids;
}
const shown = async (ids: readonly string[]) =>
  (await Promise.all(ids.map((id) => deliveriesOf(db, id)))).map((rows) =>
    rows.map(({ channel, state, reason }) => `${channel} ${state} ${reason}`).join(', '),
  );
const messages = () => receiver.requests.filter(({ path }) => path === `/${user}`).map(({ body }) => JSON.parse(body));

test('the first ones go out at once, the others together after the window; nothing is lost, whatever its weight', async () => {
  await push('flood', 'channels: { in_app: {}, webhook: {} }\nthrottle: { limit: 2, window: 1h, per: [user, event_type], over: digest }\n');
  const ids = [
    ...(await report('flood', 4)),
    ...(await report('flood', 1, { severity: 'urgent' })),
    ...(await report('flood', 1, { critical: true })),
  ];
  await eventually(() => shown(ids)).toEqual([
    ...Array.from({ length: 2 }, () => 'in_app delivered sent, webhook delivered sent'),
    ...Array.from({ length: 4 }, () => 'in_app delivered sent, webhook held digest_waiting'),
  ]);
  await server.moveClock(HOUR + 1_000);
  await eventually(async () => (await shown(ids)).filter((line) => line.endsWith('webhook delivered digested')).length).toBe(4);
  const [, , message, ...more] = messages();
  expect(more).toEqual([]);
  expect(message.data.data.items.map(({ data: { n } }: { data: { n: number } }) => n)).toEqual([3, 4, 1, 1]);
});

test("the type's own digest says how long and what goes together, and is for what is over the limit alone", async () => {
  await push(
    'floods',
    'channels: { webhook: {} }\nthrottle: { limit: 1, window: 1h, per: [user], over: digest }\ndigest: { key: "{{ data.n }}", every: 5m }\n',
  );
  const ids = await report('floods', 3);
  await eventually(() => shown(ids)).toEqual(['webhook delivered sent', 'webhook held digest_waiting', 'webhook held digest_waiting']);
  await server.moveClock(6 * 60_000);
  await eventually(() => messages().map(({ data }) => data.data.digest?.key)).toEqual([undefined, 'key 2', 'key 3']);
});

test('what reaches nothing but the inbox is skipped', async () => {
  await push('quiet', 'channels: { in_app: {} }\nthrottle: { limit: 1, window: 1h, per: [user], over: digest }\n');
  expect(await shown(await report('quiet', 2))).toEqual(['in_app delivered sent', '* skipped throttled']);
});

test("a person's own digest is for everything, within the limit too", async () => {
  await push('own', 'channels: { webhook: {} }\nthrottle: { limit: 1, window: 1h, per: [user], over: digest }\n');
  await server.api('PUT', `/v1/users/${user}/preferences`, { channels: { webhook: { digest: '15m' } } });
  const ids = await report('own', 2);
  expect(await shown(ids)).toEqual(['webhook held digest_waiting', 'webhook held digest_waiting']);
  await server.moveClock(16 * 60_000);
  await eventually(() => messages().length).toBe(1);
  expect(messages()[0].data.data.items).toHaveLength(2);
});
