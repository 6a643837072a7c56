/** Cloudflare Access in front: its service tokens are callers. The keys are our own, served over HTTP as Access serves them. */
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, type CryptoKey, type JWK, type JWTPayload } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startReceiver } from '../harness/receiver.ts';
import { startServer, type Reply, type TestServer } from '../harness/server.ts';

const ISSUER = 'https://team.cloudflareaccess.com';
const AUDIENCE = '32eafc7626e974616deaf0dc3ce63d7bcbed58a2731e84d06bc3cdf1b53c4228';
const CLIENT = 'e367826f93b8d71185e03fe518aff3b4.access';
const HOUR_S = 3_600;

let server: TestServer;
let keys: Awaited<ReturnType<typeof startReceiver>>;
let ours: CryptoKey;
let stranger: CryptoKey;

beforeAll(async () => {
  const pair = await generateKeyPair('RS256', { extractable: true });
  ours = pair.privateKey;
  stranger = (await generateKeyPair('RS256')).privateKey;
  const jwk: JWK = { ...(await exportJWK(pair.publicKey)), kid: 'ours', alg: 'RS256', use: 'sig' };
  // As long as the real one: both keys come again as certificates.
  const set = JSON.stringify({ keys: [jwk], public_certs: [{ kid: 'ours', cert: 'x'.repeat(8_000) }] });
  keys = await startReceiver((response) => response.writeHead(200, { 'content-type': 'application/json' }).end(set));
  server = await startServer({
    'access.keys_url': `http://127.0.0.1:${keys.port}/certs`,
    'access.issuer': ISSUER,
    'access.audience': AUDIENCE,
  });
  await server.api('POST', '/v1/tenants', { id: 'acme' });
  const client = { name: 'billing', scopes: ['events:write', 'events:read'], tenant_id: 'acme', access_client_id: CLIENT };
  const made = await server.api('POST', '/v1/api-keys', client);
  expect(made.body).toMatchObject({ tenant_id: 'acme', access_client_id: CLIENT });
  expect([made.status, made.body.key]).toEqual([201, undefined]);
}, 60_000);
afterAll(async () => {
  await server.stop();
  await keys.close();
});

const now = () => Math.floor(Date.now() / 1_000);
const claims = (more: JWTPayload = {}): JWTPayload => ({
  type: 'app',
  aud: [AUDIENCE],
  iss: ISSUER,
  iat: now(),
  exp: now() + HOUR_S,
  common_name: CLIENT,
  sub: '',
  ...more,
});
const signed = (more: JWTPayload = {}, { key = ours, kid = 'ours' }: { key?: CryptoKey; kid?: string } = {}) =>
  new SignJWT(claims(more)).setProtectedHeader({ alg: 'RS256', kid, typ: 'JWT' }).sign(key);

async function call(headers: Record<string, string>, method = 'GET', path = '/v1/events', body?: object): Promise<Reply> {
  const content = body && { body: JSON.stringify(body) };
  const answer = await fetch(`${server.url}${path}`, {
    method,
    headers: { ...headers, ...(body && { 'content-type': 'application/json' }) },
    ...content,
  });
  return { status: answer.status, headers: answer.headers, body: await answer.json() };
}
const through = (assertion: string, method?: string, path?: string, body?: object) =>
  call({ 'cf-access-jwt-assertion': assertion }, method, path, body);

test('a service token is the caller that its client is registered as: tenant, scopes, counts', async () => {
  const assertion = await signed();
  const told = await through(assertion, 'POST', '/v1/notifications', { to: ['ada'], subject: 's' });
  expect(told.status).toBe(202);
  expect((await through(assertion, 'GET', `/v1/events/${told.body.id}`)).status).toBe(200);
  expect((await server.api('GET', `/v1/events/${told.body.id}`)).status).toBe(404); // acme's, not ours
  expect((await through(assertion, 'GET', '/v1/users')).body).toMatchObject({ status: 403, code: 'scope_missing' });
  expect((await server.api('GET', '/metrics')).body).toContain('carillon_messages_total{client="billing"} 1');
  expect(keys.requests.length).toBe(1);
});

test('whatever is wrong with the assertion, the answer is the one to a missing key', async () => {
  const missing = await call({});
  const now60 = now() - 60;
  const wrong: Record<string, string> = {
    expired: await signed({ iat: now60 - HOUR_S, exp: now60 }),
    'without an end': await new SignJWT({ ...claims(), exp: undefined }).setProtectedHeader({ alg: 'RS256', kid: 'ours' }).sign(ours),
    'not yet valid': await signed({ nbf: now() + HOUR_S }),
    'another audience': await signed({ aud: ['another'] }),
    'another issuer': await signed({ iss: 'https://other.cloudflareaccess.com' }),
    'another key under our kid': await signed({}, { key: stranger }),
    'an unknown kid': await signed({}, { key: stranger, kid: 'unknown' }),
    'alg none': new UnsecuredJWT(claims()).encode(),
    'alg HS256 with the public key': await new SignJWT(claims())
      .setProtectedHeader({ alg: 'HS256', kid: 'ours' })
      .sign(Buffer.from('x'.repeat(32))),
    'a client nobody registered': await signed({ common_name: 'unknown.access' }),
    'a person': await signed({ common_name: undefined, email: 'ada@example.org', sub: '7335d417' }),
    'a person with a name': await signed({ sub: '7335d417' }),
    'a session of the team': await signed({ type: 'org' }),
    'no token': 'nonsense',
    empty: '',
    'too long': `${'x'.repeat(9_000)}.y.z`,
  };
  for (const [what, assertion] of Object.entries(wrong)) {
    const answer = await through(assertion);
    expect({ ...answer.body, instance: '' }, what).toEqual({ ...missing.body, instance: '' });
    expect([answer.status, answer.headers.get('www-authenticate')], what).toEqual([401, missing.headers.get('www-authenticate')]);
  }
});

test('a key in Authorization goes first, and what stands for a client is no key', async () => {
  const assertion = await signed();
  expect((await call({ authorization: `Bearer ${server.key}`, 'cf-access-jwt-assertion': 'nonsense' })).status).toBe(200);
  expect((await call({ authorization: 'Bearer wrong', 'cf-access-jwt-assertion': assertion })).status).toBe(401);
  for (const key of [`access ${CLIENT}`, `access%20${CLIENT}`, CLIENT])
    expect((await call({ authorization: `Bearer ${key}` })).status, key).toBe(401);
});

test('a client is registered once, by an operator, and revoked like a key', async () => {
  const client = { name: 'x', scopes: ['events:read'], access_client_id: 'second.access' };
  const key = (await server.api('POST', '/v1/api-keys', { name: 'plain', scopes: ['keys:write', 'events:read'], tenant_id: 'acme' })).body
    .key;
  expect((await server.api('POST', '/v1/api-keys', client, { authorization: `Bearer ${key}` })).body).toMatchObject({
    status: 403,
    code: 'scope_missing',
  });
  const { id } = (await server.api('POST', '/v1/api-keys', client)).body;
  for (const tenant_id of ['default', 'acme'])
    expect((await server.api('POST', '/v1/api-keys', { ...client, tenant_id })).body, tenant_id).toMatchObject({
      status: 409,
      code: 'conflict',
    });
  expect((await server.api('POST', `/v1/api-keys/${id}/rotate`, {})).body).toMatchObject({ status: 409, code: 'conflict' });

  const assertion = await signed({ common_name: 'second.access' });
  expect((await through(assertion)).status).toBe(200);
  await server.api('DELETE', `/v1/api-keys/${id}`);
  expect((await through(assertion)).status).toBe(401);
});

test('without the settings an assertion is nothing', async () => {
  const plain = await startServer({}, { on: server.db });
  try {
    const answer = await fetch(`${plain.url}/v1/events`, { headers: { 'cf-access-jwt-assertion': await signed() } });
    expect(answer.status).toBe(401);
  } finally {
    await plain.stop();
  }
});
