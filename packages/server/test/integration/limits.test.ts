/** Rate limits across processes, as a client sees them. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { nowOf } from '../harness/core.ts';
import { endProcesses, freePort, KEY, spawnCarillon, type Carillon } from '../harness/process.ts';

const HOUR_MS = 3_600_000;
let db: TestDatabase;
let processes: Carillon[];

beforeAll(async () => {
  db = await freshDatabase();
  // The middle of a window: it must not end while the test counts.
  await db.moveClock(HOUR_MS + HOUR_MS / 2 - ((await nowOf(db)).getTime() % HOUR_MS));
  processes = [];
  for (let at = 0; at < 2; at++)
    processes.push(
      spawnCarillon({
        DATABASE_URL: db.url,
        CARILLON_PORT: String(await freePort()),
        CARILLON_ROLES: 'api',
        CARILLON_LIMITS_KEY: '200/1h',
      }),
    );
  await Promise.all(processes.map(({ ready }) => ready));
}, 120_000);
afterAll(async () => {
  for (const { signal } of processes) signal('SIGTERM');
  await Promise.all(processes.map(({ ended }) => ended));
  await endProcesses();
  await db.drop();
}, 60_000);

const get = (process: Carillon, key: string, path = '/v1/users') =>
  fetch(`${process.url}${path}`, { headers: { authorization: `Bearer ${key}` } });

async function made(path: string, body: object) {
  const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
  const answer = await fetch(`${processes[0]!.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  expect(answer.status).toBe(201);
  return (await answer.json()) as { key: string; api_key: { key: string } };
}

/** How many more each process answers before it refuses: what it was lent is its own, asked for or not. */
async function leftOver(key: string): Promise<number> {
  let admitted = 0;
  for (const one of processes) while ((await get(one, key)).status === 200) admitted++;
  return admitted;
}

/** How many of so many requests to each process at once are answered, and the answers that were not. */
async function flood(keys: readonly string[], each: number): Promise<{ admitted: number; refused: Response[] }> {
  const answers = await Promise.all(processes.flatMap((one) => keys.flatMap((key) => Array.from({ length: each }, () => get(one, key)))));
  const refused = answers.filter(({ status }) => status === 429);
  const admitted = answers.filter(({ status }) => status === 200).length;
  expect(admitted + refused.length).toBe(answers.length);
  return { admitted, refused };
}

test('two processes admit no more than the limit together, and say so', async () => {
  const { key } = await made('/v1/api-keys', { name: 'flooding', scopes: ['users:read'] });
  const first = await get(processes[0]!, key);
  expect(first.headers.get('ratelimit-policy')).toBe('"default";q=200;w=3600');
  expect(first.headers.get('ratelimit')).toMatch(/^"default";r=199;t=\d+$/);

  const { admitted, refused } = await flood([key], 150);
  expect(admitted + (await leftOver(key))).toBe(199);
  const [refusal] = refused;
  expect(refusal!.headers.get('ratelimit')).toMatch(/^"default";r=0;t=\d+$/);
  const retryAfterS = Number(refusal!.headers.get('retry-after'));
  expect(retryAfterS).toBeGreaterThan(0);
  expect(retryAfterS).toBeLessThanOrEqual(3_600);
  expect(await refusal!.json()).toMatchObject({ status: 429, code: 'rate_limited', retryable: true });
  expect((await get(processes[1]!, KEY)).status).toBe(200); // another key is not concerned
});

test('in the next window it is admitted again', async () => {
  const { key } = await made('/v1/api-keys', { name: 'waiting', scopes: ['users:read'], rate_limit: { requests: 1, window_seconds: 2 } });
  const statuses = async () =>
    Promise.all(processes.flatMap((one) => [get(one, key), get(one, key)])).then((all) => all.map(({ status }) => status));
  await expect.poll(statuses, { timeout: 20_000, interval: 20 }).toContain(429);
  await expect.poll(async () => (await get(processes[1]!, key)).status, { timeout: 20_000, interval: 20 }).toBe(200);
}, 60_000);

test('all keys of a tenant share its limit; one that is changed counts within seconds', async () => {
  const settings = { rate_limit: { requests: 60, window_seconds: 3_600 } };
  const { key: first } = (await made('/v1/tenants', { id: 'crowded', settings })).api_key;
  const { key: second } = await made('/v1/api-keys', { name: 'second', scopes: ['users:read'], tenant_id: 'crowded' });
  const { admitted } = await flood([first, second], 50);
  expect(admitted + (await leftOver(first))).toBe(60);

  const change = { settings: { rate_limit: { requests: 100, window_seconds: 3_600 } } };
  const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
  await fetch(`${processes[0]!.url}/v1/tenants/crowded`, { method: 'PATCH', headers, body: JSON.stringify(change) });
  await expect.poll(async () => (await get(processes[1]!, second)).status, { timeout: 20_000, interval: 100 }).toBe(200);
}, 60_000);
