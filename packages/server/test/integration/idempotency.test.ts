/** `Idempotency-Key` on every POST, and while the first request is still running in another process. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callsOf, somethingOfEachKind, type Call } from '../harness/examples.ts';
import { count } from '../harness/core.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type Reply, type TestServer } from '../harness/server.ts';

/** POSTs that know no keys, each with its reason. */
const WITHOUT: Readonly<Record<string, string>> = {
  'POST /v1/destinations/:id/test': 'A test send writes nothing, so that there is nothing to do once: each one is a send.',
  'POST /v1/events/preview': 'A preview writes nothing, and what would become of the event may change.',
  'POST /dev/receiver': 'A page of development that keeps what was sent, as often as it was sent.',
};
const SECRETS = ['token', 'ticket', 'key', 'secret'];

let server: TestServer;
let gone: Receiver;
let posts: [name: string, call: Call][];
beforeAll(async () => {
  gone = await startReceiver((response) => response.writeHead(410).end());
  server = await startServer();
  posts = [...callsOf((await server.api('GET', '/openapi.json')).body)].filter(([name]) => name.startsWith('POST '));
});
afterAll(async () => {
  await server.stop();
  await gone.close();
});

function post({ path, byUser }: Call, token: string, key: string, body: string | undefined): Promise<Response> {
  const headers = { authorization: `Bearer ${byUser ? token : server.key}`, 'idempotency-key': key };
  const content = body === undefined ? {} : { body, headers: { ...headers, 'content-type': 'application/json' } };
  return fetch(`${server.url}${path}`, { method: 'POST', headers, ...content });
}

/** The first answer as a repeat tells it. */
function repeated(first: Record<string, unknown>): unknown {
  const told = (item: Record<string, unknown>) => ('duplicate' in item ? { ...item, duplicate: true } : item);
  const open = withoutSecrets(first);
  return Array.isArray(open.results) ? { ...open, results: open.results.map(told) } : told(open);
}

function withoutSecrets(value: object): Record<string, unknown> {
  const kept = Object.entries(value).filter(([name, one]) => !(SECRETS.includes(name) && typeof one === 'string'));
  const isPlain = (one: unknown): one is object => typeof one === 'object' && one !== null && !Array.isArray(one);
  return Object.fromEntries(kept.map(([name, one]) => [name, isPlain(one) ? withoutSecrets(one) : one]));
}

test('every POST keeps its first answer, without its secrets, and refuses the key with another body', async () => {
  expect(posts.length).toBeGreaterThanOrEqual(15);
  const failed: string[] = [];
  for (const [name, example] of posts) {
    if (name in WITHOUT) continue;
    const { real, token } = await somethingOfEachKind(server, `http://127.0.0.1:${gone.port}`);
    const named = (text: string) => Object.entries(real).reduce((so, [id, mine]) => so.replaceAll(id, mine), text);
    const call = { ...example, path: named(example.path) };
    const body = call.body === undefined ? undefined : named(JSON.stringify(call.body));
    const key = `every ${name}`;
    const [first, second] = [await post(call, token, key, body), await post(call, token, key, body)];
    const other = await post(call, token, key, `${body ?? '{}'} `);
    const [told, again, refused] = [await json(first), await json(second), await json(other)];
    const seen = {
      name,
      first: [first.ok, first.headers.get('idempotent-replayed')],
      second: [second.status, second.headers.get('idempotent-replayed')],
      again,
      other: [other.status, refused.code],
    };
    const wanted = {
      name,
      first: [true, null],
      second: [first.status, 'true'],
      again: repeated(told),
      other: [422, 'idempotency_mismatch'],
    };
    expect.soft(seen).toEqual(wanted);
    if (!first.ok) failed.push(`${name} ${JSON.stringify(told)}`);
  }
  expect(failed).toEqual([]);
});

async function json(response: Response): Promise<Record<string, unknown>> {
  return (await response.json()) as Record<string, unknown>;
}

test('an error is not kept, and neither is its key', async () => {
  const keyed = (body: unknown) => server.api('POST', '/v1/events', body, { 'idempotency-key': 'of-an-error' });
  expect((await keyed({ type: 'x' })).status).toBe(422);
  expect(await count(server.db, "idempotency_keys where key = 'of-an-error'")).toBe(0);
  expect((await keyed({ type: 'x', to: ['ada'] })).body.duplicate).toBe(false);
});

describe('while another process has the key, and does not end', () => {
  test.each([
    ['POST /v1/events', '/v1/events', { type: 'held', to: ['ada'] }],
    ['POST /v1/users/:id/token', '/v1/users/ada/token', {}],
  ])('%s waits five seconds, then answers 409; afterwards the key is free again', async (_name, path, body) => {
    const key = `held ${path}`;
    const other = new pg.Client(server.db.connection);
    await other.connect();
    try {
      await other.query('begin');
      await other.query(
        `insert into carillon.idempotency_keys (tenant_id, route, key, request_hash, answer, expires_at)
         values ('default', $1, $2, '', 'null', now() + interval '1 day')`,
        [`POST ${path}`, key],
      );
      const held = server.api('POST', path, body, { 'idempotency-key': key });
      const neighbours = await Promise.all(['a', 'b', 'c'].map((user) => server.api('POST', '/v1/events', { type: 'free', to: [user] })));
      expect(neighbours.map(({ status }) => status)).toEqual([202, 202, 202]);
      expectBusy(await held);
      expect(await count(server.db, 'idempotency_keys where key = $1', [key])).toBe(0);
    } finally {
      await other.query('rollback');
      await other.end();
    }
    const done = await server.api('POST', path, body, { 'idempotency-key': key });
    expect(done.status).toBeLessThan(300);
    expect(done.headers.has('idempotent-replayed')).toBe(false);
  });
});

function expectBusy({ status, body, headers }: Reply): void {
  expect({ status, code: body.code, retryable: body.retryable }).toEqual({ status: 409, code: 'idempotency_busy', retryable: true });
  expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
}
