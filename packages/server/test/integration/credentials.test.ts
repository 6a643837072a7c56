/** Whoever has no valid credentials learns nothing of why: on every route the same answer, to the byte. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startServer, type TestServer } from '../harness/server.ts';

interface Operation {
  readonly method: string;
  readonly url: string;
  readonly kind: 'key' | 'user' | 'either';
}

let server: TestServer;
let revoked: string;
let expired: string;
let userToken: string;

beforeAll(async () => {
  server = await startServer();
  const make = async (name: string) => (await server.api('POST', '/v1/api-keys', { name, scopes: ['events:read', 'users:read'] })).body;
  const [one, two] = [await make('revoked'), await make('expired')];
  [revoked, expired] = [one.key, two.key];
  await server.api('DELETE', `/v1/api-keys/${one.id}`);
  await server.db.query("update carillon.api_keys set expires_at = now() - interval '1 s' where name = 'expired'");
  userToken = (await server.api('POST', '/v1/users/ada/token', {})).body.token;
}, 60_000);
afterAll(() => server.stop());

function operations(): Operation[] {
  const { paths } = server.running.openApi() as { paths: Record<string, Record<string, { security?: Record<string, unknown>[] }>> };
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { security = [] }]): Operation[] => {
      const url = path.replaceAll(/\{\w+\}/g, 'some-id');
      const [byKey, byUser] = ['apiKey', 'userToken'].map((kind) => security.some((one) => kind in one));
      if (!byKey && !byUser) return [];
      return [{ method: method.toUpperCase(), url, kind: byKey && byUser ? 'either' : byKey ? 'key' : 'user' }];
    }),
  );
}

async function ask({ method, url }: Operation, authorization: string | undefined, query = ''): Promise<object> {
  const headers = { 'x-request-id': 'the-same-for-all', ...(authorization !== undefined && { authorization }) };
  const answer = await fetch(`${server.url}${url}${query}`, { method, headers });
  const headersOf = Object.fromEntries([...answer.headers].filter(([name]) => name !== 'date'));
  return { status: answer.status, headers: headersOf, text: await answer.text() };
}

const live = 'cn_live_000000000000000000000000000000000_000000';

test('missing, malformed, unknown, revoked and expired keys, and tokens where a key belongs, get one answer on every route', async () => {
  const all = operations();
  expect(all.length).toBeGreaterThanOrEqual(50);
  const [first] = all;
  const expected = await ask(first!, undefined);
  expect(expected).toMatchObject({
    status: 401,
    headers: { 'www-authenticate': 'Bearer', 'content-type': expect.stringContaining('application/problem+json') },
  });
  for (const operation of all) {
    const name = `${operation.method} ${operation.url}`;
    const wrong = ['', 'Bearer', 'Bearer ', 'Basic YTpi', 'Bearer a b', 'Bearer unknown', `Bearer ${live}`, 'Bearer a.b.c'];
    const theirs = { key: [revoked, expired, userToken], user: [revoked, server.key], either: [revoked, expired] }[operation.kind];
    for (const credential of [undefined, ...wrong, ...theirs.map((token) => `Bearer ${token}`)])
      expect(await ask(operation, credential), `${name} with ${credential?.slice(0, 20)}`).toEqual(expected);
  }
}, 60_000);

test('a credential in the address is refused on every route, though the header is right', async () => {
  for (const operation of operations()) {
    const authorization = `Bearer ${operation.kind === 'user' ? userToken : server.key}`;
    for (const query of [`?api_key=${server.key}`, '?access_token=x', '?token=x', `?x=${live}`])
      expect(await ask(operation, authorization, query), `${operation.method} ${operation.url}${query}`).toMatchObject({ status: 401 });
  }
}, 60_000);
