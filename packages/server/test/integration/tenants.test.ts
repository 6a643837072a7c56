/** Tenants and their keys, from making one to the last use of a key, through the API. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SCOPES } from '../../src/api/auth.ts';
import { eventually } from '../harness/core.ts';
import { startServer, type Reply, type TestServer } from '../harness/server.ts';

const DAY_MS = 86_400_000;
let server: TestServer;

beforeAll(async () => {
  server = await startServer();
}, 60_000);
afterAll(() => server.stop());

const by =
  (key: string) =>
  (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    server.api(method, path, body, { authorization: `Bearer ${key}`, ...headers });
const made = (id: string, headers: Record<string, string> = {}): Promise<Reply> =>
  server.api('POST', '/v1/tenants', { id, name: 'A name' }, headers);
const tell = (key: string, user = 'ada') => by(key)('POST', '/v1/notifications', { to: [user], subject: 's' });

test('a tenant is made with its sibling, its secrets and a first key, which is shown once', async () => {
  const first = await made('acme', { 'idempotency-key': 'acme' });
  expect(first.status).toBe(201);
  expect(first.headers.get('location')).toBe('/v1/tenants/acme');
  const { api_key: key, ...tenant } = first.body;
  expect(tenant).toMatchObject({ id: 'acme', name: 'A name', test_tenant_id: 'acme:test' });
  expect(key).toMatchObject({ tenant_id: 'acme', name: 'first', scopes: SCOPES.filter((scope) => scope !== 'operator') });
  expect((await tell(key.key)).status).toBe(202);
  expect((await by(key.key)('POST', '/v1/users/ada/token', {})).status).toBe(201); // its own secret signs
  expect((await by(key.key)('GET', '/v1/users/ada/webhook-secret')).status).toBe(200);

  const again = await made('acme', { 'idempotency-key': 'acme' });
  expect(again.headers.get('idempotent-replayed')).toBe('true');
  expect(again.body.api_key.key).toBeUndefined();
  expect(again.body.api_key.id).toBe(key.id);
  expect((await made('acme')).body).toMatchObject({ status: 409, code: 'conflict' });
});

test('a tenant is read, renamed and listed in both directions, without siblings', async () => {
  for (const id of ['list-a', 'list-b', 'list-c']) expect((await made(id)).status).toBe(201);
  expect((await server.api('PATCH', '/v1/tenants/list-b', { name: 'Another' })).body).toMatchObject({ id: 'list-b', name: 'Another' });
  expect((await server.api('GET', '/v1/tenants/list-b:test')).body).toMatchObject({ id: 'list-b:test', test_tenant_id: null });
  expect((await server.api('GET', '/v1/tenants/list-x')).status).toBe(404);
  expect((await server.api('PATCH', '/v1/tenants/list-x', { name: 'x' })).status).toBe(404);

  const all = (await server.api('GET', '/v1/tenants?limit=100')).body;
  const ids: string[] = all.data.map((one: { id: string }) => one.id);
  expect(ids).toEqual(expect.arrayContaining(['default', 'list-a', 'list-b', 'list-c']));
  expect(ids.filter((id) => id.endsWith(':test'))).toEqual([]);
  const page = (await server.api('GET', '/v1/tenants?limit=2')).body;
  expect(page).toMatchObject({ has_more: true, data: [{ id: ids[0] }, { id: ids[1] }] });
  const next = (await server.api('GET', `/v1/tenants?limit=1&after=${page.next_cursor}`)).body;
  expect(next.data[0].id).toBe(ids[2]);
  const back = (await server.api('GET', `/v1/tenants?limit=2&before=${next.next_cursor}`)).body;
  expect(back.data.map((one: { id: string }) => one.id)).toEqual([ids[0], ids[1]]);
});

test('ids that are reserved, too long or unprintable are refused', async () => {
  for (const id of ['x:test', '', 'a\u0000b', 'y'.repeat(252)]) expect((await made(id)).status, id).toBe(422);
  expect((await made('z'.repeat(251))).status).toBe(201);
  expect((await server.api('POST', '/v1/tenants', { id: 'q', colour: 'red' })).body.errors).toMatchObject([{ pointer: '/colour' }]);
});

test('only the scope operator reaches tenants, and keys of another tenant', async () => {
  const { api_key: key } = (await made('plain')).body;
  const theirs = by(key.key);
  for (const [method, path, body] of [
    ['GET', '/v1/tenants'],
    ['GET', '/v1/tenants/plain'],
    ['PATCH', '/v1/tenants/plain', {}],
    ['POST', '/v1/tenants', { id: 'more' }],
    ['GET', '/v1/api-keys?tenant_id=default'],
    ['GET', '/v1/api-keys?tenant_id=nobody'],
    ['POST', '/v1/api-keys', { name: 'x', scopes: ['events:write'], tenant_id: 'default' }],
  ] as const) {
    const { status, body: answer } = await theirs(method, path, body);
    expect([status, answer.code], `${method} ${path}`).toEqual([403, 'scope_missing']);
  }
});

test('an operator makes, reads, rotates and revokes keys of any tenant; the tenant sees them', async () => {
  const { api_key: first } = (await made('served')).body;
  const body = { name: 'from above', scopes: ['events:write'], tenant_id: 'served' };
  const key = (await server.api('POST', '/v1/api-keys', body, { 'idempotency-key': 'above' })).body;
  const again = (await server.api('POST', '/v1/api-keys', body, { 'idempotency-key': 'above' })).body;
  expect([again.id, again.key]).toEqual([key.id, undefined]);
  expect((await tell(key.key)).status).toBe(202);
  expect((await by(first.key)('GET', `/v1/api-keys/${key.id}`)).body).toMatchObject({ name: 'from above', tenant_id: 'served' });
  expect((await server.api('GET', `/v1/api-keys/${key.id}`)).status).toBe(404);
  expect((await server.api('GET', `/v1/api-keys/${key.id}?tenant_id=served`)).status).toBe(200);
  const rotated = (await server.api('POST', `/v1/api-keys/${key.id}/rotate?tenant_id=served`, { overlap_seconds: 0 })).body;
  expect((await tell(key.key)).status).toBe(401);
  expect((await tell(rotated.key)).status).toBe(202);
  expect((await server.api('DELETE', `/v1/api-keys/${rotated.id}?tenant_id=served`)).status).toBe(204);
  expect((await tell(rotated.key)).status).toBe(401);
  const unknown = await server.api('POST', '/v1/api-keys', { ...body, tenant_id: 'nobody' });
  expect(unknown.body).toMatchObject({ status: 422, errors: [{ pointer: '/tenant_id', code: 'unknown_tenant' }] });
});

test('a rotated key works until the overlap ends, its successor at once and as long as the old one was to', async () => {
  const { api_key: first } = (await made('rotating')).body;
  const call = by(first.key);
  const expires = new Date(Date.now() + 10 * DAY_MS).toISOString();
  const old = (await call('POST', '/v1/api-keys', { name: 'backend', scopes: ['events:write'], expires_at: expires })).body;
  const fresh = (await call('POST', `/v1/api-keys/${old.id}/rotate`, { overlap_seconds: 3_600 })).body;
  expect(fresh).toMatchObject({ name: 'backend', scopes: ['events:write'], replaced_by: null });
  expect(Date.parse(fresh.expires_at) - Date.parse(fresh.created_at)).toBeGreaterThan(10 * DAY_MS - 60_000);
  expect((await call('GET', `/v1/api-keys/${old.id}`)).body.replaced_by).toBe(fresh.id);
  expect([(await tell(old.key)).status, (await tell(fresh.key)).status]).toEqual([202, 202]);
  expect((await call('POST', `/v1/api-keys/${old.id}/rotate`, {})).body).toMatchObject({ status: 409, code: 'conflict' });

  await server.moveClock(3_600_000);
  await eventually(async () => (await tell(old.key)).status).toBe(401);
  expect((await tell(fresh.key)).status).toBe(202);
  await call('DELETE', `/v1/api-keys/${fresh.id}`);
  expect((await call('POST', `/v1/api-keys/${fresh.id}/rotate`, {})).body).toMatchObject({ status: 409, code: 'conflict' });
}, 60_000);

test('nobody gains a scope by rotating a key that has more than he', async () => {
  const limited = (await server.api('POST', '/v1/api-keys', { name: 'limited', scopes: ['keys:write'] })).body;
  const [bootstrap] = (await server.api('GET', '/v1/api-keys?limit=100')).body.data.filter(
    (one: { name: string }) => one.name === 'bootstrap',
  );
  const answer = await by(limited.key)('POST', `/v1/api-keys/${bootstrap.id}/rotate`, {});
  expect(answer.body).toMatchObject({ status: 403, code: 'scope_missing' });
  expect((await server.api('GET', `/v1/api-keys/${bootstrap.id}`)).body.replaced_by).toBeNull();
});

test('test keys are made by the tenant itself, belong to its sibling, and have no operator', async () => {
  const { api_key: first } = (await made('tested')).body;
  const call = by(first.key);
  const key = (await call('POST', '/v1/api-keys', { name: 'ci', scopes: ['events:write', 'events:read'], tenant_id: 'tested:test' })).body;
  expect(key.key).toMatch(/^cn_test_/);
  expect(key.tenant_id).toBe('tested:test');
  expect((await call('GET', '/v1/api-keys?tenant_id=tested:test')).body.data.map((one: { id: string }) => one.id)).toEqual([key.id]);
  expect((await call('GET', '/v1/api-keys')).body.data.map((one: { name: string }) => one.name)).toEqual(['first']);
  const { id } = (await tell(key.key)).body;
  expect((await by(key.key)('GET', `/v1/events/${id}`)).status).toBe(200);
  expect((await call('GET', `/v1/events/${id}`)).status).toBe(404);
  const operator = await server.api('POST', '/v1/api-keys', { name: 'x', scopes: ['operator'], tenant_id: 'default:test' });
  expect(operator.body).toMatchObject({ status: 422, errors: [{ pointer: '/scopes', code: 'not_for_tests' }] });
});

test('requests and accepted events are counted per key, and messages per client', async () => {
  const { api_key: first } = (await made('counted')).body;
  const key = (await by(first.key)('POST', '/v1/api-keys', { name: 'the counted client', scopes: ['events:write'] })).body;
  const call = by(key.key);
  await call('POST', '/v1/notifications', { to: ['ada'], subject: 's' }, { 'idempotency-key': 'one' });
  await call('POST', '/v1/notifications', { to: ['ada'], subject: 's' }, { 'idempotency-key': 'one' }); // a repeat
  await call('POST', '/v1/notifications/batch', [{ to: ['ada'], subject: 's' }, { to: ['ada'], subject: 's' }, { bad: true }]);
  await call('POST', '/v1/notifications', { to: [] }); // refused
  await eventually(async () => (await by(first.key)('GET', `/v1/api-keys/${key.id}`)).body).toMatchObject({
    request_count: 4,
    event_count: 3,
    last_used_at: expect.stringMatching(/Z$/),
  });
  const metrics = await server.api('GET', '/metrics');
  expect(metrics.body).toContain('carillon_messages_total{client="the counted client"} 3');
}, 60_000);
