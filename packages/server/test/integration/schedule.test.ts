/** A9: the longest schedule leaves at its time, and nothing leaves after its expiry, whatever made it wait. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { count, deliveriesOf, deliveryOf, eventState, eventually, nowOf, uuidOf } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const DAY = 1_440 * MINUTE;

let db: TestDatabase;
let server: TestServer;
let receiver: Receiver;
let names = 0;
let user: string;
/** Answers that are waited for. */
const waiting: (() => void)[] = [];
let isSlow = false;

beforeAll(async () => {
  receiver = await startReceiver((response) => {
    const answer = () => void response.writeHead(200).end();
    if (isSlow) waiting.push(answer);
    else answer();
  });
  db = await freshDatabase();
  server = await startServer({ 'delivery.lane_limit': 1, 'delivery.lease': 10 * MINUTE }, { on: db });
});
afterAll(async () => {
  for (const answer of waiting.splice(0)) answer();
  await server.stop();
  await db.drop();
  await receiver.close();
});
beforeEach(() => {
  isSlow = false;
  user = `user-${++names}`;
});

const fromNow = async (ms: number) => new Date((await nowOf(db)).getTime() + ms).toISOString();
const post = (more: Record<string, unknown>) =>
  server.api('POST', '/v1/events', {
    type: 'disk.full',
    to: [{ user_id: user, webhook_url: `http://127.0.0.1:${receiver.port}/${user}` }],
    ...more,
  });
async function send(more: Record<string, unknown> = {}): Promise<string> {
  const { status, body } = await post(more);
  expect(status, JSON.stringify(body)).toBe(202);
  return body.id;
}
const requests = () => receiver.requests.filter(({ path }) => path === `/${user}`).length;

describe('a schedule (A9)', () => {
  test('of 25 days is accepted and leaves then, not before', async () => {
    const at = await fromNow(25 * DAY);
    const id = await send({ scheduled_for: at });
    await server.moveClock(25 * DAY - 5 * MINUTE);
    expect(await eventState(db, id)).toBe('scheduled');
    expect(await deliveriesOf(db, id)).toEqual([]);
    await server.moveClock(6 * MINUTE);
    await eventually(async () => (await deliveriesOf(db, id)).map(({ channel, state }) => `${channel} ${state}`)).toEqual([
      'in_app delivered',
      'webhook delivered',
    ]);
    const [row] = await db.query<{ due: Date }>('select scheduled_for as due from carillon.events where id = $1', [uuidOf(id)]);
    expect(row!.due.toISOString()).toBe(at);
  });

  test.each<[string, () => Promise<string>]>([
    ['beyond 25 days', () => fromNow(25 * DAY + MINUTE)],
    ['that has passed', () => fromNow(-SECOND)],
  ])('%s is refused', async (_, at) => {
    const { status, body } = await post({ scheduled_for: await at() });
    expect([status, body.code, body.errors[0].pointer]).toEqual([422, 'schedule_invalid', '/scheduled_for']);
  });
});

describe('what has expired never leaves', () => {
  test('when nothing ran at its time: nobody is told, in the inbox neither', async () => {
    const id = await send({ scheduled_for: await fromNow(10 * MINUTE), expires_at: await fromNow(20 * MINUTE) });
    await server.stop();
    await db.moveClock(30 * MINUTE);
    server = await startServer({ 'delivery.lane_limit': 1, 'delivery.lease': 10 * MINUTE }, { on: db });
    await eventually(() => eventState(db, id)).toBe('expired');
    expect(await count(db, 'notifications where event_id = $1', [uuidOf(id)])).toBe(0);
    expect(requests()).toBe(0);
  });

  test('when its lane has no room until it is too late', async () => {
    isSlow = true;
    const first = await send({ channels: ['webhook'] });
    await eventually(requests).toBe(1);
    const second = await send({ channels: ['webhook'], expires_at: await fromNow(MINUTE) });
    await eventually(async () => (await deliveriesOf(db, second)).map(({ state }) => state)).toEqual(['pending']);
    await server.moveClock(2 * MINUTE);
    isSlow = false;
    for (const answer of waiting.splice(0)) answer();
    await eventually(async () => (await deliveryOf(db, first)).state).toBe('delivered');
    await eventually(() => deliveryOf(db, second)).toMatchObject({ state: 'expired', reason: 'expired' });
    expect(requests()).toBe(1);
  });

  test('when it expires in the same moment in which its time comes', async () => {
    const at = await fromNow(10 * MINUTE);
    const { status, body } = await post({ scheduled_for: at, expires_at: at });
    expect([status, body.errors[0]]).toMatchObject([422, { pointer: '/expires_at' }]);
  });
});
