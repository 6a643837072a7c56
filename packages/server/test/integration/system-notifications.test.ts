/** System notifications (A5): to named users, roles or whoever is active; counted as they are made, and stopped by nobody's mistake. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const DAY = 86_400_000;

let db: TestDatabase;
let server: TestServer;
beforeAll(async () => {
  db = await freshDatabase();
  server = await startServer({ 'throttle.max_per_window': 1 }, { on: db });
});
afterAll(async () => {
  await server.stop();
  await db.drop();
});

async function tell(item: Record<string, unknown>): Promise<string> {
  const { status, body } = await server.api('POST', '/v1/notifications', { subject: 'Maintenance at eight', tags: ['system'], ...item });
  expect(status).toBe(202);
  return body.id;
}

async function report(item: Record<string, unknown>): Promise<string> {
  const { status, body } = await server.api('POST', '/v1/events', item);
  expect(status).toBe(202);
  return body.id;
}

async function progressOf(id: string) {
  await eventually(async () => (await server.api('GET', `/v1/events/${id}`)).body.status).toBe('routed');
  const { progress } = (await server.api('GET', `/v1/events/${id}`)).body;
  expect((await server.api('GET', `/v1/events/${id}/progress`)).body).toEqual({ id, status: 'routed', progress });
  return progress;
}

const put = (id: string, profile: Record<string, unknown>) => server.api('PUT', `/v1/users/${id}`, profile);
const of = (created: number, { failed = 0, throttled = 0, skipped = 0 } = {}) => {
  const all = created + failed + throttled + skipped;
  return { total_users: all, decided_users: all, created, failed, throttled, skipped };
};

describe('A5 the caller is told how many users there are, and what became of each', () => {
  test('A5 of named users', async () => {
    await put('left', { active: false });
    expect(await progressOf(await tell({ to: ['ada', 'bob', 'left'], severity: 'low' }))).toEqual(of(2, { skipped: 1 }));
    expect(await progressOf(await tell({ to: ['ada', 'eve'], severity: 'low' }))).toEqual(of(1, { throttled: 1 }));
  });

  test('A5 of all users with given roles', async () => {
    await Promise.all([put('r1', { roles: ['owner'] }), put('r2', { roles: ['admin', 'owner'] }), put('r3', { roles: ['member'] })]);
    const roles = [{ role: 'owner' }, { role: 'admin' }];
    expect(await progressOf(await tell({ to: [...roles, 'r1'] }))).toEqual(of(2));
    expect(await progressOf(await tell({ to: [...roles, 'named-beside'], exclude: ['r2'] }))).toEqual(of(1, { throttled: 1, skipped: 1 }));
  });

  test('A5 of every user active in the last 30 days', async () => {
    const { now } = (await db.query<{ now: Date }>('select carillon.now() as now'))[0]!;
    const ago = (ms: number) => ({ last_active_at: new Date(now.getTime() - ms).toISOString() });
    await Promise.all([put('d29', ago(29 * DAY)), put('d31', ago(31 * DAY)), put('d1', { ...ago(DAY), active: false }), put('never', {})]);
    const id = await tell({ to: [{ active_within: '30d' }], severity: 'high' });
    expect(await progressOf(id)).toEqual(of(1, { skipped: 1 }));
    const { body } = await server.api('GET', `/v1/events/${id}`);
    expect(body.notifications.map((one: { user_id: string }) => one.user_id)).toEqual(['d29']);
  });

  test('A5 nothing is said before it has begun', async () => {
    const { now } = (await db.query<{ now: Date }>('select carillon.now() as now'))[0]!;
    const id = await tell({ to: [{ all: true }], scheduled_for: new Date(now.getTime() + DAY).toISOString() });
    expect((await server.api('GET', `/v1/events/${id}`)).body.progress).toBeNull();
    await server.api('POST', `/v1/events/${id}/cancel`);
    expect((await server.api('GET', `/v1/events/${id}`)).body.progress).toBeNull();
  });
});

describe('A4 a system notification', () => {
  const toAll = (role: string, item: Record<string, unknown> = {}) => tell({ to: [{ role }], tags: [], ...item });

  test.each(['high', 'urgent'])('A4 of severity %s is exempt from the throttle without being told so', async (severity) => {
    await put(`exempt-${severity}`, { roles: [severity] });
    for (let time = 0; time < 3; time++) expect(await progressOf(await toAll(severity, { severity }))).toEqual(of(1));
    expect((await server.api('GET', `/v1/users/exempt-${severity}/throttle`)).body.data).toEqual([]);
  });

  test('A4 that is not exempt counts once, on however many channels', async () => {
    await put('once', { roles: ['once'], email: 'once@example.org' });
    expect(await progressOf(await toAll('once', { channels: ['in_app', 'email'] }))).toEqual(of(1));
    expect((await server.api('GET', '/v1/users/once/throttle')).body.data).toMatchObject([{ bucket: 'severity medium', count: 1 }]);
    expect(await progressOf(await toAll('once'))).toEqual(of(0, { throttled: 1 }));
  });

  test('A4 says by its own flag whether it is exempt', async () => {
    await put('flagged', { roles: ['flagged'] });
    const exempt = { severity: 'low', throttle_exempt: true };
    for (let time = 0; time < 2; time++) expect(await progressOf(await toAll('flagged', exempt))).toEqual(of(1));
    const counted = { severity: 'urgent', throttle_exempt: false };
    expect(await progressOf(await toAll('flagged', counted))).toEqual(of(1));
    expect(await progressOf(await toAll('flagged', counted))).toEqual(of(0, { throttled: 1 }));
  });
});

describe('A5 one failing user never stops the others', () => {
  const skipsOf = async (id: string) =>
    (await server.api('GET', `/v1/events/${id}`)).body.skipped.map((one: { user_id: string; reason: string }) => [one.user_id, one.reason]);

  test('A5 whose stored preferences can’t be read', async () => {
    const hours = { enabled: true, start: '00:00', end: '00:00', time_zone: 'Nowhere/Land' };
    for (const id of ['q1', 'q2', 'q3']) await put(id, { roles: ['quiet'], email: `${id}@example.org` });
    await db.query("update carillon.users set preferences = $1 where id = 'q2'", [JSON.stringify({ quiet_hours: hours })]);
    for (const to of [[{ role: 'quiet' }], ['q1', 'q2', 'q3']]) {
      const id = await tell({ to, channels: ['in_app', 'email'], severity: 'high' });
      expect(await progressOf(id)).toEqual(of(2, { failed: 1 }));
      expect(await skipsOf(id)).toEqual([['q2', 'decision_failed']]);
    }
    expect(server.logs.filter(({ event }) => event === 'router.decision-failed').map(({ fields }) => fields.userId)).toContain('q2');
  });

  test('A5 for whom a template runs away, among more than one order of its thread', async () => {
    const loop = '{% for a in (1..3000) %}{% for b in (1..3000) %}{% for c in (1..3000) %}{% endfor %}{% endfor %}{% endfor %}';
    const files = { 'event.yaml': '', 'in_app.liquid': `{% if user.attributes.slow %}${loop}{% endif %}Hello {{ user.id }}` };
    expect((await server.api('PUT', '/v1/event-types/system.notice', { files })).status).toBe(200);
    await db.query(
      "insert into carillon.users (tenant_id, id, roles, attributes) select 'default', 'slow-' || n, '{slow}', jsonb_build_object('slow', n = 60) from generate_series(1, 120) n",
    );
    const id = await report({ type: 'system.notice', to: [{ role: 'slow' }], tags: ['system'], severity: 'high' });
    expect(await progressOf(id)).toEqual(of(119, { failed: 1 }));
    expect(await skipsOf(id)).toEqual([['slow-60', 'template_failed']]);
    const [told] = await db.query<{ body: string }>(
      "select body from carillon.notifications where user_id = 'slow-61' and type = 'system.notice'",
    );
    expect(told!.body).toBe('Hello slow-61');
  });

  test('A5 for whom a template makes what the database does not take', async () => {
    const files = { 'event.yaml': '', 'in_app.liquid': '{% if user.id == "n2" %}{{ "a\\u0000b" }}{% endif %}.' };
    expect((await server.api('PUT', '/v1/event-types/system.nul', { files })).status).toBe(200);
    for (const id of ['n1', 'n2', 'n3']) await put(id, { roles: ['nul'] });
    expect(await progressOf(await report({ type: 'system.nul', to: [{ role: 'nul' }], tags: ['system'], severity: 'high' }))).toEqual(
      of(3),
    );
  });
});
