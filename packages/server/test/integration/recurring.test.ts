/** Recurring events: through the API, the clock, several processes, restarts and a type that changes. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { count, eventually, nowOf } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startServer, type Reply, type TestServer } from '../harness/server.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const PATH = '/v1/recurring-events';
/** For a busy machine. */
const SETTINGS = { 'catalog.deadline': 5_000 };

let db: TestDatabase;
let server: TestServer;
let names = 0;
let user: string;

beforeAll(async () => {
  db = await freshDatabase();
  server = await startServer(SETTINGS, { on: db });
});
afterAll(async () => {
  await server.stop();
  await db.drop();
});
beforeEach(() => {
  user = `user-${++names}`;
});

const STANDUP = () => ({ name: 'Stand-up', cron: '0 * * * *', event: { to: [user], subject: 'Stand-up', channels: ['in_app'] } });
const post = (body: unknown, headers?: Record<string, string>) => server.api('POST', PATH, body, headers);
async function make(more: Record<string, unknown> = {}): Promise<Reply['body']> {
  const { status, body } = await post({ ...STANDUP(), ...more });
  expect(status, JSON.stringify(body)).toBe(201);
  return body;
}
const read = async (id: string) => (await server.api('GET', `${PATH}/${id}`)).body;
const told = async (): Promise<{ subject: string; created_at: string; event_id: string }[]> =>
  (await server.api('GET', `/v1/users/${user}/notifications`)).body.data ?? [];
const tellings = async () => (await told()).length;
async function moveTo(time: Date): Promise<void> {
  await server.moveClock(Math.max(0, time.getTime() - (await nowOf(db)).getTime()));
}
/** To a second after the next time of this series. */
async function moveToNext({ id }: { id: string }): Promise<Date> {
  const next = new Date((await read(id)).next_at);
  await moveTo(new Date(next.getTime() + 1_000));
  return next;
}
const problems = ({ status, body }: Reply) => [
  status,
  ...(body.errors ?? []).map((one: { pointer: string; code: string }) => `${one.pointer} ${one.code}`),
];

describe('a series', () => {
  test('tells again and again, each time once', async () => {
    const series = await make();
    const first = new Date(Math.ceil((await nowOf(db)).getTime() / HOUR) * HOUR);
    expect(series).toMatchObject({
      id: expect.stringMatching(/^rec_/),
      active: true,
      next_at: first.toISOString(),
      last: null,
      time_zone: 'UTC',
    });
    expect(series.next_times).toEqual([0, 1, 2, 3, 4].map((n) => new Date(first.getTime() + n * HOUR).toISOString()));
    for (const times of [1, 2, 3]) {
      const at = await moveToNext(series);
      await eventually(tellings).toBe(times);
      const now = await read(series.id);
      expect(now).toMatchObject({ last: { at: at.toISOString(), error: null }, next_at: new Date(at.getTime() + HOUR).toISOString() });
      const event = (await server.api('GET', `/v1/events/${now.last.event_id}`)).body;
      expect(event).toMatchObject({ id: (await told())[0]!.event_id, type: 'inline', status: 'routed', correlation_id: series.id });
    }
  });

  test('needs no other wake-up than its time', async () => {
    const series = await make();
    await db.moveClock(new Date(series.next_at).getTime() - (await nowOf(db)).getTime() - 300);
    await server.api('PATCH', `${PATH}/${series.id}`, { name: 'looked at again' }); // the time that is left is reckoned anew
    await eventually(tellings).toBe(1);
    await server.moveClock(0); // the process follows again
  });

  test('makes up for what was missed while nothing ran: the latest time, once', async () => {
    const series = await make();
    await server.stop();
    await db.moveClock(5 * HOUR);
    server = await startServer(SETTINGS, { on: db });
    await eventually(tellings).toBe(1);
    const hour = Math.floor((await nowOf(db)).getTime() / HOUR) * HOUR;
    expect(await read(series.id)).toMatchObject({
      last: { at: new Date(hour).toISOString() },
      next_at: new Date(hour + HOUR).toISOString(),
    });
    expect(await tellings()).toBe(1);
  });

  test('of several processes one is first, and the others leave it alone', async () => {
    const others = [await startServer({}, { on: db }), await startServer({}, { on: db })];
    try {
      const all = await Promise.all(Array.from({ length: 20 }, () => make()));
      await db.moveClock(HOUR);
      await Promise.all([server, ...others].map(({ running }) => running.catchUp()));
      await eventually(tellings).toBe(all.length);
      const ids = await Promise.all(all.map(async ({ id }) => (await read(id)).last.event_id as string));
      expect(new Set(ids).size).toBe(all.length);
      expect(await count(db, 'notifications where user_id = $1', [user])).toBe(all.length);
    } finally {
      await Promise.all(others.map((other) => other.stop()));
    }
  });

  test('made in one process is told by another, which hears of it', async () => {
    const own = await freshDatabase();
    const [door, rest] = [
      await startServer({ roles: ['api'] }, { on: own }),
      await startServer({ roles: ['router', 'delivery', 'realtime', 'scheduler'] }, { on: own }),
    ];
    try {
      await Promise.all([door, rest].map(({ running }) => running.catchUp())); // each knows of the other
      await own.moveClock(MINUTE - ((await nowOf(own)).getTime() % MINUTE) - 2_000);
      await Promise.all([door, rest].map(({ running }) => running.catchUp()));
      const made = await door.api('POST', PATH, { ...STANDUP(), cron: '* * * * *' });
      expect(made.status).toBe(201);
      const leftMs = Date.parse(made.body.next_at) - (await nowOf(own)).getTime();
      if (leftMs > 5_000) await rest.moveClock(leftMs); // the machine was busy for two seconds
      await eventually(() => count(own, 'notifications where user_id = $1', [user])).toBe(1);
    } finally {
      await Promise.all([door.stop(), rest.stop()]);
      await own.drop();
    }
  });

  test('does not begin before it starts, and ends', async () => {
    const hour = Math.ceil((await nowOf(db)).getTime() / HOUR) * HOUR;
    const series = await make({ starts_at: new Date(hour + 2 * HOUR).toISOString(), ends_at: new Date(hour + 3 * HOUR).toISOString() });
    expect(series.next_times).toEqual([2, 3].map((n) => new Date(hour + n * HOUR).toISOString()));
    await moveTo(new Date(hour + HOUR + 1_000));
    expect(await tellings()).toBe(0);
    await moveToNext(series);
    await eventually(tellings).toBe(1);
    await moveToNext(series);
    await eventually(tellings).toBe(2);
    expect(await read(series.id)).toMatchObject({ next_at: null, next_times: [] });
  });

  test('is told at the time of its zone', async () => {
    const { next_at: next } = await make({ cron: '0 9 * * *', time_zone: 'Asia/Kolkata' });
    expect(next).toMatch(/T03:30:00\.000Z$/);
  });

  test('is of the type as it is when its time comes, and says why a time has no event', async () => {
    const define = (files: Record<string, string>) => server.api('PUT', '/v1/event-types/report', { files });
    await define({ 'event.yaml': 'title: Old', 'subject.liquid': 'Old {{ data.n }}' });
    const series = await make({ event: { type: 'report', to: [user], data: { n: 7 } } });
    await define({ 'event.yaml': 'title: New', 'subject.liquid': 'New {{ data.n }}' });
    await moveToNext(series);
    await eventually(async () => (await told()).map(({ subject }) => subject)).toEqual(['New 7']);

    await define({ 'event.yaml': 'data: { type: object, required: [who] }' });
    await moveToNext(series);
    await eventually(async () => (await read(series.id)).last).toMatchObject({
      event_id: null,
      error: { code: 'invalid', detail: expect.stringContaining('/data') },
    });
    await define({ 'event.yaml': '', 'subject.liquid': 'Mended' });
    await moveToNext(series);
    await eventually(async () => (await told()).map(({ subject }) => subject)).toEqual(['Mended', 'New 7']);
    expect((await read(series.id)).last).toMatchObject({ event_id: expect.stringMatching(/^evt_/), error: null });
  });
});

describe('changes', () => {
  test('paused, it is silent and makes up for nothing; resumed, it goes on', async () => {
    const series = await make();
    expect((await server.api('PATCH', `${PATH}/${series.id}`, { active: false })).body).toMatchObject({
      active: false,
      next_at: null,
      next_times: [],
    });
    await server.moveClock(3 * HOUR);
    const { body } = await server.api('PATCH', `${PATH}/${series.id}`, { active: true });
    expect(new Date(body.next_at).getTime()).toBeGreaterThan((await nowOf(db)).getTime());
    expect(await tellings()).toBe(0);
    await moveToNext(series);
    await eventually(tellings).toBe(1);
  });

  test('of the words hold from the next time on, and leave the time alone', async () => {
    const series = await make();
    const { body } = await server.api('PATCH', `${PATH}/${series.id}`, {
      event: { to: [user], subject: 'Other words', channels: ['in_app'] },
    });
    expect(body).toMatchObject({ next_at: series.next_at, event: { subject: 'Other words' } });
    await moveToNext(series);
    await eventually(async () => (await told()).map(({ subject }) => subject)).toEqual(['Other words']);
  });

  test('of the times count from now', async () => {
    const series = await make();
    const { body } = await server.api('PATCH', `${PATH}/${series.id}`, { cron: '30 12 * * *', time_zone: 'Europe/Berlin' });
    expect(body).toMatchObject({ cron: '30 12 * * *', time_zone: 'Europe/Berlin', name: 'Stand-up' });
    expect(body.next_at).toMatch(/T1[01]:30:00\.000Z$/);
  });

  test('deleted, it tells nobody any more', async () => {
    const series = await make();
    expect((await server.api('DELETE', `${PATH}/${series.id}`)).status).toBe(204);
    expect((await server.api('GET', `${PATH}/${series.id}`)).status).toBe(404);
    expect((await server.api('DELETE', `${PATH}/${series.id}`)).status).toBe(404);
    await server.moveClock(2 * HOUR);
    expect(await tellings()).toBe(0);
  });

  test('a user who is erased is taken out; a series of his alone ends', async () => {
    const alone = await make({ event: { to: [{ user_id: user, email: 'gone@example.org' }], subject: 's' } });
    const shared = await make({ event: { to: [user, 'bob'], subject: 's', channels: ['in_app'] } });
    await server.api('PUT', `/v1/users/${user}`, {});
    expect((await server.api('DELETE', `/v1/users/${user}`)).status).toBe(204);
    expect((await server.api('GET', `${PATH}/${alone.id}`)).status).toBe(404);
    expect((await read(shared.id)).event).toMatchObject({ to: ['bob'] });
    await server.api('DELETE', `${PATH}/${shared.id}`);
  });
});

describe('the API', () => {
  test('lists the newest first', async () => {
    const [first, second] = [await make({ name: 'first' }), await make({ name: 'second' })];
    const { body } = await server.api('GET', `${PATH}?limit=2`);
    expect(body.data.map(({ id }: { id: string }) => id)).toEqual([second.id, first.id]);
    expect(body).toMatchObject({ has_more: true });
    const next = await server.api('GET', `${PATH}?limit=1&after=${(await server.api('GET', `${PATH}?limit=1`)).body.next_cursor}`);
    expect(next.body.data.map(({ id }: { id: string }) => id)).toEqual([first.id]);
  });

  test('takes an Idempotency-Key', async () => {
    const key = { 'idempotency-key': `key of ${user}` };
    const [one, again] = [await post(STANDUP(), key), await post(STANDUP(), key)];
    expect(again.body.id).toBe(one.body.id);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect((await post({ ...STANDUP(), name: 'other' }, key)).body).toMatchObject({ code: 'idempotency_mismatch' });
  });

  test.each<[string, Record<string, unknown>, string]>([
    ['no expression', { cron: 'hourly' }, '/cron invalid_cron'],
    ['a zone that is none', { time_zone: 'Europe/Nowhere' }, '/time_zone invalid_time_zone'],
    [
      'a time of its own',
      { event: { to: ['ada'], subject: 's', scheduled_for: '2030-01-01T00:00:00Z' } },
      '/event/scheduled_for unknown_field',
    ],
    ['nothing to say', { event: { to: ['ada'] } }, '/event/type required'],
    ['nobody to tell', { event: { subject: 's' } }, '/event/to required'],
    ['a channel that is none', { event: { to: ['ada'], subject: 's', channels: ['pigeon'] } }, '/event/channels/0 invalid_value'],
    ['an end before its start', { starts_at: '2030-01-02T00:00:00Z', ends_at: '2030-01-01T00:00:00Z' }, '/ends_at schedule_invalid'],
    ['an end that has passed', { ends_at: '2020-01-01T00:00:00Z' }, '/ends_at schedule_invalid'],
    ['a day that never comes', { cron: '0 9 31 4 *' }, '/cron schedule_invalid'],
    ['an unknown field', { every: '1h' }, '/every unknown_field'],
  ])('refuses %s', async (_, more, problem) => {
    expect(problems(await post({ ...STANDUP(), ...more }))).toEqual([422, problem]);
  });

  test('refuses more than a thousand of a tenant', async () => {
    const { body } = await server.api('POST', '/v1/tenants', { id: 'many' });
    await db.query(
      `insert into carillon.recurring_events (tenant_id, id, name, content, cron, time_zone, active)
       select 'many', gen_random_uuid(), 'n', '{}', '@daily', 'UTC', false from generate_series(1, 999)`,
    );
    const authorization = { authorization: `Bearer ${body.api_key.key}` };
    expect((await post(STANDUP(), authorization)).status).toBe(201);
    expect(await post(STANDUP(), authorization)).toMatchObject({ status: 409, body: { code: 'conflict' } });
  });

  test('a change that leaves no time, or that its type refuses, is refused and changes nothing', async () => {
    await server.api('PUT', '/v1/event-types/strict', { files: { 'event.yaml': 'data: { type: object, required: [n] }' } });
    const series = await make();
    const patch = (body: unknown) => server.api('PATCH', `${PATH}/${series.id}`, body);
    expect(problems(await patch({ ends_at: '2020-01-01T00:00:00Z' }))).toEqual([422, '/ends_at schedule_invalid']);
    expect(problems(await patch({ event: { type: 'strict', to: ['ada'] } }))[1]).toMatch(/^\/event\/data/);
    expect(await read(series.id)).toEqual(series);
  });
});
