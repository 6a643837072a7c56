/** Topics: who is in them, and who is told when an event addresses one. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { audienceChunk } from '../../src/store/recipients.ts';
import { count, deliveriesOf, eventState, eventually } from '../harness/core.ts';
import { startServer, type TestServer } from '../harness/server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

const path = (topic: string, user = '') =>
  `/v1/topics/${encodeURIComponent(topic)}${user === '' ? '' : `/subscriptions/${encodeURIComponent(user)}`}`;
const join = (topic: string, userIds: string[], by = server) => by.api('POST', `${path(topic)}/subscribe`, { user_ids: userIds });
const membersOf = async (topic: string) =>
  ((await server.api('GET', `${path(topic)}/subscriptions?limit=100`)).body.data as { user_id: string }[]).map(({ user_id: id }) => id);

async function told(item: Record<string, unknown>, by = server): Promise<string[]> {
  const { status, body } = await by.api('POST', '/v1/events', { type: 'project.changed', ...item });
  expect(status).toBe(202);
  await eventually(() => eventState(by.db, body.id)).toBe('routed');
  return (await deliveriesOf(by.db, body.id)).map(({ user, channel, state, reason }) => `${user} ${channel} ${state} ${reason}`);
}

test('a user subscribes, again as often as he likes, and leaves once', async () => {
  const first = await server.api('PUT', path('project:7', 'ada'));
  expect(first).toMatchObject({ status: 200, body: { topic_id: 'project:7', user_id: 'ada' } });
  expect((await server.api('PUT', path('project:7', 'ada'))).body).toEqual(first.body);
  expect((await server.api('GET', path('project:7'))).body).toMatchObject({ id: 'project:7', subscribers: 1 });
  expect((await server.api('DELETE', path('project:7', 'ada'))).status).toBe(204);
  expect((await server.api('DELETE', path('project:7', 'ada'))).status).toBe(404);
  expect((await server.api('GET', path('project:7'))).body).toMatchObject({ subscribers: 0 });
});

test('many at once, up to a thousand', async () => {
  const many = Array.from({ length: 1_000 }, (_, n) => `many-${String(n).padStart(4, '0')}`);
  expect((await join('crowd', [...many, 'one too many'])).status).toBe(422);
  expect((await join('crowd', many)).body).toEqual({ subscribed: 1_000, unknown: [] });
  expect((await join('crowd', [many[0]!, many[0]!, 'one more'])).body).toEqual({ subscribed: 2, unknown: [] });
  expect((await server.api('GET', path('crowd'))).body.subscribers).toBe(1_001);
  const left = await server.api('POST', `${path('crowd')}/unsubscribe`, { user_ids: [...many.slice(0, 999), 'a stranger'] });
  expect(left.body).toEqual({ unsubscribed: 999 });
  expect(await membersOf('crowd')).toEqual(['many-0999', 'one more']);
  expect((await join('crowd', [])).status).toBe(422);
});

test('lists: topics, the subscribers of one, the topics of a user, page by page', async () => {
  for (const topic of ['list-a', 'list-b', 'list-c']) await join(topic, ['lister', `only-${topic}`]);
  const first = (await server.api('GET', '/v1/users/lister/topics?limit=2')).body;
  expect(first).toMatchObject({ has_more: true, data: [{ topic_id: 'list-a' }, { topic_id: 'list-b' }] });
  const rest = (await server.api('GET', `/v1/users/lister/topics?limit=2&after=${first.next_cursor}`)).body;
  expect(rest).toMatchObject({ has_more: false, data: [{ topic_id: 'list-c' }] });
  expect(await membersOf('list-b')).toEqual(['lister', 'only-list-b']);
  const topics = (await server.api('GET', '/v1/topics?limit=100')).body.data as { id: string }[];
  expect(topics.map(({ id }) => id)).toEqual(expect.arrayContaining(['list-a', 'list-b', 'list-c']));
  for (const missing of ['/v1/topics/none', '/v1/topics/none/subscriptions', '/v1/users/none/topics'])
    expect((await server.api('GET', missing)).status).toBe(404);
});

test('a topic that is deleted has no subscribers, and tells nobody', async () => {
  await join('ends', ['ends-1', 'ends-2']);
  expect((await server.api('DELETE', path('ends'))).status).toBe(204);
  expect((await server.api('DELETE', path('ends'))).status).toBe(404);
  expect(await count(server.db, "topic_subscriptions where topic_id = 'ends'")).toBe(0);
  expect(await told({ to: [{ topic: 'ends' }] })).toEqual([]);
});

test('an event tells the subscribers of its topics, each once, with whoever else it names', async () => {
  await join('t-1', ['in-1', 'in-both']);
  await join('t-2', ['in-2', 'in-both', 'asleep']);
  await server.api('PUT', '/v1/users/asleep', { active: false });
  await server.api('PUT', '/v1/users/with-role', { roles: ['t-owner'] });
  const sent = (...users: string[]) => users.map((user) => `${user} in_app delivered sent`);
  expect(await told({ to: [{ topic: 't-1' }] })).toEqual(sent('in-1', 'in-both'));
  expect(await told({ to: [{ topic: 't-1' }, 'named', { topic: 't-2' }, 'in-1'] })).toEqual([
    'asleep * skipped user_inactive',
    ...sent('in-1', 'in-2', 'in-both', 'named'),
  ]);
  expect(await told({ to: [{ topic: 't-1' }, { role: 't-owner' }, 'named'] })).toEqual(sent('in-1', 'in-both', 'named', 'with-role'));
  expect(await told({ to: [{ topic: 'of nobody' }, 'named'] })).toEqual(sent('named'));
});

test('whoever is excluded is not told, whatever names him, and it is recorded', async () => {
  await join('t-x', ['actor', 'reader']);
  expect(await told({ to: [{ topic: 't-x' }, 'actor', 'named'], exclude: ['actor', 'somebody else', 'actor'] })).toEqual([
    'actor * skipped excluded',
    'named in_app delivered sent',
    'reader in_app delivered sent',
  ]);
  expect(await told({ to: ['actor', 'reader'], exclude: ['actor'], critical: true })).toEqual([
    'actor * skipped excluded',
    'reader in_app delivered sent',
  ]);
  const { status, body } = await server.api('POST', '/v1/events', { type: 'x', to: ['a'], exclude: [{ role: 'owner' }] });
  expect([status, body.errors[0].pointer]).toEqual([422, '/exclude/0']);
});

test('an erased user is in no topic', async () => {
  await join('t-e', ['erased', 'stays']);
  expect((await server.api('DELETE', '/v1/users/erased')).status).toBe(204);
  expect(await membersOf('t-e')).toEqual(['stays']);
  expect(await told({ to: [{ topic: 't-e' }] })).toEqual(['stays in_app delivered sent']);
});

test('where users are not made by being mentioned, a stranger cannot subscribe', async () => {
  const strict = await startServer({ 'users.create': 'never' });
  await strict.api('PUT', '/v1/users/known', {});
  expect((await strict.api('PUT', path('t', 'stranger'))).status).toBe(404);
  expect((await strict.api('GET', path('t'))).status).toBe(404);
  expect((await join('t', ['known', 'stranger'], strict)).body).toEqual({ subscribed: 1, unknown: ['stranger'] });
  expect(await told({ to: [{ topic: 't' }, 'zz stranger'] }, strict)).toEqual([
    'known in_app delivered sent',
    'zz stranger * skipped user_unknown',
  ]);
  await strict.stop();
});

test('a large topic is read in chunks, in the order of ids, without gap or repeat', async () => {
  const ids = Array.from({ length: 25 }, (_, n) => `chunk-${String(n).padStart(2, '0')}`);
  await join('c-1', ids.slice(0, 20));
  await join('c-2', ids.slice(10, 24));
  await server.api('PUT', '/v1/users/chunk-24', {});
  const query = {
    tenantId: 'default',
    named: ['chunk-24', 'chunk-99'],
    roles: [],
    topics: ['c-1', 'c-2'],
    all: false,
    activeWithinMs: null,
  };
  const seen: string[][] = [];
  for (let after: string | null = null; ; ) {
    const rows = await server.db.database.transaction((tx) => audienceChunk(tx, { ...query, after, limit: 7 }));
    seen.push(rows.map(({ id }) => id));
    if (rows.length < 7) break;
    after = rows.at(-1)!.id;
  }
  expect(seen.flat()).toEqual(ids);
  expect(seen.map(({ length }) => length)).toEqual([7, 7, 7, 4]);
});
