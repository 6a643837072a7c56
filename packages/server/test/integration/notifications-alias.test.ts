/** C1: what was submitted, under the id that submitting answered. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newId, publicId } from '../../src/lib/id.ts';
import { count, eventually } from '../harness/core.ts';
import { startReceiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const HOUR_MS = 3_600_000;
let server: TestServer;
let receiver: Awaited<ReturnType<typeof startReceiver>>;

beforeAll(async () => {
  receiver = await startReceiver((response) => response.end());
  server = await startServer();
}, 60_000);
afterAll(async () => {
  await server.stop();
  await receiver.close();
});

const hook = () => `http://127.0.0.1:${receiver.port}/`;
const later = () => new Date(Date.now() + HOUR_MS).toISOString();
const submit = async (body: object): Promise<string> => {
  const answer = await server.api('POST', '/api/notifications', { to: ['ada'], subject: 'Hello', body: 'World', ...body });
  expect(answer.status).toBe(202);
  expect(answer.headers.get('location')).toBe(`/api/notifications/${answer.body.id}`);
  return answer.body.id;
};
const one = (method: string, id: string) => server.api(method, `/api/notifications/${id}`);
const list = async (query = '') => (await server.api('GET', `/api/notifications${query}`)).body;
const ids = async (query = '') => (await list(query)).data.map(({ id }: { id: string }) => id);

test('the id works at once in GET and DELETE, scheduled or not, and DELETE may be repeated', async () => {
  for (const schedule of [{}, { scheduled_for: later() }]) {
    const id = await submit(schedule);
    expect((await one('GET', id)).body).toMatchObject({ id, subject: 'Hello', body: 'World', type: 'inline', deleted_at: null });
    expect((await one('DELETE', id)).status).toBe(204);
    const deletedAt = (await one('GET', id)).body.deleted_at;
    expect(deletedAt).toMatch(/Z$/);
    expect((await one('DELETE', id)).status).toBe(204);
    expect((await one('GET', id)).body.deleted_at).toBe(deletedAt);
  }
});

test('the list has what waits for its schedule too, pages by limit and offset, and hides what is deleted unless asked', async () => {
  const [first, second, third] = [await submit({}), await submit({ scheduled_for: later() }), await submit({})];
  expect(await list('?limit=2')).toMatchObject({
    limit: 2,
    offset: 0,
    has_more: true,
    data: [{ id: third }, { id: second, status: 'scheduled' }],
  });
  expect(await ids('?limit=1&offset=2')).toEqual([first]);
  await one('DELETE', second);
  expect(await ids('?limit=2')).toEqual([third, first]);
  expect(await ids('?limit=3&deleted=true')).toEqual([third, second, first]);
  expect((await list('?offset=1000')).data).toEqual([]);
  for (const bad of ['limit=0', 'limit=101', 'offset=-1', 'deleted=1', 'colour=red'])
    expect((await server.api('GET', `/api/notifications?${bad}`)).status, bad).toBe(422);
});

test('after a delete no scheduled delivery follows', async () => {
  const arrived = receiver.requests.length;
  const to = [{ user_id: 'sam', webhook_url: hook() }];
  const gone = await submit({ to, scheduled_for: later() });
  const kept = await submit({ to, subject: 'kept', scheduled_for: later() });
  await one('DELETE', gone);
  await server.moveClock(2 * HOUR_MS);
  await eventually(async () => (await one('GET', kept)).body.counts).toMatchObject({ delivered: 2 });
  expect((await one('GET', gone)).body).toMatchObject({ status: 'cancelled', notifications: [] });
  expect(receiver.requests.length - arrived).toBe(1);
});

test('a delivered one leaves the inboxes, with true counts, and stays readable', async () => {
  const { token } = (await server.api('POST', '/v1/users/bob/token', {})).body;
  const inbox = async () => (await server.api('GET', '/v1/inbox', undefined, { authorization: `Bearer ${token}` })).body;
  const gone = await submit({ to: ['bob', 'eve'] });
  const kept = await submit({ to: ['bob', 'eve'], subject: 'kept' });
  await eventually(async () => (await inbox()).total).toBe(2);
  const { sequence } = (await inbox()) as { sequence: number };
  await one('DELETE', gone);
  expect(await inbox()).toMatchObject({ total: 1, unread_count: 1, sequence: sequence + 1, data: [{ subject: 'kept' }] });
  await one('DELETE', gone);
  expect((await inbox()).sequence).toBe(sequence + 1);
  expect((await one('GET', gone)).body).toMatchObject({ counts: { recipients: 2, delivered: 2 }, notifications: [{}, {}] });
  expect((await one('GET', kept)).body.deleted_at).toBeNull();
});

test('a delete reaches the inboxes of a large audience', async () => {
  const to = Array.from({ length: 1_000 }, (_, at) => `crowd-${at}`);
  const id = await submit({ to });
  const shown = () => count(server.db, "notifications where user_id like 'crowd-%' and inbox_at is not null and deleted_at is null");
  await eventually(shown).toBe(1_000);
  await one('DELETE', id);
  expect(await shown()).toBe(0);
  expect(await count(server.db, "inbox where user_id like 'crowd-%' and (total <> 0 or unread <> 0 or sequence <> 2)")).toBe(0);
}, 60_000);

test('it has nothing but what is inline, and knows no other ids', async () => {
  const event = (await server.api('POST', '/v1/events', { type: 'order.paid', to: ['ada'] })).body.id;
  const inline = (await server.api('POST', '/v1/notifications', { to: ['ada'], subject: 's' })).body.id;
  expect((await one('GET', inline)).status).toBe(200);
  expect(await ids('?limit=1')).toEqual([inline]);
  const notification = (await server.api('GET', `/v1/events/${inline}`)).body.notifications[0].id;
  for (const id of [event, notification, publicId('evt', newId(new Date())), 'nonsense'])
    for (const method of ['GET', 'DELETE']) expect((await one(method, id)).status, `${method} ${id}`).toBe(404);
});

test('submitting is what POST /v1/notifications is: idempotent, checked, and counted', async () => {
  const body = { to: ['ada'], subject: 's' };
  const [first, again] = [1, 2].map(() => server.api('POST', '/api/notifications', body, { 'idempotency-key': 'alias' }));
  expect([(await first)!.body.id, (await again)!.headers.get('idempotent-replayed')]).toEqual([(await again)!.body.id, 'true']);
  expect((await server.api('POST', '/api/notifications', { to: ['ada'] })).status).toBe(422);
});
