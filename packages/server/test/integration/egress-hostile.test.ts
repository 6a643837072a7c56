/** Nothing reaches what must not be called: not when a URL is saved, not when it is called, not by DNS, not by a redirect. */
import type { LookupAddress } from 'node:dns';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeEgress, type EgressOptions } from '../../src/lib/egress.ts';
import { checkUrl } from '../../src/lib/egress-url.ts';
import { count, eventually } from '../harness/core.ts';
import { startReceiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';
import { HOSTILE_ANSWERS, HOSTILE_REDIRECTS, HOSTILE_URLS } from './fixtures/hostile-urls.ts';

const post = { method: 'POST', headers: {}, body: 'x' } as const;
const strict: EgressOptions = {
  allowLoopback: false,
  allowRanges: [],
  totalTimeoutMs: 5_000,
  connectTimeoutMs: 2_000,
  maxResponseBytes: 64 * 1024,
};

/** Counts TCP connections on every address of this machine: a request need not be understood to have left. */
let trap: Server;
let port = 0;
let arrived = 0;
const trapped = new Set<Socket>();
const dual = () => listening('::').catch(() => listening('0.0.0.0')); // where there is no IPv6

function listening(host: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      arrived += 1;
      trapped.add(socket.on('error', () => undefined));
      socket.once('close', () => trapped.delete(socket));
    });
    server.once('error', reject).listen(0, host, () => {
      resolve(server);
    });
  });
}

beforeAll(async () => {
  trap = await dual();
  port = (trap.address() as AddressInfo).port;
});
afterAll(async () => {
  for (const socket of trapped) socket.destroy();
  await new Promise((resolve) => trap.close(resolve));
});

const spelled = (pattern: string) => pattern.replace(/:P(?=[/@])/, `:${port}`);
const all = Object.entries(HOSTILE_URLS).flatMap(([why, urls]) => urls.map((pattern) => [why, pattern] as const));

/** NUL and half characters are refused with the whole body, whatever else it holds. */
const sayable = all.filter(([, pattern]) => !/[\0\ud800]/.test(pattern));

test('the list is long, and says nothing twice', () => {
  const patterns = all.map(([, pattern]) => pattern);
  expect(patterns.length).toBeGreaterThanOrEqual(150);
  expect(patterns.filter((pattern, at) => patterns.indexOf(pattern) !== at)).toEqual([]);
});

test('the trap catches what is let through', async () => {
  const development = makeEgress({ ...strict, allowLoopback: true, totalTimeoutMs: 200 });
  for (const host of ['127.0.0.1', 'localhost', '127.1.2.3']) {
    const before = arrived;
    await expect(development.request(`http://${host}:${port}/`, post)).rejects.toMatchObject({ kind: 'timeout' });
    expect(arrived, host).toBeGreaterThan(before);
  }
  await new Promise((resolve) => connect(port, '0.0.0.0', () => resolve(undefined)));
  await expect.poll(() => arrived).toBeGreaterThanOrEqual(4);
  await development.close();
});

describe('without DNS', () => {
  test.each(all)('%s: %j is blocked when looked at and when called', async (_, pattern) => {
    const url = spelled(pattern);
    const asked: string[] = [];
    const lookup: EgressOptions['lookup'] = (host, callback) => {
      asked.push(host);
      callback(null, [{ address: '127.0.0.1', family: 4 }]);
    };
    const before = arrived;
    const egress = makeEgress({ ...strict, lookup });
    expect(checkUrl(url, strict)).toMatchObject({ ok: false });
    expect(egress.refusal(url)).toBeTypeOf('string');
    await expect(egress.request(url, post)).rejects.toMatchObject({ name: 'EgressError', kind: 'blocked', bodySent: false });
    expect([asked, arrived]).toEqual([[], before]);
    await egress.close();
  });

  test('metadata services are blocked whatever ranges the operator allows', async () => {
    const open = makeEgress({ ...strict, allowRanges: ['0.0.0.0/0', '::/0'] });
    for (const url of HOSTILE_URLS['metadata services']!.map(spelled)) {
      const host = new URL(url).hostname;
      expect(open.refusal(url), url).toMatch(host.endsWith('.internal') ? /local network/ : /metadata service/);
    }
    expect(open.refusal('http://10.0.0.1/')).toBeUndefined();
    await open.close();
  });
});

describe('by DNS', () => {
  const toAnswer = (address: string): LookupAddress => ({ address, family: address.includes(':') ? 6 : 4 });

  const answers = Object.entries(HOSTILE_ANSWERS);
  test.each(answers)('a name that leads to %s is blocked', async (_, addresses) => {
    const lookup: EgressOptions['lookup'] = (_host, callback) => callback(null, addresses.map(toAnswer));
    const before = arrived;
    for (const scheme of ['http', 'https']) {
      const egress = makeEgress({ ...strict, lookup });
      const url = `${scheme}://hook.example.com:${port}/`;
      expect(egress.refusal(url)).toBeUndefined(); // DNS is not asked when it is saved
      await expect(egress.request(url, post)).rejects.toMatchObject({ kind: 'blocked', bodySent: false });
      await egress.close();
    }
    expect(arrived).toBe(before);
  });

  test('a name that answers well once, and badly when it is asked again, is asked again for each connection only', async () => {
    const receiver = await startReceiver((response) => response.setHeader('connection', 'close').end());
    let asked = 0;
    const lookup: EgressOptions['lookup'] = (_host, callback) => callback(null, [toAnswer(asked++ === 0 ? '127.0.0.1' : '127.0.0.2')]);
    const egress = makeEgress({ ...strict, allowRanges: ['127.0.0.1/32'], lookup });
    const url = `http://hook.example.com:${receiver.port}/`;
    expect(await egress.request(url, post)).toMatchObject({ status: 200 });
    expect(asked).toBe(1);
    await expect(egress.request(url, post)).rejects.toMatchObject({ kind: 'blocked' });
    expect([asked, receiver.connections()]).toEqual([2, 1]);
    await egress.close();
    await receiver.close();
  });
});

test.each(HOSTILE_REDIRECTS)('%i to %s is an answer, and nobody goes there', async (status, location) => {
  const receiver = await startReceiver((response) =>
    response.writeHead(status, { location: spelled(location), refresh: `0; url=${spelled(location)}` }).end(),
  );
  const egress = makeEgress({ ...strict, allowLoopback: true });
  const before = arrived;
  expect(await egress.request(`http://127.0.0.1:${receiver.port}/`, post)).toMatchObject({ status });
  await egress.close(); // nothing is under way any more
  expect([receiver.requests.length, arrived]).toEqual([1, before]);
  await receiver.close();
});

describe('through the program, where it is not in development mode', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer({ env: 'neither' as 'production' }); // production refuses the tests' database, which does not fsync
  });
  afterAll(() => server.stop());

  const pointersOf = (body: { errors?: { pointer: string }[] }) => body.errors?.map(({ pointer }) => pointer);

  test('a user is not saved with it: 422, and the pointer says where', async () => {
    const before = arrived;
    for (const [why, pattern] of all) {
      const { status, body } = await server.api('PUT', '/v1/users/hostile', { webhook_url: spelled(pattern) });
      expect([status, pointersOf(body)], `${why}: ${JSON.stringify(pattern)}`).toEqual([422, ['/webhook_url']]);
    }
    expect((await server.api('GET', '/v1/users/hostile')).status).toBe(404);
    expect(arrived).toBe(before);
  });

  test('nor in a batch of users, nor in an event or a batch of them', async () => {
    const before = arrived;
    const users = await server.api(
      'POST',
      '/v1/users/batch',
      sayable.map(([, pattern], at) => ({ id: `hostile-${at}`, webhook_url: spelled(pattern) })),
    );
    const events = await server.api(
      'POST',
      '/v1/events/batch',
      sayable.map(([, pattern]) => ({ type: 'hostile', to: [{ user_id: 'ada', webhook_url: spelled(pattern) }] })),
    );
    for (const [at, [why, pattern]] of sayable.entries()) {
      expect(pointersOf(users.body.results[at].error), `${why}: ${pattern}`).toEqual(['/webhook_url']);
      expect(pointersOf(events.body.results[at].error)?.[0], `${why}: ${pattern}`).toMatch(/^\/to\/0/);
    }
    const one = await server.api('POST', '/v1/notifications', {
      to: [{ user_id: 'ada', webhook_url: spelled('http://127.0.0.1:P/') }],
      subject: 's',
    });
    expect([one.status, pointersOf(one.body)?.[0]]).toEqual([422, expect.stringMatching(/^\/to\/0/)]);
    expect(await count(server.db, 'events')).toBe(0);
    expect(await count(server.db, 'users')).toBe(0);
    expect(arrived).toBe(before);
  });

  test('one that is there all the same, saved under other rules, is not called: egress_blocked, and no packet', async () => {
    const storable = sayable.filter(([, pattern]) => pattern !== '');
    expect(storable.length).toBeGreaterThan(150);
    await server.db.query(
      "insert into carillon.users (tenant_id, id, webhook_url) select 'default', 'planted-' || n, url from unnest($1::text[]) with ordinality as u (url, n)",
      [storable.map(([, pattern]) => spelled(pattern))],
    );
    const before = arrived;
    const to = storable.map((_, at) => `planted-${at + 1}`);
    const { status } = await server.api('POST', '/v1/events', { type: 'hostile', to, channels: ['webhook'] });
    expect(status).toBe(202);
    await eventually(() => count(server.db, 'deliveries where finished_at is not null')).toBe(storable.length);
    const called = await server.db.query<{ address: string }>(
      `select d.address from carillon.deliveries d left join carillon.attempts a on a.delivery_id = d.id
        where d.status <> 5 or d.reason <> 48 or d.attempt_count <> 1 or a.reason is distinct from 48`,
    );
    expect(called).toEqual([]);
    expect(arrived).toBe(before);
  });
});
