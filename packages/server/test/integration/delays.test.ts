/** Channels that are told later, and only if nobody has read it in the inbox: through the catalog, routing, the queue, the gate and a webhook. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { makeTestCatalog, type TestCatalog } from '../harness/catalog.ts';
import { deliveriesOf, deliveryOf, entriesOf, eventState, eventually, nowOf } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

let catalog: TestCatalog;
let db: TestDatabase;
let server: TestServer;
let receiver: Receiver;
let names = 0;
let user: string;
let status = 200;

beforeAll(async () => {
  receiver = await startReceiver((response) => response.writeHead(status).end());
  db = await freshDatabase();
  catalog = makeTestCatalog({
    'step/event.yaml': 'channels: { in_app: {}, webhook: { delay: 10m, only_if: unread } }\n',
    'late/event.yaml': 'channels: { in_app: {}, webhook: { delay: 10m } }\n',
  });
  server = await startServer({ 'catalog.dir': catalog.directory, 'catalog.deadline': 5_000 }, { on: db });
});
afterAll(async () => {
  await server.stop();
  await db.drop();
  await receiver.close();
  catalog.remove();
});
beforeEach(async () => {
  status = 200;
  user = `user-${++names}`;
  await server.api('PUT', `/v1/users/${user}`, { webhook_url: `http://127.0.0.1:${receiver.port}/${user}` });
});

async function define(type: string, definition: string): Promise<void> {
  const reply = await server.api('PUT', `/v1/event-types/${type}`, { files: { 'event.yaml': definition } });
  expect(reply.status, JSON.stringify(reply.body)).toBeLessThan(300);
}
/** Resolves when it is routed, or waits for its schedule. */
async function send(type: string, more: Record<string, unknown> = {}): Promise<string> {
  const reply = await server.api('POST', '/v1/events', { type, to: [user], ...more });
  expect(reply.status, JSON.stringify(reply.body)).toBe(202);
  await eventually(() => eventState(db, reply.body.id)).toBe('scheduled_for' in more ? 'scheduled' : 'routed');
  return reply.body.id;
}
const requests = () => receiver.requests.filter(({ path }) => path === `/${user}`).length;
const webhookOf = (id: string) => deliveryOf(db, id, 'webhook');
const state = async (id: string) => (await webhookOf(id)).state;
const entries = async (id: string) => (await entriesOf(db, (await webhookOf(id)).id)).map(({ kind, reason }) => `${kind} ${reason}`);
const minutesAfter = async (id: string, minutes: number) => {
  const { body } = await server.api('GET', `/v1/events/${id}`);
  return new Date(Date.parse(body.scheduled_for ?? body.accepted_at) + minutes * MINUTE);
};
async function moveTo(time: Date): Promise<void> {
  await server.moveClock(Math.max(0, time.getTime() - (await nowOf(db)).getTime()));
}
async function inboxVerb(id: string, verb: string): Promise<void> {
  const [{ id: notification }] = (await server.api('GET', `/v1/events/${id}`)).body.notifications;
  const { token } = (await server.api('POST', `/v1/users/${user}/token`)).body;
  const authorization = `Bearer ${token}`;
  const reply =
    verb === 'delete'
      ? await server.api('DELETE', `/v1/inbox/${notification}`, undefined, { authorization })
      : await server.api('POST', `/v1/inbox/${notification}/${verb}`, undefined, { authorization });
  expect(reply.status).toBeLessThan(300);
}

describe('a delay', () => {
  test('counts from the event, and is told with its reason until then; the inbox has it at once', async () => {
    const id = await send('late');
    const dueAt = await minutesAfter(id, 10);
    expect(await deliveryOf(db, id, 'in_app')).toMatchObject({ state: 'delivered' });
    expect(await webhookOf(id)).toMatchObject({ state: 'pending', reason: 'delayed', attempts: 0, dueAt });
    const [{ id: notification, deliveries }] = (await server.api('GET', `/v1/events/${id}`)).body.notifications;
    expect(deliveries.find(({ channel }: { channel: string }) => channel === 'webhook')).toMatchObject({
      status: 'pending',
      reason: 'delayed',
      next_attempt_at: dueAt.toISOString(),
    });
    const { timeline } = (await server.api('GET', `/v1/notifications/${notification}`)).body;
    expect(timeline).toContainEqual(
      expect.objectContaining({ what: 'held', channel: 'webhook', reason: 'delayed', next_attempt_at: dueAt.toISOString() }),
    );

    await moveTo(new Date(dueAt.getTime() - MINUTE));
    expect(await state(id)).toBe('pending');
    await moveTo(new Date(dueAt.getTime() + 1));
    await eventually(() => state(id)).toBe('delivered');
    expect(requests()).toBe(1);
    expect(await entries(id)).toEqual(['held delayed', 'attempt sent']);
  });

  test('is foreseen by the preview, with its time', async () => {
    const { body } = await server.api('POST', '/v1/events/preview', { type: 'late', to: [user] });
    const channel = body.recipients[0].channels.find((one: { channel: string }) => one.channel === 'webhook');
    expect(channel).toMatchObject({
      result: 'hold',
      reason: 'delayed',
      held_until: new Date(Date.parse(body.at) + 10 * MINUTE).toISOString(),
    });
  });

  test('of a schedule counts from its due time', async () => {
    const scheduledFor = new Date((await nowOf(db)).getTime() + HOUR);
    const id = await send('late', { scheduled_for: scheduledFor.toISOString() });
    await moveTo(new Date(scheduledFor.getTime() + MINUTE));
    await eventually(async () => (await deliveriesOf(db, id)).length).toBe(2);
    expect(await webhookOf(id)).toMatchObject({ reason: 'delayed', dueAt: new Date(scheduledFor.getTime() + 10 * MINUTE) });
    await moveTo(new Date(scheduledFor.getTime() + 10 * MINUTE + 1));
    await eventually(() => state(id)).toBe('delivered');
  });

  test('never lets it leave after its expiry', async () => {
    const id = await send('late', { expires_at: new Date((await nowOf(db)).getTime() + 5 * MINUTE).toISOString() });
    await moveTo(await minutesAfter(id, 6));
    await eventually(() => state(id)).toBe('expired');
    await moveTo(await minutesAfter(id, 11));
    expect(requests()).toBe(0);
  });

  test('can be cancelled', async () => {
    const id = await send('late', { channels: ['webhook'] });
    expect((await server.api('POST', `/v1/events/${id}/cancel`)).body).toMatchObject({ outcome: 'cancelled', cancelled: 1 });
    expect(await webhookOf(id)).toMatchObject({ state: 'cancelled', dueAt: null });
  });

  test('is followed by the quiet hours in which it ends', async () => {
    const hour = Math.ceil((await nowOf(db)).getTime() / HOUR) * HOUR;
    const clock = (time: number) => new Date(time).toISOString().slice(11, 16);
    const quiet = { enabled: true, start: clock(hour - 2 * HOUR), end: clock(hour + 2 * HOUR), time_zone: 'UTC' };
    await server.api('PUT', `/v1/users/${user}/preferences`, { quiet_hours: quiet });
    const id = await send('late');
    expect(await webhookOf(id)).toMatchObject({ state: 'pending', reason: 'delayed' });
    await moveTo(await minutesAfter(id, 10.1));
    await eventually(() => webhookOf(id)).toMatchObject({ state: 'held', reason: 'quiet_hours_held', dueAt: new Date(hour + 2 * HOUR) });
    await moveTo(new Date(hour + 2 * HOUR + 1));
    await eventually(() => state(id)).toBe('delivered');
    expect(await entries(id)).toEqual(['held delayed', 'held quiet_hours_held', 'released sending', 'attempt sent']);
  });

  test('waits for its time though its turn in an order has come', async () => {
    const first = await send('late', { ordering_key: 'k', channels: ['webhook'] });
    const second = await send('late', { ordering_key: 'k', channels: ['webhook'] });
    const held = { state: 'held', reason: 'delayed', dueAt: await minutesAfter(first, 10) };
    await eventually(() => deliveriesOf(db, first)).toMatchObject([held]);
    await eventually(async () => (await deliveriesOf(db, second)).map(({ reason }) => reason)).toEqual(['in_order']);
    await moveTo(await minutesAfter(second, 10.1));
    await eventually(() => state(first)).toBe('delivered');
    await eventually(() => state(second)).toBe('delivered');
    expect(requests()).toBe(2);
  });
});

describe('only if unread', () => {
  test('what nobody has read is sent', async () => {
    const id = await send('step');
    await moveTo(await minutesAfter(id, 10.1));
    await eventually(() => state(id)).toBe('delivered');
    expect(requests()).toBe(1);
  });

  test.each(['read', 'click', 'archive', 'delete'])('what has been seen (%s) is not', async (verb) => {
    const id = await send('step');
    await inboxVerb(id, verb);
    expect(await state(id)).toBe('pending');
    await moveTo(await minutesAfter(id, 10.1));
    await eventually(() => webhookOf(id)).toMatchObject({ state: 'skipped', reason: 'read_elsewhere', attempts: 0 });
    expect(requests()).toBe(0);
  });

  test('what was read and is unread again is sent', async () => {
    const id = await send('step');
    await inboxVerb(id, 'read');
    await inboxVerb(id, 'unread');
    await moveTo(await minutesAfter(id, 10.1));
    await eventually(() => state(id)).toBe('delivered');
  });

  test('a delay without it does not ask', async () => {
    const id = await send('late');
    await inboxVerb(id, 'read');
    await moveTo(await minutesAfter(id, 10.1));
    await eventually(() => state(id)).toBe('delivered');
  });

  test('what is read between two attempts is not tried again', async () => {
    status = 503;
    const id = await send('step');
    await moveTo(await minutesAfter(id, 10.1));
    await eventually(async () => (await webhookOf(id)).attempts).toBe(1);
    await eventually(() => state(id)).toBe('pending');
    await inboxVerb(id, 'read');
    await moveTo(await minutesAfter(id, 30));
    await eventually(() => webhookOf(id)).toMatchObject({ state: 'skipped', reason: 'read_elsewhere', attempts: 1 });
  });

  test('the version that was current when it was accepted decides', async () => {
    await define('pinned', 'channels: { in_app: {}, webhook: { delay: 10m, only_if: unread } }');
    const id = await send('pinned', { scheduled_for: new Date((await nowOf(db)).getTime() + HOUR).toISOString() });
    await define('pinned', 'channels: { in_app: {}, webhook: {} }');
    await moveTo(await minutesAfter(id, 1));
    await eventually(async () => (await deliveriesOf(db, id)).length).toBe(2);
    expect(await webhookOf(id)).toMatchObject({ reason: 'delayed', dueAt: await minutesAfter(id, 10) });
    await inboxVerb(id, 'read');
    await moveTo(await minutesAfter(id, 10.1));
    await eventually(() => webhookOf(id)).toMatchObject({ state: 'skipped', reason: 'read_elsewhere' });
  });

  test('a restart forgets nothing of it', async () => {
    const id = await send('step');
    await server.stop();
    server = await startServer({ 'catalog.dir': catalog.directory, 'catalog.deadline': 5_000 }, { on: db });
    await inboxVerb(id, 'read');
    await moveTo(await minutesAfter(id, 10.1));
    await eventually(() => webhookOf(id)).toMatchObject({ state: 'skipped', reason: 'read_elsewhere' });
  });
});

test('a type whose steps make no sense is refused with the reason', async () => {
  const refused = async (definition: string) => {
    const { status: code, body } = await server.api('PUT', '/v1/event-types/refused', { files: { 'event.yaml': definition } });
    return { code, text: JSON.stringify(body) };
  };
  expect(await refused('channels: { email: { delay: 10m, only_if: unread } }')).toMatchObject({
    code: 422,
    text: expect.stringContaining('must come with the channel in_app'),
  });
  // What is left of retention.days (33) after the schedule (25), four hours of retries, quiet hours (3) and a day.
  expect(await refused('channels: { in_app: {}, email: { delay: 4d } }')).toMatchObject({
    code: 422,
    text: expect.stringContaining('must be at most 91h'),
  });
});
