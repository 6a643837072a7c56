import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshDatabase, type TestDatabase } from '../../../test/harness/database.ts';
import { checksumValid, hashApiKey, makeVault } from '../../lib/crypto.ts';
import { findByHash, touchKeys } from '../../store/api-keys.ts';
import { bootstrap } from '../../store/bootstrap.ts';
import { within } from '../../store/database.ts';
import { appliedMigration } from '../../store/health.ts';
import { claimKeys } from '../../store/idempotency.ts';
import { migrationsIn } from '../../store/migrate.ts';
import { createTenant, newTenantSecrets } from '../../store/tenants.ts';
import { makeMetrics } from '../../telemetry/metrics.ts';
import { buildApp, type App } from '../app.ts';
import { makeAuth, SCOPES, type Auth } from '../auth.ts';
import { apiKeyRoutes } from './api-keys.ts';
import { healthRoutes } from './health.ts';
import { referenceRoutes } from './reference.ts';

const pepper = randomBytes(32);
const vault = makeVault({ keys: new Map([['one', randomBytes(32)]]), current: 'one' });
const metrics = makeMetrics();
const migrations = migrationsIn();
const DAY_MS = 86_400_000;

let db: TestDatabase;
let app: App;
let auth: Auth;
let monotonicMs = 0;
let draining = false;
let databaseAway = false;

beforeAll(async () => {
  db = await freshDatabase();
  await bootstrap(db.database, {
    vault,
    pepper,
    bootstrapKey: 'the-bootstrap-key',
    scopes: SCOPES,
    now: () => new Date(),
    random: randomBytes,
  });
  auth = makeAuth({
    hashKey: (key) => hashApiKey(pepper, key),
    findKey: (hash) => findByHash(db.database.engine, hash),
    verifyUserToken: async () => undefined,
    isAccountAdmin: async () => false,
    touchKeys: (uses) => touchKeys(db.database.engine, uses),
    now: () => new Date(),
    monotonicMs: () => monotonicMs,
    log: () => undefined,
  });
  app = buildApp({ auth, log: () => undefined, observe: metrics.requested, logsSuccess: true }, (it) => {
    apiKeyRoutes(it, {
      database: db.database,
      hashKey: (key) => hashApiKey(pepper, key),
      random: randomBytes,
      now: () => new Date(),
      idempotencyTtlMs: DAY_MS,
      forget: auth.forget,
    });
    healthRoutes(it, {
      appliedMigration: async () => (databaseAway ? Promise.reject(new Error('away')) : appliedMigration(db.database.engine)),
      knownMigration: migrations.at(-1)!.number,
      draining: () => draining,
      metrics,
    });
    referenceRoutes(it, { version: '0.1.0' });
  });
});
afterAll(async () => {
  await app.close();
  await db.drop();
});

function call(
  method: 'GET' | 'POST' | 'DELETE',
  url: string,
  { key = 'the-bootstrap-key', body, headers = {} }: { key?: string; body?: object; headers?: Record<string, string> } = {},
) {
  return app.inject({ method, url, headers: { authorization: `Bearer ${key}`, ...headers }, ...(body && { payload: body }) });
}

const make = async (body: object = {}, headers: Record<string, string> = {}) =>
  call('POST', '/v1/api-keys', { body: { name: 'backend', scopes: ['keys:write'], ...body }, headers });

test('a key is made, works, is listed without itself, and is revoked at once in this process', async () => {
  const made = await make({ name: 'short-lived' });
  expect(made.statusCode).toBe(201);
  const { id, key, ...rest } = made.json();
  expect(id).toMatch(/^key_[0-9a-hjkmnp-tv-z]{26}$/);
  expect(checksumValid(key)).toBe(true);
  expect(rest).toEqual({
    tenant_id: 'default',
    name: 'short-lived',
    hint: `${key.slice(0, 12)}…`,
    scopes: ['keys:write'],
    created_at: expect.stringMatching(/Z$/),
    expires_at: null,
    revoked_at: null,
    replaced_by: null,
    access_client_id: null,
    rate_limit: null,
    last_used_at: null,
    request_count: 0,
    event_count: 0,
  });

  const listed = await call('GET', '/v1/api-keys', { key });
  expect(listed.json().data[0]).toMatchObject({ id, name: 'short-lived' });
  expect(listed.body).not.toContain(key);

  expect((await call('DELETE', `/v1/api-keys/${id}`)).statusCode).toBe(204);
  expect((await call('GET', '/v1/api-keys', { key })).statusCode).toBe(401);
  expect((await call('GET', '/v1/api-keys')).json().data[0].revoked_at).toMatch(/Z$/);
});

test('of a hundred equal requests at once one makes a key, and only its answer shows it', async () => {
  const answers = await Promise.all(Array.from({ length: 100 }, () => make({ name: 'raced' }, { 'idempotency-key': 'race' })));
  expect(new Set(answers.map((answer) => answer.statusCode))).toEqual(new Set([201]));
  expect(new Set(answers.map((answer) => answer.json().id)).size).toBe(1);
  expect(answers.filter((answer) => answer.json().key !== undefined)).toHaveLength(1);
  expect(answers.filter((answer) => answer.headers['idempotent-replayed'] === 'true')).toHaveLength(99);
  expect(await db.query("select 1 from carillon.api_keys where name = 'raced'")).toHaveLength(1);
  const shown: string = answers.find((answer) => answer.json().key !== undefined)!.json().key;
  expect(JSON.stringify(await db.query('select answer from carillon.idempotency_keys'))).not.toContain(shown);

  const other = await make({ name: 'other' }, { 'idempotency-key': 'race' });
  expect(other.json()).toMatchObject({ status: 422, code: 'idempotency_mismatch' });
});

test('an error is not remembered: the same key may be used again', async () => {
  const refused = await make({ expires_at: '2020-01-01T00:00:00Z' }, { 'idempotency-key': 'again' });
  expect(refused.json()).toMatchObject({ status: 422, errors: [{ pointer: '/expires_at', code: 'in_the_past' }] });
  expect((await make({}, { 'idempotency-key': 'again' })).statusCode).toBe(201);
});

test('a request with a key that is still in use waits, then gives up', async () => {
  const route = 'POST /v1/api-keys';
  let released = false;
  let claimed: () => void = () => undefined;
  const ready = new Promise<void>((resolve) => {
    claimed = resolve;
  });
  const first = db.database.transaction(async (tx) => {
    await claimKeys(tx, [
      { tenantId: 'default', route, key: 'slow', hash: createHash('sha256').update('x').digest(), answer: null, ttlMs: DAY_MS },
    ]);
    claimed();
    // Longer than a transaction may idle: keep it busy until the other one gave up.
    while (!released) await within(tx).query({ name: 'test-busy', text: 'select pg_sleep(0.05)', values: [] });
  });
  await ready;
  const answer = await make({}, { 'idempotency-key': 'slow' });
  released = true;
  await first;
  expect(answer.json()).toMatchObject({ status: 409, code: 'idempotency_busy', retryable: true });
  expect(answer.headers['retry-after']).toBe('1');
}, 20_000);

test("no key gives what it does not have, and another tenant's key is not found", async () => {
  const { key } = (await make({ name: 'limited' })).json();
  const beyond = await call('POST', '/v1/api-keys', { key, body: { name: 'x', scopes: ['operator'] } });
  expect(beyond.json()).toMatchObject({ status: 403, code: 'scope_missing' });

  await db.database.transaction((tx) => createTenant(tx, newTenantSecrets('foreign', vault, randomBytes)));
  await db.query(
    "insert into carillon.api_keys (tenant_id, id, hash, name, hint, scopes) values ('foreign', gen_random_uuid(), $1, 'theirs', '', '{keys:write}')",
    [hashApiKey(pepper, 'foreign-key')],
  );
  const { id } = (await make({ name: 'mine' })).json();
  const [theirs, unknown, malformed] = await Promise.all(
    [`/v1/api-keys/${id}`, '/v1/api-keys/key_01h455vb4pex5vsknk084sn02q', '/v1/api-keys/nonsense'].map((url) =>
      call('DELETE', url, { key: 'foreign-key', headers: { 'x-request-id': 'same-for-all' } }),
    ),
  );
  expect(theirs!.statusCode).toBe(404);
  expect([unknown!.body, malformed!.body]).toEqual([theirs!.body, theirs!.body]);
  expect((await call('GET', '/v1/api-keys', { key: 'foreign-key' })).json().data.map((one: { name: string }) => one.name)).toEqual([
    'theirs',
  ]);
});

test('a list is paged by cursor, each key once', async () => {
  const names: string[] = [];
  let url = '/v1/api-keys?limit=2';
  for (let pages = 0; pages < 20; pages += 1) {
    const { data, has_more, next_cursor } = (await call('GET', url)).json();
    names.push(...data.map((one: { id: string }) => one.id));
    expect(has_more).toBe(next_cursor !== null);
    if (!has_more) break;
    url = `/v1/api-keys?limit=2&after=${next_cursor}`;
  }
  const rows = await db.query("select 1 from carillon.api_keys where tenant_id = 'default'");
  expect(names).toHaveLength(rows.length);
  expect(new Set(names).size).toBe(rows.length);
  for (const bad of ['limit=0', 'limit=101', 'limit=', 'after=nonsense', 'after=WyJ4Il0'])
    expect((await call('GET', `/v1/api-keys?${bad}`)).statusCode, bad).toBe(422);
});

test('a key that was verified is asked for again after five seconds, one that was not after one', async () => {
  const { key } = (await make({ name: 'looked-up' })).json();
  expect((await call('GET', '/v1/api-keys', { key })).statusCode).toBe(200);
  await db.query("update carillon.api_keys set revoked_at = now() where name = 'looked-up'"); // by another process
  expect((await call('GET', '/v1/api-keys', { key })).statusCode).toBe(200);
  monotonicMs += 5_000;
  expect((await call('GET', '/v1/api-keys', { key })).statusCode).toBe(401);
  await db.query("update carillon.api_keys set revoked_at = null where name = 'looked-up'");
  expect((await call('GET', '/v1/api-keys', { key })).statusCode).toBe(401);
  monotonicMs += 1_000;
  expect((await call('GET', '/v1/api-keys', { key })).statusCode).toBe(200);
});

test('the last use is written in the background', async () => {
  const { key } = (await make({ name: 'used' })).json();
  await call('GET', '/v1/api-keys', { key });
  await auth.close();
  const used = (await call('GET', '/v1/api-keys')).json().data.find((one: { name: string }) => one.name === 'used');
  expect(used.last_used_at).toMatch(/Z$/);
});

test('live is live; ready needs a database and a process that is not stopping', async () => {
  expect((await app.inject('/health/live')).json()).toEqual({ status: 'ok' });
  expect((await app.inject('/health/ready')).json()).toEqual({ status: 'ok' });
  expect((await app.inject({ method: 'HEAD', url: '/health/ready' })).statusCode).toBe(200);
  draining = true;
  expect((await app.inject('/health/ready')).json()).toMatchObject({ status: 503, detail: 'This process is stopping.' });
  draining = false;
  databaseAway = true;
  expect((await app.inject('/health/ready')).json()).toMatchObject({ status: 503, detail: 'The database does not answer.' });
  databaseAway = false;
});

test('metrics count requests by pattern', async () => {
  const { body, headers } = await app.inject('/metrics');
  expect(headers['content-type']).toMatch(/^text\/plain/);
  expect(body).toContain('carillon_http_request_duration_seconds_count{route="/v1/api-keys",method="POST",status="201"}');
  expect(body).not.toContain('key_');
});

test('every problem names a page that this server serves', async () => {
  const { type, title } = (await call('GET', '/v1/nothing')).json();
  const shown = await app.inject(type);
  expect(shown.statusCode).toBe(200);
  expect(shown.headers).toMatchObject({
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': expect.stringContaining("default-src 'none'"),
  });
  expect(shown.body).toContain(title);
  expect((await app.inject('/errors')).body).toContain('/errors/invalid');
  expect((await app.inject('/errors/toString')).statusCode).toBe(404);
});

test('the OpenAPI document describes what is enforced', async () => {
  const first = await app.inject('/openapi.json');
  const document = first.json();
  expect(document.openapi).toBe('3.1.1');
  expect(Object.keys(document.paths)).toEqual([
    '/health/live',
    '/health/ready',
    '/v1/api-keys',
    '/v1/api-keys/{id}',
    '/v1/api-keys/{id}/rotate',
  ]);
  const post = document.paths['/v1/api-keys'].post;
  expect(post).toMatchObject({
    operationId: 'post_api_keys',
    tags: ['api-keys'],
    security: [{ apiKey: [] }],
    parameters: [{ name: 'Idempotency-Key', in: 'header' }],
    requestBody: { required: true },
  });
  expect(post.requestBody.content['application/json'].schema).toMatchObject({ required: ['name', 'scopes'], additionalProperties: false });
  expect(Object.keys(post.responses)).toEqual(['201', 'default']);
  expect(document.paths['/v1/api-keys'].get.parameters.map((one: { name: string; required: boolean }) => [one.name, one.required])).toEqual(
    [
      ['limit', false],
      ['after', false],
      ['before', false],
      ['tenant_id', false],
    ],
  );
  expect(document.paths['/v1/api-keys/{id}'].delete.parameters[0]).toMatchObject({ name: 'id', in: 'path', required: true });
  expect(document.paths['/health/live'].get.security).toEqual([]);
  expect((await app.inject('/openapi.json')).body).toBe(first.body);
});
