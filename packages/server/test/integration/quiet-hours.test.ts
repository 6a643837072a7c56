/** Held and released for real: through accepting, routing, the queue, the gate and a webhook, with the clock moved. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { deliveryOf, entriesOf, eventually, nowOf } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const HOUR = 3_600_000;

let db: TestDatabase;
let server: TestServer;
let receiver: Receiver;
let names = 0;
let user: string;
let status = 200;

beforeAll(async () => {
  receiver = await startReceiver((response) => response.writeHead(status).end());
  db = await freshDatabase();
  server = await startServer({}, { on: db });
});
afterAll(async () => {
  await server.stop();
  await db.drop();
  await receiver.close();
});
beforeEach(async () => {
  status = 200;
  user = `user-${++names}`;
  await server.api('PUT', `/v1/users/${user}`, { webhook_url: `http://127.0.0.1:${receiver.port}/${user}` });
});

const requests = () => receiver.requests.filter(({ path }) => path === `/${user}`).length;
/** On the hour, so many hours from now, in UTC: what the clock there shows. */
async function hourIn(hours: number): Promise<Date> {
  return new Date(Math.ceil((await nowOf(db)).getTime() / HOUR) * HOUR + (hours - 1) * HOUR);
}
const clock = (time: Date) => time.toISOString().slice(11, 16);
/** From an hour ago to `hours` from now. */
async function quietFor(hours: number, more: Record<string, unknown> = {}): Promise<Date> {
  const end = await hourIn(hours);
  const quiet = { enabled: true, start: clock(await hourIn(-1)), end: clock(end), time_zone: 'UTC', ...more };
  expect((await server.api('PUT', `/v1/users/${user}/preferences`, { quiet_hours: quiet })).status).toBe(200);
  return end;
}
async function send(more: Record<string, unknown> = {}): Promise<string> {
  const reply = await server.api('POST', '/v1/events', { type: 'disk.full', to: [user], channels: ['in_app', 'webhook'], ...more });
  expect(reply.status).toBe(202);
  return reply.body.id;
}
const webhookOf = (id: string) => deliveryOf(db, id, 'webhook');
const state = async (id: string) => (await webhookOf(id)).state;
const kinds = async (id: string) => (await entriesOf(db, (await webhookOf(id)).id)).map(({ kind, reason }) => `${kind} ${reason}`);
async function moveTo(time: Date): Promise<void> {
  await server.moveClock(time.getTime() - (await nowOf(db)).getTime());
}

describe('in quiet hours', () => {
  test('it is held to their end, and sent then; the inbox has it at once', async () => {
    const end = await quietFor(5);
    const id = await send();
    expect(await webhookOf(id)).toMatchObject({ state: 'held', reason: 'quiet_hours_held', attempts: 0, dueAt: end });
    expect(await deliveryOf(db, id, 'in_app')).toMatchObject({ state: 'delivered' });
    const { body } = await server.api('GET', `/v1/events/${id}`);
    expect(body.counts).toMatchObject({ held: 1, delivered: 1 });
    const held = body.notifications[0].deliveries.find(({ channel }: { channel: string }) => channel === 'webhook');
    expect(held).toMatchObject({ status: 'held', reason: 'quiet_hours_held', next_attempt_at: end.toISOString(), sent_at: null });

    await moveTo(new Date(end.getTime() - 60_000));
    expect(await state(id)).toBe('held');
    await moveTo(new Date(end.getTime() + 1));
    await eventually(() => state(id)).toBe('delivered');
    expect(requests()).toBe(1);
    expect(await kinds(id)).toEqual(['held quiet_hours_held', 'released sending', 'attempt sent']);
    const { timeline } = (await server.api('GET', `/v1/notifications/${body.notifications[0].id}`)).body;
    expect(timeline.map(({ what }: { what: string }) => what)).toEqual(
      expect.arrayContaining(['accepted', 'routed', 'held', 'released', 'attempt', 'delivered']),
    );
  });

  test('it is held over a restart', async () => {
    const end = await quietFor(3);
    const id = await send();
    expect(await state(id)).toBe('held');
    await server.stop();
    server = await startServer({}, { on: db });
    expect(await state(id)).toBe('held');
    await moveTo(new Date(end.getTime() + 1));
    await eventually(() => state(id)).toBe('delivered');
    expect(requests()).toBe(1);
  });

  test('a schedule is held when it is due, not when it is accepted', async () => {
    const start = await hourIn(2);
    const end = await hourIn(4);
    await server.api('PUT', `/v1/users/${user}/preferences`, {
      quiet_hours: { enabled: true, start: clock(start), end: clock(end), time_zone: 'UTC' },
    });
    const id = await send({ scheduled_for: new Date(start.getTime() + 60_000).toISOString() });
    await moveTo(new Date(start.getTime() + 61_000));
    await eventually(() => state(id)).toBe('held');
    await moveTo(new Date(end.getTime() + 1));
    await eventually(() => state(id)).toBe('delivered');
  });

  test('a retry is held too, and is the second attempt when it goes out', async () => {
    const start = await hourIn(1);
    await server.api('PUT', `/v1/users/${user}/preferences`, {
      quiet_hours: { enabled: true, start: clock(start), end: clock(await hourIn(3)), time_zone: 'UTC' },
    });
    status = 503;
    const id = await send();
    await eventually(async () => (await webhookOf(id)).attempts).toBe(1);
    await eventually(() => state(id)).toBe('pending');
    status = 200;
    await moveTo(new Date(start.getTime() + 60_000));
    await eventually(() => state(id)).toBe('held');
    expect(requests()).toBe(1);
    await moveTo(new Date(start.getTime() + 2 * HOUR + 1));
    await eventually(() => state(id)).toBe('delivered');
    expect(await webhookOf(id)).toMatchObject({ attempts: 2 });
    expect(await kinds(id)).toEqual(['attempt provider_error', 'held quiet_hours_held', 'released sending', 'attempt sent']);
  });

  test('an expiry is not waited past', async () => {
    const end = await quietFor(5);
    const expires = await hourIn(2);
    const id = await send({ expires_at: expires.toISOString() });
    expect(await webhookOf(id)).toMatchObject({ state: 'held', dueAt: expires });
    await moveTo(new Date(expires.getTime() + 1));
    await eventually(() => state(id)).toBe('expired');
    await moveTo(new Date(end.getTime() + 1));
    expect(requests()).toBe(0);
  });

  test('what is held can be cancelled', async () => {
    await quietFor(5);
    const id = await send({ channels: ['webhook'] });
    expect((await server.api('POST', `/v1/events/${id}/cancel`)).body).toMatchObject({ outcome: 'cancelled', cancelled: 1 });
    expect(await webhookOf(id)).toMatchObject({ state: 'cancelled', dueAt: null });
  });
});

describe('what the user changes meanwhile counts', () => {
  test('switched off, it is sent at once', async () => {
    await quietFor(5);
    const id = await send();
    await server.api('PUT', `/v1/users/${user}/preferences`, {});
    await eventually(() => state(id)).toBe('delivered');
  });

  test('the channel switched off, it is skipped', async () => {
    await quietFor(5);
    const id = await send();
    await server.api('PUT', `/v1/users/${user}/preferences`, { channels: { webhook: { enabled: false } } });
    await eventually(() => state(id)).toBe('skipped');
    expect(await webhookOf(id)).toMatchObject({ reason: 'opted_out' });
    expect(requests()).toBe(0);
  });

  test('in another zone the hours end at another time', async () => {
    const end = await quietFor(5, { time_zone: undefined });
    const id = await send();
    expect(await webhookOf(id)).toMatchObject({ dueAt: end });
    // An hour east of Greenwich, whatever the season: the same clock shows the end an hour earlier.
    await server.api('PUT', `/v1/users/${user}`, { webhook_url: `http://127.0.0.1:${receiver.port}/${user}`, time_zone: 'Africa/Lagos' });
    await eventually(async () => {
      const row = await webhookOf(id);
      return row.state === 'held' && row.dueAt?.getTime();
    }).toBe(end.getTime() - HOUR);
    await moveTo(new Date(end.getTime() - HOUR + 1));
    await eventually(() => state(id)).toBe('delivered');
  });
});
