import { randomBytes } from 'node:crypto';
import { connect as connectSocket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { buildApp, type App, type RequestSeen } from './app.ts';
import { makeAuth, type FoundKey } from './auth.ts';

const KEYS: Record<string, FoundKey> = {
  'right-key': {
    tenantId: 'acme',
    keyId: 'k1',
    client: 'backend',
    scopes: ['events:write'],
    keyLimit: null,
    tenantLimit: null,
    expiresInMs: null,
  },
  'other-scope': {
    tenantId: 'acme',
    keyId: 'k2',
    client: 'reader',
    scopes: ['events:read'],
    keyLimit: null,
    tenantLimit: null,
    expiresInMs: null,
  },
};
const RIGHT = { authorization: 'Bearer right-key' };

const Item = z.strictObject({ name: z.string().max(5), count: z.int().optional() });
const Body = z.strictObject({
  to: z.array(z.union([z.string().min(1), z.strictObject({ user_id: z.string(), email: z.email().optional() })])),
  items: z.array(Item).optional(),
  data: z.record(z.string(), z.unknown()).optional(),
});

let app: App;
let seen: RequestSeen[];
let logged: { event: string; fields: Record<string, unknown> }[];

beforeEach(() => {
  seen = [];
  logged = [];
  const log = (event: string, fields: Record<string, unknown>) => {
    logged.push({ event, fields });
  };
  const auth = makeAuth({
    hashKey: (key) => Buffer.from(key),
    findKey: async (hash) => KEYS[hash.toString()],
    verifyUserToken: async (token) =>
      token === 'user-token' ? { tenantId: 'acme', userId: 'ada', expiresAt: new Date(60_000) } : undefined,
    isAccountAdmin: async () => false,
    touchKeys: async () => undefined,
    now: () => new Date(0),
    monotonicMs: () => 0,
    log,
  });
  app = buildApp(
    {
      auth,
      log,
      observe: (one) => {
        seen.push(one);
      },
      logsSuccess: true,
    },
    routes,
  );
});
afterEach(() => app.close());

function routes(to: App): void {
  const Answer = z.object({ id: z.string(), at: z.string().nullable(), rest: z.record(z.string(), z.unknown()) });
  to.post(
    '/v1/things',
    { config: { auth: { kind: 'key', scope: 'events:write' } }, schema: { body: Body, response: { 202: Answer } } },
    async (request, reply) => {
      const more = { id: request.caller.keyId, at: null, rest: { body: request.body }, secret: 'not in the schema' };
      return reply.code(202).send(more);
    },
  );
  to.post(
    '/v1/things/batch',
    { config: { auth: { kind: 'key', scope: 'events:write' }, batch: true }, schema: { body: z.unknown() } },
    async (request) => ({
      length: (request.body as unknown[]).length,
    }),
  );
  to.get(
    '/v1/things/:id',
    {
      config: { auth: { kind: 'none' } },
      schema: {
        params: z.object({ id: z.string().max(300) }),
        querystring: z.strictObject({ limit: z.stringFormat('number', /^\d+$/).optional() }),
      },
    },
    async ({ params }) => params,
  );
  to.post('/v1/things/:id/verb', { config: { auth: { kind: 'user' } } }, async (request) => ({
    user: request.user.userId,
    key: request.idempotencyKey(),
    caller: request.caller.keyId,
  }));
  to.post('/v1/keyed/:id', { config: { auth: { kind: 'user' } }, schema: { body: z.unknown() } }, async (request) => {
    const key = request.idempotencyKey();
    return key && { ...key, hash: Buffer.from(key.hash).toString('hex') };
  });
  to.get('/boom', { config: { auth: { kind: 'none' } } }, () => {
    throw new Error('password=hunter2');
  });
  to.get('/away', { config: { auth: { kind: 'none' } } }, () => {
    throw Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
  });
}

function post(payload: unknown, headers: Record<string, string> = {}, url = '/v1/things') {
  const raw = typeof payload === 'string' || Buffer.isBuffer(payload) ? payload : JSON.stringify(payload);
  return app.inject({ method: 'POST', url, headers: { ...RIGHT, 'content-type': 'application/json', ...headers }, payload: raw });
}

test('an answer holds what its schema names and nothing else', async () => {
  const answer = await post({ to: ['ada'] });
  expect(answer.statusCode).toBe(202);
  expect(answer.json()).toEqual({ id: 'k1', at: null, rest: { body: { to: ['ada'] } } });
  expect(answer.headers).toMatchObject({
    'x-content-type-options': 'nosniff',
    'content-type': expect.stringContaining('application/json'),
  });
  expect(answer.headers).not.toHaveProperty('x-powered-by');
});

test('a problem has every member, and its instance is the request id that was given', async () => {
  const answer = await post('{', { 'x-request-id': 'req-12345678' });
  expect(answer.statusCode).toBe(400);
  expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
  expect(answer.headers['x-request-id']).toBe('req-12345678');
  expect(answer.json()).toEqual({
    type: '/errors/malformed_json',
    title: expect.any(String),
    status: 400,
    detail: expect.stringContaining('position'),
    instance: 'req-12345678',
    code: 'malformed_json',
    hint: expect.any(String),
    retryable: false,
  });
});

test('an insane request id is replaced', async () => {
  const answer = await post('{', { 'x-request-id': 'a b"c' });
  expect(answer.json().instance).toMatch(/^[0-9a-f-]{36}$/);
});

const refused: [name: string, body: unknown, status: number, errors: unknown][] = [
  ['an unknown field', { to: [], cc: 1 }, 422, [{ pointer: '/cc', code: 'unknown_field' }]],
  [
    'an unknown field deep inside',
    { to: [], items: [{ name: 'x', 'a/b~c': 1 }] },
    422,
    [{ pointer: '/items/0/a~1b~0c', code: 'unknown_field' }],
  ],
  ['a missing field', {}, 422, [{ pointer: '/to', code: 'required' }]],
  [
    'several places at once',
    { to: [''], items: [{ name: 'too long', count: 'x' }] },
    422,
    [
      { pointer: '/to/0', code: 'too_small' },
      { pointer: '/items/0/name', code: 'too_big' },
      { pointer: '/items/0/count', code: 'invalid_type' },
    ],
  ],
  ['the branch that was meant', { to: [{ user_id: 'a', email: 'nonsense' }] }, 422, [{ pointer: '/to/0/email', code: 'invalid_format' }]],
  ['no branch at all', { to: [7] }, 422, [{ pointer: '/to/0', code: 'invalid_union' }]],
  ['a body of another type', [], 422, [{ pointer: '', code: 'invalid_type' }]],
  ['no body', '', 422, [{ pointer: '', code: 'required' }]],
  ['a prototype', '{"to":[],"data":{"__proto__":{"x":1}}}', 422, [{ pointer: '/data/__proto__', code: 'forbidden_key' }]],
  ['an escaped prototype', '{"to":[],"data":{"\\u005f_proto__":1}}', 422, [{ pointer: '/data/__proto__', code: 'forbidden_key' }]],
  [
    "a constructor's prototype",
    '{"to":[],"data":{"constructor":{"prototype":{}}}}',
    422,
    [{ pointer: '/data/constructor', code: 'forbidden_key' }],
  ],
  ['NUL', '{"to":["a\\u0000b"]}', 422, [{ pointer: '/to/0', code: 'nul' }]],
  ['a lone surrogate', '{"to":[],"data":{"x":"\\ud800"}}', 422, [{ pointer: '/data/x', code: 'lone_surrogate' }]],
  ['65 levels', `{"to":[],"data":${'{"x":'.repeat(64)}1${'}'.repeat(65)}`, 422, [{ pointer: `/data${'/x'.repeat(63)}`, code: 'too_deep' }]],
  ['half a document', '{"to":', 400, undefined],
  ['two documents', '{}{}', 400, undefined],
  ['bytes that are not UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), 400, undefined],
  ['over 1 MiB', `{"to":["${'x'.repeat(1024 * 1024)}"]}`, 413, undefined],
];
test.each(refused)('refused: %s', async (_name, body, status, errors) => {
  const answer = await post(body);
  expect(answer.statusCode).toBe(status);
  expect(answer.json().status).toBe(status);
  const [...found] = answer.json().errors ?? [];
  expect(found.length === 0 ? undefined : found).toEqual(
    errors === undefined ? undefined : (errors as object[]).map((one) => ({ ...one, detail: expect.any(String) })),
  );
});

test('accepted: pairs of surrogates, 64 levels, a constructor that is a word, an escaped backslash', async () => {
  for (const body of [
    '{"to":["\\ud83d\\ude00"]}',
    `{"to":[],"data":${'{"x":'.repeat(62)}1${'}'.repeat(63)}`,
    '{"to":[],"data":{"constructor":"Brunel"}}',
    '{"to":["\\\\u0000"]}',
  ])
    expect((await post(body)).statusCode).toBe(202);
});

test('a batch may have 5 MiB, and not more', async () => {
  const item = JSON.stringify('x'.repeat(1023));
  expect((await post(`[${Array(4_000).fill(item).join(',')}]`, {}, '/v1/things/batch')).json()).toEqual({ length: 4_000 });
  expect((await post(`[${Array(6_000).fill(item).join(',')}]`, {}, '/v1/things/batch')).statusCode).toBe(413);
});

test.each([
  ['text', { 'content-type': 'text/plain' }],
  ['a form', { 'content-type': 'application/x-www-form-urlencoded' }],
  ['nonsense', { 'content-type': 'json' }],
  ['an unknown compression', { 'content-encoding': 'zstd' }],
  ['two layers of compression', { 'content-encoding': 'gzip, gzip' }],
  ['another charset', { 'content-type': 'application/json; charset=iso-8859-1' }],
])('415: %s', async (_name, headers) => {
  const answer = await post({ to: [] }, headers);
  expect(answer.json()).toMatchObject({ status: 415, code: 'unsupported_media_type' });
});

test('a known path with another method is 405 with Allow, an unknown one 404, whatever the body', async () => {
  const wrong = await app.inject({ method: 'DELETE', url: '/v1/things/x' });
  expect(wrong.json()).toMatchObject({ status: 405, code: 'method_not_allowed' });
  expect(wrong.headers.allow).toBe('GET');
  expect((await app.inject({ method: 'PATCH', url: '/v1/things/batch' })).headers.allow).toBe('GET, POST');
  expect((await app.inject({ method: 'GET', url: '/v1/thing' })).json()).toMatchObject({ status: 404, code: 'not_found' });
  expect((await post('<x/>', { 'content-type': 'text/xml' }, '/nowhere')).statusCode).toBe(404);
  expect((await app.inject({ method: 'GET', url: '/v1/things/%ff' })).json()).toMatchObject({ status: 404, code: 'not_found' });
});

test('an id of 256 bytes, percent-encoded, is found; a longer one is not', async () => {
  expect((await app.inject({ method: 'GET', url: `/v1/things/${encodeURIComponent('€'.repeat(85))}` })).json()).toEqual({
    id: '€'.repeat(85),
  });
  expect((await app.inject({ method: 'GET', url: `/v1/things/${'x'.repeat(700)}` })).statusCode).toBe(404);
});

test('a query parameter that is not known or not valid has a pointer', async () => {
  expect((await app.inject({ method: 'GET', url: '/v1/things/x?limit=a&colour=red' })).json().errors).toEqual([
    { pointer: '/limit', code: 'invalid_format', detail: expect.any(String) },
    { pointer: '/colour', code: 'unknown_field', detail: expect.any(String) },
  ]);
});

test('an address with NUL is refused before anything reads it', async () => {
  expect((await app.inject({ method: 'GET', url: '/v1/things/a%00b' })).statusCode).toBe(404);
  expect((await app.inject({ method: 'GET', url: '/v1/things/x?limit=%00' })).json()).toMatchObject({
    status: 422,
    errors: [{ code: 'nul' }],
  });
});

test('401 is the same for whatever is wrong with the credentials; 403 names the scope', async () => {
  const bodies = new Set<string>();
  for (const authorization of [
    undefined,
    '',
    'Bearer',
    'Bearer unknown',
    'Basic right-key',
    'Bearer right-key extra',
    `Bearer ${'x'.repeat(9_000)}`,
  ]) {
    const answer = await app.inject({
      method: 'POST',
      url: '/v1/things',
      headers: { 'x-request-id': 'same-for-all', ...(authorization !== undefined && { authorization }) },
    });
    expect(answer.statusCode).toBe(401);
    expect(answer.headers['www-authenticate']).toBe('Bearer');
    bodies.add(answer.body);
  }
  for (const query of ['api_key=right-key', 'access_token=x', 'x=1&token=y', 'x=cn_live_abc']) {
    const answer = await post({ to: [] }, { 'x-request-id': 'same-for-all' }, `/v1/things?${query}`);
    expect(answer.statusCode).toBe(401);
    bodies.add(answer.body);
  }
  expect(bodies.size).toBe(1);
  const forbidden = await post({ to: [] }, { authorization: 'Bearer other-scope' });
  expect(forbidden.json()).toMatchObject({ status: 403, code: 'scope_missing', detail: expect.stringContaining('events:write') });
});

test('the kinds of callers are not confused', async () => {
  expect((await post({}, {}, '/v1/things/x/verb')).statusCode).toBe(401);
  const asUser = await post({}, { authorization: 'Bearer user-token' }, '/v1/things/x/verb');
  expect(asUser.json()).toMatchObject({ status: 500, code: 'internal' }); // the handler asked for a key's holder
});

test('an idempotency key is scoped by method, path and user, and hashes the bytes', async () => {
  const headers = { authorization: 'Bearer user-token', 'idempotency-key': 'once' };
  const [one, other] = [await post('{"a":1}', headers, '/v1/keyed/x?y=1'), await post('{ "a":1}', headers, '/v1/keyed/x')];
  expect(one.json()).toMatchObject({ route: 'POST /v1/keyed/x ada', key: 'once' });
  expect(other.json().hash).not.toBe(one.json().hash);
  expect((await post({}, { ...headers, 'idempotency-key': 'é' }, '/v1/keyed/x')).json()).toMatchObject({
    status: 422,
    errors: [{ pointer: '/idempotency-key' }],
  });
  expect((await post({}, { authorization: 'Bearer user-token' }, '/v1/keyed/x')).body).toBe('null');
});

test('what should not happen answers nothing of itself and is logged once, with the request id', async () => {
  const answer = await app.inject({ method: 'GET', url: '/boom', headers: { 'x-request-id': 'boom-0001' } });
  expect(answer.json()).toMatchObject({ status: 500, code: 'internal', instance: 'boom-0001', retryable: true });
  expect(answer.body).not.toContain('hunter2');
  expect(logged).toEqual([
    {
      event: 'http.request',
      fields: expect.objectContaining({
        requestId: 'boom-0001',
        status: 500,
        code: 'internal',
        error: expect.objectContaining({ message: 'password=hunter2' }),
      }),
    },
  ]);
});

test('a database that is away is 503 with Retry-After', async () => {
  const answer = await app.inject({ method: 'GET', url: '/away' });
  expect(answer.json()).toMatchObject({ status: 503, code: 'unavailable', retryable: true });
  expect(answer.headers['retry-after']).toBe('2');
});

test('each request is counted under its pattern', async () => {
  await app.inject({ method: 'GET', url: '/v1/things/secret-user' });
  await app.inject({ method: 'GET', url: '/nowhere/else' });
  expect(seen.map(({ method, route, status }) => [method, route, status])).toEqual([
    ['GET', '/v1/things/:id', 200],
    ['GET', '(none)', 404],
  ]);
  expect(JSON.stringify(logged)).not.toContain('secret-user');
});

test('a route that does not say who may call it is refused when it is registered', () => {
  expect(() => {
    app.get('/open', async () => 'x');
  }).toThrow('does not say who may call it');
});

test('bytes that are not HTTP, and headers without end, get a problem and the end of the connection', async () => {
  await app.listen({ port: 0, host: '127.0.0.1' });
  expect(await talk(app, 'nonsense\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 [\s\S]+application\/problem\+json[\s\S]+"status":400/);
  expect(await talk(app, `GET / HTTP/1.1\r\nhost: x\r\nx-long: ${randomBytes(20_000).toString('hex')}\r\n\r\n`)).toMatch(
    /^HTTP\/1\.1 431 /,
  );
});

function talk(to: App, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    const socket = connectSocket((to.server.address() as AddressInfo).port, '127.0.0.1', () => socket.write(bytes));
    socket
      .on('data', (chunk) => {
        said += chunk.toString();
      })
      .on('close', () => {
        resolve(said);
      })
      .on('error', reject);
  });
}
