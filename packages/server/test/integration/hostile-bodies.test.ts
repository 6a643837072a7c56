/** Every hostile body, over a socket, to the real program as a process of its own: the stated answer, nothing written, and flat memory. */
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { endProcesses, freePort, KEY, spawnCarillon, type Carillon } from '../harness/process.ts';
import { exchange, type RawAnswer } from '../harness/raw-http.ts';
import { HOSTILE_BODIES, type HostileBody, type Target } from './fixtures/hostile-bodies.ts';

let db: TestDatabase;
let carillon: Carillon;
let token = '';
let routes: Readonly<Record<Target, readonly Route[]>>;
let before: Record<string, string>;

interface Route {
  readonly method: 'POST' | 'PUT';
  readonly path: string;
  readonly byUser?: true;
}

beforeAll(async () => {
  db = await freshDatabase();
  carillon = spawnCarillon({ CARILLON_PORT: String(await freePort()), DATABASE_URL: db.url, CARILLON_LOG_LEVEL: 'warn' });
  await carillon.ready;
  await send({ method: 'POST', path: '/v1/notifications' }, JSON.stringify({ to: ['mallory'], subject: 's' }));
  token = JSON.parse((await send({ method: 'POST', path: '/v1/users/mallory/token' }, '{}')).body).token;
  const inbox = await vi.waitFor(async () => {
    const list = await get('/v1/inbox', token);
    expect(list.data).toHaveLength(1);
    return list;
  }, 20_000);
  const { id: item, event_id: event } = inbox.data[0];
  routes = routesFor(item, event);
  before = await stored();
}, 60_000);
afterAll(async () => {
  carillon.signal('SIGTERM');
  await carillon.ended;
  await endProcesses();
  await db.drop();
});

function routesFor(item: string, event: string): typeof routes {
  const post = (path: string): Route => ({ method: 'POST', path });
  const event_ = [post('/v1/events')];
  const user = [{ method: 'PUT', path: '/v1/users/mallory' }] as const;
  const preferences = [
    { method: 'PUT', path: '/v1/users/mallory/preferences' },
    { method: 'PUT', path: '/v1/inbox/preferences', byUser: true },
  ] as const;
  const verb: Route[] = [
    ...[`${item}/read`, `${item}/archive`, 'read-all', 'stream-ticket'].map((path) => ({
      ...post(`/v1/inbox/${path}`),
      byUser: true as const,
    })),
    post(`/v1/events/${event}/cancel`),
  ];
  const batch = ['/v1/events/batch', '/v1/notifications/batch', '/v1/users/batch'].map(post);
  const one = [...event_, post('/v1/notifications'), ...user, ...preferences];
  const tokens = [post('/v1/users/mallory/token')];
  return { any: [...one, ...batch, ...tokens, ...verb], one, event: event_, batch, user, preferences, token: tokens, verb };
}

function send(
  { method, path, byUser }: Route,
  body: string | Buffer,
  { headers = { 'content-type': 'application/json' }, chunked, length }: Partial<HostileBody> = {},
): Promise<RawAnswer> {
  const fields = Object.entries({ host: 'localhost', authorization: `Bearer ${byUser ? token : KEY}`, ...headers });
  const framing = chunked ? 'transfer-encoding: chunked' : `content-length: ${length ?? Buffer.byteLength(body)}`;
  const head = [`${method} ${path} HTTP/1.1`, ...fields.map(([name, value]) => `${name}: ${value}`), framing];
  return exchange(carillon.url, head, chunked ? inChunks(Buffer.from(body)) : body);
}

function inChunks(body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n0\r\n\r\n')]);
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- whatever JSON came
async function get(path: string, key = KEY): Promise<any> {
  return (await fetch(`${carillon.url}${path}`, { headers: { authorization: `Bearer ${key}` } })).json();
}

/** Rows of every table, but for those that the process itself touches while it runs. */
async function stored(): Promise<Record<string, string>> {
  const tables = await db.query<{ name: string }>(
    `select c.relname as name from pg_class c where c.relnamespace = 'carillon'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
        and c.relname not in ('processes', 'test_clock')`,
  );
  const counted = tables.map(async ({ name }) => {
    const [row] = await db.query<{ n: string }>(`select count(*) as n from carillon.${name}`);
    return [name, row!.n] as const;
  });
  return Object.fromEntries(await Promise.all(counted));
}

test('there are enough of them', () => {
  expect(new Set(HOSTILE_BODIES.map(({ name }) => name)).size).toBe(HOSTILE_BODIES.length);
  expect(HOSTILE_BODIES.length).toBeGreaterThanOrEqual(150);
});

test.each(HOSTILE_BODIES.map((one) => [one.name, one] as const))('%s', async (_name, hostile) => {
  const body = typeof hostile.body === 'function' ? hostile.body() : hostile.body;
  for (const route of routes[hostile.to]) {
    const answer = await send(route, body, hostile);
    const { status, code, errors } = JSON.parse(answer.body);
    const told = { status: answer.status, code, pointer: errors?.[0]?.pointer ?? null };
    expect(told, `${route.method} ${route.path}\n${answer.body.slice(0, 500)}`).toEqual({
      status: hostile.status,
      code: hostile.code,
      pointer: hostile.pointer,
    });
    expect(status).toBe(hostile.status);
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
  }
});

describe('after all of them', () => {
  test('nothing was written', async () => {
    expect(await stored()).toEqual(before);
  });

  test('a flood of bombs leaves the memory where it was, and the next request is served', async () => {
    const bomb = gzipSync(Buffer.alloc(100 * 1024 * 1024, '['));
    const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
    const flood = async (times: number) => {
      for (let n = 0; n < times; n += 1) {
        const answers = await Promise.all(
          Array.from({ length: 10 }, () => send({ method: 'POST', path: '/v1/events/batch' }, bomb, { headers })),
        );
        // More of them at once than there is room for are sent away, and that is an answer too.
        for (const { status } of answers) expect([413, 503]).toContain(status);
      }
    };
    await flood(3);
    const warm = peakKb();
    await flood(15);
    // Inflated, the flood is 15 GB.
    expect(peakKb() - warm).toBeLessThan(150 * 1024);
    const { status } = await send({ method: 'POST', path: '/v1/events' }, JSON.stringify({ type: 'fine', to: ['ada'] }));
    expect(status).toBe(202);
  });

  test('the process has not complained', () => {
    expect(carillon.logged.filter(({ level }) => level === 'error')).toEqual([]);
    expect(carillon.stderr()).toBe('');
  });
});

/** The most memory that the process has ever had. */
function peakKb(): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${carillon.pid}/status`, 'utf8'))![1]);
}
