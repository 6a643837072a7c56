/** Accepting through the front door: what a 202 promises, and what repeats are told. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { count, eventState, eventually } from '../harness/core.ts';
import { startServer, type Reply, type TestServer } from '../harness/server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

const EVENTS = '/v1/events';
const eventFor = (userId: string, more: Record<string, unknown> = {}) => ({ type: 'disk.full', to: [userId], ...more });
const keyed = (key: string) => ({ 'idempotency-key': key });
const post = (body: unknown, key?: string, { api }: Pick<TestServer, 'api'> = server) =>
  api('POST', EVENTS, body, key === undefined ? {} : keyed(key));
const postBatch = (items: unknown[], key?: string) => server.api('POST', `${EVENTS}/batch`, items, key === undefined ? {} : keyed(key));
const ofType = (type: string) => count(server.db, 'events where type = $1', [type]);
const repeats = (replies: readonly Reply[]) => replies.filter(({ headers }) => headers.get('idempotent-replayed') === 'true');

describe('a request with a key', () => {
  test('that is refused for its body leaves none of its items behind', async () => {
    await postBatch([eventFor('kept', { type: 'kept' })], 'refused-batch');
    const items = [eventFor('unlucky', { type: 'unlucky', idempotency_key: 'item-of-refused' })];
    expect((await postBatch(items, 'refused-batch')).status).toBe(422);
    const { body } = await postBatch(items);
    expect(body.results).toMatchObject([{ duplicate: false }]);
    expect(await ofType('unlucky')).toBe(1);
  });

  test('a hundred at once are one event, and the others are told so', async () => {
    const replies = await Promise.all(Array.from({ length: 100 }, () => post(eventFor('raced', { type: 'raced' }), 'raced')));
    expect(replies.map(({ status }) => status)).toEqual(Array<number>(100).fill(202));
    expect(new Set(replies.map(({ body }) => body.id)).size).toBe(1);
    expect(repeats(replies)).toHaveLength(99);
    expect(replies.filter(({ body }) => body.duplicate === true)).toEqual(repeats(replies));
    expect(await ofType('raced')).toBe(1);
    expect(await count(server.db, "notifications where user_id = 'raced'")).toBe(1);
  });

  test('another body is refused, whether it comes later or at the same time', async () => {
    const [first, ...others] = await Promise.all(
      [1, 2, 3].map((n) => post(eventFor('mismatched', { type: 'mismatched', data: { n } }), 'mismatched')),
    );
    expect(first!.status).toBe(202);
    for (const other of [...others, await post(eventFor('somebody else'), 'mismatched')]) {
      expect(other.status).toBe(422);
      expect(other.body).toMatchObject({ code: 'idempotency_mismatch', retryable: false });
    }
    expect((await post(eventFor('mismatched', { type: 'mismatched', data: { n: 1 } }), 'mismatched')).body).toEqual({
      id: first!.body.id,
      duplicate: true,
    });
    expect(await ofType('mismatched')).toBe(1);
  });

  test('repeats among new requests cost these nothing: each is accepted once, and told at once', async () => {
    await post(eventFor('first', { type: 'mixed', data: { n: 0 } }), 'mixed-0');
    const replies = await Promise.all(
      Array.from({ length: 40 }, (_, n) => post(eventFor('mixed', { type: 'mixed', data: { n } }), `mixed-${n % 30}`)),
    );
    // Of the keys 0 to 9 the second request has another body, and the one sent before makes a mismatch of both with key 0.
    expect(replies.map(({ status }) => status)).toEqual(replies.map((_, n) => (n === 0 || n >= 30 ? 422 : 202)));
    expect(await ofType('mixed')).toBe(30);
    expect(await count(server.db, "notifications where type = 'mixed'")).toBe(30);
  });

  test('the same key on another path is another key', async () => {
    const told = { to: ['pathed'], subject: 'Hello' };
    expect((await post(eventFor('pathed', { type: 'pathed' }), 'pathed')).body.duplicate).toBe(false);
    expect((await server.api('POST', '/v1/notifications', told, keyed('pathed'))).body.duplicate).toBe(false);
  });

  test('two processes race for it: one event', async () => {
    const other = await startServer({}, { on: server.db });
    try {
      for (let round = 0; round < 10; round++) {
        const body = eventFor('of two', { type: `two-${round}` });
        const replies = await Promise.all(Array.from({ length: 10 }, (_, n) => post(body, `two-${round}`, n % 2 ? server : other)));
        expect(replies.map(({ status }) => status)).toEqual(Array<number>(10).fill(202));
        expect(repeats(replies)).toHaveLength(9);
        expect(new Set(replies.map(({ body: { id } }) => id)).size).toBe(1);
        expect(await ofType(`two-${round}`)).toBe(1);
      }
    } finally {
      await other.stop();
    }
  });

  test('a failure of ours is not kept: the repeat is done', async () => {
    await server.db.query(`
      create function carillon.test_refuse() returns trigger language plpgsql as $$ begin raise 'planted'; end $$;
      create trigger test_refuse before insert on carillon.events for each row when (new.type = 'refused') execute function carillon.test_refuse()`);
    const failed = await post(eventFor('refused', { type: 'refused' }), 'refused');
    expect(failed.status).toBe(500);
    expect(failed.headers.get('content-type')).toContain('application/problem+json');
    expect(await count(server.db, "idempotency_keys where key = 'refused'")).toBe(0);

    await server.db.query('drop trigger test_refuse on carillon.events');
    const again = await post(eventFor('refused', { type: 'refused' }), 'refused');
    expect(again).toMatchObject({ status: 202, body: { duplicate: false } });
    expect(again.headers.has('idempotent-replayed')).toBe(false);
    expect(await ofType('refused')).toBe(1);
  });
});

describe("items' own keys", () => {
  test('a repeat inside one batch, and in a later one, is the same event', async () => {
    const item = (n: number, key: string) => eventFor('item', { type: 'itemised', data: { n }, idempotency_key: key });
    const { body } = await postBatch([item(1, 'item-1'), item(2, 'item-2'), item(1, 'item-1'), item(3, 'item-2')]);
    const [first, second] = body.results;
    expect(body.results).toEqual([
      { id: first.id, duplicate: false },
      { id: second.id, duplicate: false },
      { id: first.id, duplicate: true },
      { error: expect.objectContaining({ code: 'idempotency_mismatch', status: 422 }) },
    ]);
    const later = await postBatch([item(2, 'item-2'), item(4, 'item-4'), item(9, 'item-1')]);
    expect(later.body.results).toEqual([
      { id: second.id, duplicate: true },
      { id: expect.stringMatching(/^evt_/), duplicate: false },
      { error: expect.objectContaining({ code: 'idempotency_mismatch' }) },
    ]);
    expect(await ofType('itemised')).toBe(3);
  });

  test('batches that share items, at once: each item once', async () => {
    const items = Array.from({ length: 40 }, (_, n) => eventFor('shared', { type: 'shared', data: { n }, idempotency_key: `shared-${n}` }));
    const batches = Array.from({ length: 12 }, (_, n) => [...items.slice(n), ...items.slice(0, n)]);
    const replies = await Promise.all(batches.map((batch) => postBatch(batch)));
    const results = replies.flatMap(({ body }) => body.results);
    expect(results).toHaveLength(480);
    expect(results.filter(({ duplicate }) => duplicate === false)).toHaveLength(40);
    expect(new Set(results.map(({ id }) => id)).size).toBe(40);
    expect(await ofType('shared')).toBe(40);
  });
});

test("a batch's key covers its results, errors included, word for word, even when a schedule has passed since", async () => {
  const soon = new Date(Date.now() + 3_600_000).toISOString();
  const items = [
    eventFor('later', { type: 'covered', scheduled_for: soon, expires_at: new Date(Date.now() + 5_400_000).toISOString() }),
    { type: 'covered' },
    eventFor('now', { type: 'covered', severity: 'unheard of' }),
    eventFor('now', { type: 'covered', idempotency_key: 'covered-item' }),
    eventFor('now', { type: 'covered', idempotency_key: 'covered-item' }),
  ];
  const first = await postBatch(items, 'covered');
  expect(first.status).toBe(202);
  expect(first.body.results.map((result: object) => 'error' in result)).toEqual([false, true, true, false, false]);

  await server.moveClock(7_200_000);
  const second = await postBatch(items, 'covered');
  expect(second.headers.get('idempotent-replayed')).toBe('true');
  const repeated = first.body.results.map((result: object) => ('error' in result ? result : { ...result, duplicate: true }));
  expect(second.body).toEqual({ results: repeated });
  expect((await postBatch(items.slice(1), 'covered')).body.code).toBe('idempotency_mismatch');
  expect(await ofType('covered')).toBe(2);
});

describe('routing that throws', () => {
  test('is accepted all the same, waits apart from its neighbours, and is routed once it can be', async () => {
    await server.db.query(`
      create function carillon.test_curse() returns trigger language plpgsql as $$ begin raise 'planted'; end $$;
      create trigger test_curse before insert on carillon.notifications for each row when (new.user_id = 'cursed') execute function carillon.test_curse()`);
    const users = Array.from({ length: 30 }, (_, n) => (n === 7 ? 'cursed' : `neighbour-${n}`));
    const replies = await Promise.all(users.map((user) => post(eventFor(user))));
    expect(replies.map(({ status }) => status)).toEqual(Array<number>(30).fill(202));
    expect(new Set(replies.map(({ body }) => body.id)).size).toBe(30);
    const cursed = replies[7]!.body.id;
    await eventually(() => count(server.db, "notifications where user_id like 'neighbour-%'")).toBe(29);
    await eventually(() => count(server.db, 'events where failures > 0')).toBe(1);

    const scheduled = { scheduled_for: new Date((await dbNow()) + 60_000).toISOString() };
    const behind = await post(eventFor('behind it', scheduled));
    await server.moveClock(120_000);
    await eventually(() => eventState(server.db, behind.body.id)).toBe('routed');
    expect(await eventState(server.db, cursed)).toBe('accepted');

    await server.db.query('drop trigger test_curse on carillon.notifications');
    await server.moveClock(3_700_000);
    await eventually(() => eventState(server.db, cursed)).toBe('routed');
    expect(await count(server.db, "notifications where user_id = 'cursed'")).toBe(1);
  });
});

async function dbNow(): Promise<number> {
  const [row] = await server.db.query<{ now: Date }>('select carillon.now() as now');
  return row!.now.getTime();
}
