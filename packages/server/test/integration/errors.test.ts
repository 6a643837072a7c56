/** The catalogue of errors: each code is provoked over HTTP, or listed with the reason why nobody outside can provoke it; each has its page. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ERRORS, type ErrorCode } from '../../src/domain/error.ts';
import { eventually } from '../harness/core.ts';
import { exchange } from '../harness/raw-http.ts';
import { startServer, type TestServer } from '../harness/server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

const EVENT = { type: 'x', to: ['ada'] };
const PAST = '2020-01-01T00:00:00Z';
const HEAD = ['GET /v1/events HTTP/1.1', 'host: x'];

/** What came, as far as it tells the codes apart. */
interface Told {
  readonly status: number;
  readonly body: { readonly code?: string; readonly type?: string };
}

const post = (path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Told> => server.api('POST', path, body, headers);

async function raw(head: readonly string[], body = ''): Promise<Told> {
  const answer = await exchange(server.url, head, body);
  return { status: answer.status, body: JSON.parse(answer.body) };
}

const withKey = async (fields: object): Promise<string> =>
  `Bearer ${(await server.api('POST', '/v1/api-keys', { name: 'of the errors', scopes: ['events:read'], ...fields })).body.key}`;

/** While it is there, each new event of this type makes the database say `state`. */
async function planted(state: string, provoke: () => Promise<Told>): Promise<Told> {
  await server.db.query(`
    create or replace function carillon.test_fail() returns trigger language plpgsql as $$ begin raise exception using errcode = '${state}'; end $$;
    create or replace trigger test_fail before insert on carillon.users for each row when (new.id = 'planted') execute function carillon.test_fail()`);
  return provoke().finally(() => server.db.query('drop trigger test_fail on carillon.users'));
}

const PROVOKED: Readonly<Partial<Record<ErrorCode, () => Promise<Told>>>> = {
  bad_request: () => raw(['GET /v1/events HTTP/1.1']),
  malformed_json: () =>
    raw(
      ['POST /v1/events HTTP/1.1', 'host: x', `authorization: Bearer ${server.key}`, 'content-type: application/json', 'content-length: 1'],
      '{',
    ),
  unauthorized: () => raw(HEAD),
  scope_missing: async () => post('/v1/events', EVENT, { authorization: await withKey({}) }),
  forbidden: async () => {
    const { token } = (await server.api('POST', '/v1/users/nobody-special/token')).body;
    return server.api('GET', '/v1/destinations', undefined, { authorization: `Bearer ${token}` });
  },
  not_found: () => server.api('GET', '/v1/events/evt_unknown'),
  method_not_allowed: () => server.api('DELETE', '/v1/events'),
  conflict: async () => {
    const { body } = await server.api('POST', '/v1/notifications', { to: ['ada'], subject: 's' });
    const delivery = async () => (await server.api('GET', `/v1/deliveries?event_id=${body.id}`)).body.data[0];
    await eventually(async () => (await delivery())?.status).toBe('delivered');
    return post(`/v1/deliveries/${(await delivery()).id}/retry`);
  },
  body_too_large: () => post('/v1/events', { ...EVENT, data: { text: 'x'.repeat(1024 * 1024) } }),
  uri_too_long: () => server.api('GET', `/v1/events?type=${'x'.repeat(9_000)}`),
  unsupported_media_type: () => post('/v1/events', EVENT, { 'content-type': 'text/plain' }),
  expectation_failed: () => raw([...HEAD, 'expect: a-miracle']),
  invalid: () => post('/v1/events', { ...EVENT, severty: 'high' }),
  recipients_missing: () => post('/v1/events', { type: 'x' }),
  event_type_unknown: async () => {
    const { api_key: first } = (await server.api('POST', '/v1/tenants', { id: 'strict', settings: { unknown_type: 'refuse' } })).body;
    return post('/v1/events', EVENT, { authorization: `Bearer ${first.key}` });
  },
  schedule_invalid: () => post('/v1/events', { ...EVENT, scheduled_for: PAST }),
  idempotency_mismatch: async () => {
    await post('/v1/events', EVENT, { 'idempotency-key': 'mismatched' });
    return post('/v1/events', { ...EVENT, severity: 'low' }, { 'idempotency-key': 'mismatched' });
  },
  rate_limited: async () => {
    const authorization = await withKey({ rate_limit: { requests: 1, window_seconds: 3_600 } });
    const ask = () => server.api('GET', '/v1/events', undefined, { authorization });
    await ask();
    return ask();
  },
  header_too_large: () => raw([...HEAD, `x-long: ${'x'.repeat(20_000)}`]),
  internal: () => planted('P0001', () => server.api('PUT', '/v1/users/planted', {})),
  unavailable: () => planted('57P03', () => server.api('PUT', '/v1/users/planted', {})),
};

/** Not provoked here, with the reason, and what shows it instead. */
const ELSEWHERE: Readonly<Partial<Record<ErrorCode, string>>> = {
  request_timeout: 'Takes 30 s of sending slowly: src/api/broken-request.test.ts does it with a shorter time.',
  idempotency_busy: 'Takes a first request that runs for over 5 s, which nobody outside can make: idempotency.test.ts holds the lock.',
};

const CODES = Object.keys(ERRORS) as ErrorCode[];

test('each code is either provoked here or has a reason why not', () => {
  expect([...Object.keys(PROVOKED), ...Object.keys(ELSEWHERE)].sort()).toEqual([...CODES].sort());
});

test.each(Object.entries(PROVOKED))('%s', async (code, provoke) => {
  const { status, body } = await provoke();
  expect({ status, code: body.code, type: body.type }, JSON.stringify(body)).toEqual({
    status: ERRORS[code as ErrorCode].status,
    code,
    type: `/errors/${code}`,
  });
});

describe('the page of', () => {
  test.each(CODES)('%s stands at its type address and explains it', async (code) => {
    const { status, headers, body } = await server.api('GET', `/errors/${code}`, undefined, { accept: 'text/html' });
    expect(status).toBe(200);
    expect(headers.get('content-type')).toContain('text/html');
    expect(headers.get('content-security-policy')).toContain("default-src 'none'");
    for (const part of ['Cause', 'What to do', 'Example', code, String(ERRORS[code].status)]) expect(body).toContain(part);
    expect((await server.api('GET', '/errors')).body).toContain(`href="/errors/${code}"`);
  });

  test('an unknown code does not exist', async () => {
    expect((await server.api('GET', '/errors/nonsense')).status).toBe(404);
  });
});
