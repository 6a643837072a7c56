import { afterEach, beforeEach, expect, test } from 'vitest';
import { insertNotifications } from '../../src/store/notifications.ts';
import { changeItem, readAll } from '../../src/store/inbox-changes.ts';
import {
  inboxServer,
  itemIds,
  lastId,
  notificationFor,
  readStream,
  type InboxServer,
  type StreamReader,
  MAX_STALL_MS,
} from '../harness/inbox.ts';

let server: InboxServer;
beforeEach(async () => {
  server = await inboxServer();
});
afterEach(() => server.close());

async function open(userId: string, options: { after?: number | string; cutAfter?: number; read?: boolean } = {}): Promise<StreamReader> {
  const { after, ...rest } = options;
  const headers: Record<string, string> = { authorization: `Bearer ${await server.tokenOf(userId)}` };
  if (after !== undefined) headers['last-event-id'] = String(after);
  return readStream(server.port, { headers, ...rest });
}

const counted = (stream: StreamReader) => expect.poll(() => stream.frames.filter(({ event }) => event === 'counts').length);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

test('a stream starts at the current number and tells what comes after it', async () => {
  await server.tell('ada', 3);
  const stream = await open('ada');
  expect(stream.status).toBe(200);
  expect(stream.headers).toMatchObject({ 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
  await counted(stream).toBe(1);
  expect(stream.frames.slice(0, 3)).toEqual([{ retry: '2000' }, { id: '3' }, { event: 'counts', data: { unread_count: 3, total: 3 } }]);

  await server.tell('ada', 1, { subject: 'Zürich\n\u2028"x"', tags: ['a'], severity: 'urgent' });
  await counted(stream).toBe(2);
  const [item, counts] = stream.frames.slice(3);
  expect(item).toMatchObject({
    event: 'notification',
    id: '4',
    data: { sequence: 4, severity: 'urgent', tags: ['a'], read_at: null, deleted_at: null },
  });
  expect(item?.data.id).toMatch(/^ntf_/);
  expect(counts).toEqual({ event: 'counts', data: { unread_count: 4, total: 4 } });
});

test('other users and tenants hear nothing', async () => {
  const streams = [
    await open('bob'),
    await readStream(server.port, { headers: { authorization: `Bearer ${await server.tokenOf('ada', 'other')}` } }),
  ];
  for (const stream of streams) await counted(stream).toBe(1);
  await server.tell('ada', 1);
  await server.tell('bob', 1);
  await counted(streams[0]!).toBe(2);
  expect(itemIds(streams[0]!.frames)).toEqual([1]);
  expect(itemIds(streams[1]!.frames)).toEqual([]);
});

test.each([0, 1, 2, 3, 4])('cut at a random byte, 500 events meanwhile: on reconnect each one, in order, once (%i)', async () => {
  const cutAfter = 60 + Math.floor(Math.random() * 4_000);
  const stream = await open('ada', { cutAfter });
  await expect.poll(() => lastId(stream.frames)).toBe('0'); // it has begun
  let told = 0;
  while (!stream.ended()) {
    await server.tell('ada', 1);
    told++;
  }
  await Promise.all(Array.from({ length: 100 }, (_, index) => server.tell('ada', 1 + (index % 9))));
  const total = told + 100 + range(0, 99).reduce((sum, index) => sum + (index % 9), 0);

  const seen = itemIds(stream.frames);
  const again = await open('ada', { after: lastId(stream.frames) || 0 });
  await expect.poll(() => itemIds(again.frames).length + seen.length, { timeout: 10_000 }).toBe(total);
  expect([...seen, ...itemIds(again.frames)]).toEqual(range(1, total));
  expect(again.frames.some(({ event }) => event === 'update')).toBe(false);
  await counted(again).toBeGreaterThan(0);
  expect(again.frames.at(-1)?.data).toEqual({ unread_count: total, total });
});

test('replay has each row once, at its last change: new ones as notification, others as update, tombstones included', async () => {
  const {
    items: [first, second],
  } = await server.tell('ada', 2);
  const {
    items: [third],
  } = await server.tell('ada', 1);
  const verb = (id: string, name: 'read' | 'archive' | 'delete') =>
    server.db.database.asTenant('acme', (tx) => changeItem(tx, { tenantId: 'acme', userId: 'ada', id, verb: name }));
  await verb(first!.id, 'read');
  await verb(first!.id, 'archive');
  await verb(third!.id, 'delete');

  const stream = await open('ada', { after: 2 });
  await counted(stream).toBe(1);
  const seen = stream.frames
    .filter(({ data }) => data?.id !== undefined)
    .map(({ event, id, data }) => [event, id, data.archived_at !== null, data.deleted_at !== null]);
  expect(seen).toEqual([
    ['update', '5', true, false],
    ['notification', '6', false, true],
  ]);
  expect(stream.frames.at(-1)?.data).toEqual({ unread_count: 1, total: 2 });
  expect(second!.sequence).toBe(2);
});

test('two commits published in reverse arrive in order', async () => {
  const stream = await open('ada');
  await counted(stream).toBe(1);
  const commit = () => server.db.database.transaction((tx) => insertNotifications(tx, [notificationFor('ada')]));
  const [first] = await commit();
  const [second] = await commit();
  server.feed.publish([second!]);
  server.feed.publish([first!]);
  await expect.poll(() => itemIds(stream.frames).length).toBe(2);
  await server.tell('ada', 1);
  await expect.poll(() => itemIds(stream.frames)).toEqual([1, 2, 3]);
});

test('several streams of a user at different numbers get each their part', async () => {
  await server.tell('ada', 30);
  const streams = await Promise.all([undefined, 0, 10, 30, 25].map((after) => open('ada', after === undefined ? {} : { after })));
  for (const stream of streams) await counted(stream).toBe(1);
  await Promise.all(range(1, 10).map(() => server.tell('ada', 2)));
  const starts = [31, 1, 11, 31, 26];
  for (const [index, stream] of streams.entries()) {
    await expect.poll(() => itemIds(stream.frames).at(-1)).toBe(50);
    expect(itemIds(stream.frames).slice(-20)).toEqual(range(31, 50));
    if (index > 0) expect(itemIds(stream.frames)).toEqual(range(starts[index]!, 50));
  }
});

test('what another process committed arrives after a hint, or with the next look', async () => {
  const stream = await open('ada');
  await counted(stream).toBe(1);
  const commit = () => server.db.database.transaction((tx) => insertNotifications(tx, [notificationFor('ada')]));
  await commit();
  server.feed.look('acme', 'ada');
  await expect.poll(() => itemIds(stream.frames)).toEqual([1]);
  await commit();
  await server.feed.lookAll();
  await expect.poll(() => itemIds(stream.frames)).toEqual([1, 2]);
});

const toldToReload: [name: string, after: string, prepare: () => Promise<unknown>][] = [
  [
    'below the floor',
    '4',
    async () => {
      await server.tell('ada', 5);
      await server.db.query("update carillon.inbox set floor = 5 where user_id = 'ada'");
    },
  ],
  ['ahead of the user', '9', () => server.tell('ada', 3)],
  ['after more than 1,000 changes', '0', () => server.tell('ada', 1_001)],
  [
    'after a read-all of more than 1,000',
    '1000',
    async () => {
      await server.tell('ada', 1_001);
      await server.db.database.asTenant('acme', (tx) => readAll(tx, { tenantId: 'acme', userId: 'ada' }));
    },
  ],
  ['with an id that is no number', 'abc', () => server.tell('ada', 3)],
];
test.each(toldToReload)('resync: a stream that resumes %s', async (_name, after, prepare) => {
  await prepare();
  const [{ sequence }] = (await server.db.query<{ sequence: number }>(
    "select sequence::int from carillon.inbox where user_id = 'ada'",
  )) as [{ sequence: number }];
  const stream = await open('ada', { after });
  await counted(stream).toBe(1);
  expect(stream.frames[1]).toEqual({ event: 'resync', id: String(sequence), data: { sequence } });
  await server.tell('ada', 1);
  await expect.poll(() => itemIds(stream.frames)).toEqual([sequence + 1]);
});

test('1,000 changes are still replayed, over several pages', async () => {
  await server.tell('ada', 1_000);
  const stream = await open('ada', { after: 0 });
  await expect.poll(() => itemIds(stream.frames)).toEqual(range(1, 1_000));
});

test('a reader that stops reading is cut, and the others do not notice', async () => {
  const stalled = await open('ada', { read: false });
  const reading = await open('ada');
  await counted(reading).toBe(1);
  const body = 'x'.repeat(100_000);
  let told = 0;
  // The kernel takes some megabytes before anything stays here.
  while (told < 200 && !server.logged.some(({ event }) => event === 'stream.cut')) {
    await server.tell('ada', 1, { body });
    told++;
    await expect.poll(() => itemIds(reading.frames).length).toBe(told);
    if (told % 10 !== 0) continue;
    server.feed.beat();
    server.moveTime(MAX_STALL_MS + 1);
    server.feed.beat();
  }
  expect(server.logged.filter(({ event }) => event === 'stream.cut')).toHaveLength(1);
  expect(server.logged.find(({ event }) => event === 'stream.cut')?.fields.unsent).toBeLessThan(256 * 1024 + 2 * body.length);
  await expect.poll(() => server.feed.size()).toBe(1);
  stalled.cut();
  await server.tell('ada', 1);
  await expect.poll(() => itemIds(reading.frames)).toEqual(range(1, told + 1));
});

test('a slow reader gets everything, in order, once', async () => {
  const slow = await open('ada', { read: false, after: 0 });
  const body = 'x'.repeat(100_000);
  for (let told = 0; told < 80; told++) await server.tell('ada', 1, { body });
  let text = '';
  slow.response.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  await expect
    .poll(() => [...text.matchAll(/^event: notification\nid: (\d+)$/gm)].map(([, id]) => Number(id)), { timeout: 10_000 })
    .toEqual(range(1, 80));
});

test('silence is broken by a heartbeat every 20 s', async () => {
  const stream = await open('ada');
  await counted(stream).toBe(1);
  server.moveTime(19_000);
  server.feed.beat();
  server.moveTime(2_000);
  server.feed.beat();
  await expect
    .poll(
      () =>
        stream
          .text()
          .split('\n')
          .filter((line) => line === ':').length,
    )
    .toBe(1);
});

test('a stream ends with its token', async () => {
  const { token } = await server.tokens.mint({ tenantId: 'acme', userId: 'ada', ttlSeconds: 60 });
  const stream = await readStream(server.port, { headers: { authorization: `Bearer ${token}` } });
  const other = await open('ada');
  await counted(stream).toBe(1);
  server.moveTime(61_000);
  server.feed.beat();
  await expect.poll(() => stream.ended()).toBe(true);
  expect(other.ended()).toBe(false);
  expect((await readStream(server.port, { headers: { authorization: `Bearer ${token}` } })).status).toBe(401);
});

test('drain sends everyone away, to come again at times of their own, and so is who comes later', async () => {
  const streams = await Promise.all(range(1, 20).map((index) => open(`user${index}`)));
  for (const stream of streams) await counted(stream).toBe(1);
  await server.feed.drain();
  for (const stream of streams) await expect.poll(() => stream.ended()).toBe(true);
  const retries = streams.map(({ frames }) => Number(frames.at(-1)?.retry));
  expect(retries.every((ms) => ms >= 1_000 && ms <= 10_000)).toBe(true);
  expect(new Set(retries).size).toBeGreaterThan(10);
  const late = await open('ada');
  expect(late.status).toBe(200);
  await expect.poll(() => late.ended()).toBe(true);
  expect(Number(late.frames.at(-1)?.retry)).toBeGreaterThanOrEqual(1_000);
  expect(server.feed.size()).toBe(0);
});

test('a ticket is good once', async () => {
  const answer = await server.app.inject({
    method: 'POST',
    url: '/v1/inbox/stream-ticket',
    headers: { authorization: `Bearer ${await server.tokenOf('ada')}` },
  });
  expect(answer.statusCode).toBe(201);
  const { ticket } = answer.json<{ ticket: string }>();
  const path = `/v1/inbox/stream?ticket=${ticket}`;
  const answers = await Promise.all(range(1, 5).map(() => readStream(server.port, { path })));
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 401, 401, 401, 401]);
  const stream = answers.find(({ status }) => status === 200)!;
  await counted(stream).toBe(1);
  await server.tell('ada', 1);
  await expect.poll(() => itemIds(stream.frames)).toEqual([1]);
});

test('a ticket is good for a minute, for nothing else, and a token is no ticket', async () => {
  const user = { tenantId: 'acme', userId: 'ada', expiresAt: new Date(Date.now() + 3_600_000) };
  const { ticket } = await server.tokens.mintTicket(user);
  const list = await server.app.inject({ url: '/v1/inbox', headers: { authorization: `Bearer ${ticket}` } });
  expect(list.statusCode).toBe(401);
  expect((await readStream(server.port, { path: `/v1/inbox/stream?ticket=${await server.tokenOf('ada')}` })).status).toBe(401);
  server.moveTime(61_000);
  expect((await readStream(server.port, { path: `/v1/inbox/stream?ticket=${ticket}` })).status).toBe(401);
});

test('opening a stream shows that the user is active', async () => {
  await server.db.query("insert into carillon.users (tenant_id, id) values ('acme', 'ada')");
  await open('ada');
  await expect
    .poll(async () => (await server.db.query('select last_active_at from carillon.users where last_active_at is not null')).length)
    .toBe(1);
});

test('while the database is away a stream is not refused for good, and an open one misses nothing', async () => {
  const stream = await open('ada');
  await counted(stream).toBe(1);
  const token = await server.tokenOf('bob');
  server.setAway(true);
  const refused = await readStream(server.port, { headers: { authorization: `Bearer ${token}` } });
  expect(refused.status).toBe(200);
  await expect.poll(() => refused.ended()).toBe(true);
  expect(Number(refused.frames.at(-1)?.retry)).toBeGreaterThanOrEqual(2_000);

  await server.db.database.transaction((tx) => insertNotifications(tx, [notificationFor('ada')]));
  server.feed.look('acme', 'ada');
  await expect.poll(() => server.logged.map(({ event }) => event)).toContain('stream.catch-up-failed');
  server.setAway(false);
  await expect.poll(() => itemIds(stream.frames), { timeout: 5_000 }).toEqual([1]);
});

test('a reader beyond the limit is sent away, to come again', async () => {
  const small = await inboxServer({ maxStreams: 1 });
  try {
    const headers = { authorization: `Bearer ${await small.tokenOf('ada')}` };
    const first = await readStream(small.port, { headers });
    const second = await readStream(small.port, { headers });
    expect(second.status).toBe(200);
    await expect.poll(() => second.ended()).toBe(true);
    expect(Number(second.frames.at(-1)?.retry)).toBeGreaterThanOrEqual(1_000);
    first.cut();
    await expect.poll(() => small.feed.size()).toBe(0);
  } finally {
    await small.close();
  }
});
