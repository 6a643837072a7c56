/** A system notification to everybody, whose process is killed half-way, again and again: each is told once, and the counts are exact. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { endProcesses, freePort, KEY, spawnCarillon, startOutsidePostgres, type Carillon } from '../harness/process.ts';
import { FULL, report } from './scale.ts';

const USERS = FULL ? 100_000 : 5_000;
const KILLS = FULL ? 5 : 2;
/** Of a chunk, at its end: longer than the answer to a question takes, so that the kill comes while it is open. */
const LINGER_S = FULL ? 0.05 : 0.2;
const TENTH = USERS / 10;

interface Progress {
  readonly total_users: number;
  readonly decided_users: number;
}

let store: Awaited<ReturnType<Awaited<ReturnType<typeof startOutsidePostgres>>['createDatabase']>>;
let settings: Record<string, string>;
let server: Carillon;
/** As it was answered just before each kill. */
const seen: Progress[] = [];
let end: { status: string; progress: Progress | null; counts: Record<string, number> };
let eventId: string;

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await fetch(server.url + path, {
    method,
    headers: { authorization: `Bearer ${KEY}`, ...(body !== undefined && { 'content-type': 'application/json' }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  expect(response.status).toBeLessThan(300);
  return (await response.json()) as T;
}

const read = (id: string) => call<typeof end>('GET', `/v1/events/${id}`);
const tell = async (item: Record<string, unknown>) =>
  (await call<{ id: string }>('POST', '/v1/notifications', { subject: 'Maintenance', tags: ['system'], ...item })).id;

async function routed(id: string): Promise<typeof end> {
  await vi.waitUntil(async () => (await read(id)).status === 'routed', { timeout: 300_000, interval: 50 });
  return read(id);
}

/** Of ten users one is not active, of one the preferences are broken, and one has had his share already. */
async function fill(): Promise<void> {
  await store.query(`
    insert into carillon.users (tenant_id, id, active, roles, email, preferences)
    select 'default', 'user-' || n, n % 10 <> 0, case when n % 10 = 2 then '{early}'::text[] else '{}' end, 'u' || n || '@example.org',
           case when n % 10 = 1 then '{"quiet_hours":{"enabled":true,"start":"00:00","end":"00:00","time_zone":"Nowhere/Land"}}'::jsonb else '{}' end
      from generate_series(1, ${USERS}) n`);
  await routed(await tell({ to: [{ role: 'early' }] }));
  await store.query(`
    create function public.linger() returns trigger language plpgsql as $$ begin perform pg_sleep(${LINGER_S}); return new; end $$;
    create trigger linger before update of cursor on carillon.events for each row execute function public.linger()`);
}

async function killWhen(id: string, share: number): Promise<void> {
  let progress: Progress | null = null;
  await vi.waitUntil(
    async () => {
      ({ progress } = await call<typeof end>('GET', `/v1/events/${id}/progress`));
      return progress !== null && progress.decided_users >= share * USERS;
    },
    { timeout: 120_000, interval: 10 },
  );
  server.signal('SIGKILL');
  await server.ended;
  seen.push(progress!);
  server = spawnCarillon(settings);
  await server.ready;
}

beforeAll(async () => {
  store = await (await startOutsidePostgres()).createDatabase('broadcast');
  settings = { CARILLON_PORT: String(await freePort()), DATABASE_URL: store.url, CARILLON_THROTTLE_MAX_PER_WINDOW: '1' };
  server = spawnCarillon(settings);
  await server.ready;
  await fill();
  const startedMs = performance.now();
  // Neither exempt from the throttle nor let through quiet hours.
  eventId = await tell({ to: [{ all: true }], severity: 'medium', channels: ['in_app', 'email'] });
  for (let kill = 0; kill < KILLS; kill++) await killWhen(eventId, (0.1 + 0.7 * kill) / KILLS);
  end = await routed(eventId);
  report('broadcast', {
    users: USERS,
    kills: seen.map(({ decided_users: decided }) => decided).join('/'),
    ms: performance.now() - startedMs,
  });
}, 600_000);
afterAll(endProcesses);

test('A5 progress is read while it runs: of how many, and how many by now', () => {
  expect(seen.map(({ total_users: total }) => total)).toEqual(Array<number>(KILLS).fill(USERS));
  expect(seen.every(({ decided_users: decided }) => decided > 0 && decided < USERS)).toBe(true);
});

test('A5 each user has exactly one notification, or none and a reason', async () => {
  const [rows] = await store.query<Record<string, string>>(`
    select (select count(*) from carillon.notifications where subject = 'Maintenance' and user_id not in (select id from carillon.users where roles <> '{}')) as told,
           (select count(distinct user_id) from carillon.notifications) as users, (select count(*) from carillon.notifications) as notifications,
           (select count(*) from carillon.inbox where sequence = 1 and total = 1 and unread = 1) as inboxes`);
  expect(rows).toEqual({
    told: String(7 * TENTH),
    users: String(8 * TENTH), // those that the throttle stopped had been told something earlier
    notifications: String(8 * TENTH),
    inboxes: String(8 * TENTH),
  });
});

test('A5 the counts are exact', () => {
  expect(end.progress).toEqual({
    total_users: USERS,
    decided_users: USERS,
    created: 7 * TENTH,
    failed: TENTH,
    throttled: TENTH,
    skipped: TENTH,
  });
  expect(end.counts).toMatchObject({ recipients: USERS, skipped: 3 * TENTH });
});
