/** Destinations over the API: what is refused, what is shown, and who may do it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startServer, type TestServer } from '../harness/server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startServer({ 'inbox.cors_origins': ['https://app.example.org'] });
});
afterAll(() => server.stop());

const path = (id: string, verb = '') => `/v1/destinations/${id}${verb && `/${verb}`}`;
const good = { name: 'Ops', channel: 'webhook', config: { webhook_url: 'https://example.org/hook' } };

async function create(more: Record<string, unknown> = {}): Promise<string> {
  const { status, body } = await server.api('POST', '/v1/destinations', { ...good, ...more });
  expect(status).toBe(201);
  return body.id;
}

describe('saving', () => {
  test.each<[string, Record<string, unknown>, string, string]>([
    ['no URL', { config: {} }, '/config/webhook_url', 'required'],
    ['an empty URL', { config: { webhook_url: '' } }, '/config/webhook_url', 'required'],
    ['a URL of a private network', { config: { webhook_url: 'http://10.0.0.1/' } }, '/config/webhook_url', 'invalid_url'],
    ['metadata addresses', { config: { webhook_url: 'http://169.254.169.254/latest' } }, '/config/webhook_url', 'invalid_url'],
    ['an unknown key in the configuration', { config: { ...good.config, colour: 'red' } }, '/config/colour', 'unknown_field'],
    ['a header of ours', { config: { ...good.config, headers: { 'Webhook-Id': 'x' } } }, '/config/headers', 'invalid_header'],
    ['a header with a line break', { config: { ...good.config, headers: { a: 'b\r\nc: d' } } }, '/config/headers', 'invalid_header'],
    ['no mailbox', { channel: 'email', config: { email_addresses: [] } }, '/config/email_addresses', 'required'],
    [
      'a mailbox with a name',
      { channel: 'email', config: { email_addresses: ['A <a@example.org>'] } },
      '/config/email_addresses/0',
      'invalid_mailbox',
    ],
    ['a channel without addresses', { channel: 'in_app', config: {} }, '/channel', 'invalid_channel'],
    ['an unknown channel', { channel: 'pigeon' }, '/channel', 'invalid_value'],
    ['a switch that is neither on nor off', { events: { 'disk.full': 'yes' } }, '/events/disk.full', 'invalid_type'],
    ['an unknown severity', { severities: ['loud'] }, '/severities/0', 'invalid_value'],
    ['a wait that is none', { retry: { delays: ['soon'] } }, '/retry/delays/0', 'invalid_duration'],
    ['an unknown field', { colour: 'red' }, '/colour', 'unknown_field'],
  ])('%s is refused', async (_, change, pointer, code) => {
    const { status, body } = await server.api('POST', '/v1/destinations', { ...good, ...change });
    expect({ status, errors: body.errors }).toMatchObject({ status: 422, errors: [{ pointer, code }] });
  });

  test('an address that is missing is named', async () => {
    const { body } = await server.api('POST', '/v1/destinations', { name: 'Ops', channel: 'email', config: {} });
    expect(body.errors[0].detail).toBe('E-mail needs at least one address in email_addresses.');
  });

  test('has defaults, and a change leaves alone what it does not name', async () => {
    const id = await create({ severities: ['high'], events: { 'disk.full': true } });
    expect((await server.api('PATCH', path(id), { name: 'Operations' })).body).toMatchObject({
      id,
      name: 'Operations',
      channel: 'webhook',
      config: { webhook_url: 'https://example.org/hook', headers: {} },
      active: true,
      events: { 'disk.full': true },
      severities: ['high'],
      include_tags: [],
      exclude_tags: [],
      retry: { max_retries: 3, delays: ['30s', '2m', '10m'] },
      disabled_at: null,
    });
    expect((await server.api('PATCH', path(id), { channel: 'email' })).status).toBe(422);
  });

  test('is done once per Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'a destination' };
    const [first, again] = [
      await server.api('POST', '/v1/destinations', good, headers),
      await server.api('POST', '/v1/destinations', good, headers),
    ];
    expect(again.body).toEqual(first.body);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
  });
});

test('secrets are sealed at rest and in no answer: neither headers nor the signing secret', async () => {
  const id = await create({ config: { ...good.config, headers: { authorization: 'Bearer planted-secret' } } });
  const { body } = await server.api('GET', path(id));
  expect(body).toMatchObject({ config: { headers: { authorization: '…' } }, secret_set: true });
  const { secret } = (await server.api('GET', path(id, 'secret'))).body as { secret: string };
  for (const shown of [body, (await server.api('GET', '/v1/destinations')).body]) {
    expect(JSON.stringify(shown)).not.toContain('planted-secret');
    expect(JSON.stringify(shown)).not.toContain(secret.slice(6));
  }
  const [row] = await server.db.query<{ text: string }>(
    "select convert_from(decode(replace(encode(config || secret, 'hex'), '00', '01'), 'hex'), 'LATIN1') as text from carillon.destinations where config is not null order by created_at desc limit 1",
  );
  expect(row!.text).not.toMatch(/planted-secret|example\.org/);
});

test('the list reads forth and back, newest first', async () => {
  const ids: string[] = [];
  for (const name of ['one', 'two', 'three']) ids.unshift(await create({ name }));
  const list = async (query: string) => (await server.api('GET', `/v1/destinations?${query}`)).body;
  const idsOf = (page: { data: { id: string }[] }) => page.data.map(({ id }) => id);
  const first = await list('limit=2');
  expect(idsOf(first)).toEqual(ids.slice(0, 2));
  const second = await list(`limit=1&after=${first.next_cursor}`);
  expect(idsOf(second)).toEqual([ids[2]]);
  expect(idsOf(await list(`limit=2&before=${second.next_cursor}`))).toEqual(ids.slice(0, 2));
});

describe('by user token', () => {
  async function token(userId: string, profile: Record<string, unknown>): Promise<Record<string, string>> {
    await server.api('PUT', `/v1/users/${userId}`, profile);
    const { body } = await server.api('POST', `/v1/users/${userId}/token`, {});
    return { authorization: `Bearer ${body.token}` };
  }

  test.each(['owner', 'admin'])('an %s of the account does all of it', async (role) => {
    const headers = await token(`an-${role}`, { roles: [role] });
    const { status, body } = await server.api('POST', '/v1/destinations', good, headers);
    expect(status).toBe(201);
    const calls: [string, string, unknown?][] = [
      ['GET', '/v1/destinations'],
      ['GET', path(body.id)],
      ['PATCH', path(body.id), { name: 'Mine' }],
      ['GET', path(body.id, 'secret')],
      ['POST', path(body.id, 'rotate-secret')],
      ['POST', path(body.id, 'recover')],
      ['POST', path(body.id, 'test')],
      ['DELETE', path(body.id)],
    ];
    for (const [method, url, content] of calls)
      expect([method, url, (await server.api(method, url, content, headers)).status < 300]).toEqual([method, url, true]);
  });

  test.each([
    ['a member', { roles: ['member'] }],
    ['an admin who is not active', { roles: ['admin'], active: false }],
  ])('%s is refused', async (who, profile) => {
    const id = await create();
    const headers = await token(who.replaceAll(' ', '-'), profile);
    for (const [method, url] of [
      ['GET', '/v1/destinations'],
      ['GET', path(id)],
      ['PATCH', path(id)],
      ['DELETE', path(id)],
      ['POST', path(id, 'test')],
    ] as const) {
      const { status, body } = await server.api(method, url, method === 'PATCH' ? {} : undefined, headers);
      expect([method, status, body.code]).toEqual([method, 403, 'forbidden']);
    }
    expect((await server.api('GET', path(id))).status).toBe(200);
  });

  test('who is no longer an admin is refused at once', async () => {
    const headers = await token('demoted', { roles: ['admin'] });
    expect((await server.api('GET', '/v1/destinations', undefined, headers)).status).toBe(200);
    await server.api('PUT', '/v1/users/demoted', { roles: [] });
    expect((await server.api('GET', '/v1/destinations', undefined, headers)).status).toBe(403);
  });

  test('a token that is not one is as good as none', async () => {
    for (const authorization of ['Bearer eyJh.eyJh.sig', 'Bearer nonsense', ''])
      expect((await server.api('GET', '/v1/destinations', undefined, { authorization })).status).toBe(401);
  });

  test('pages of a listed origin may call', async () => {
    const origin = 'https://app.example.org';
    const answer = await fetch(`${server.url}/v1/destinations/dst_x/test`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST' },
    });
    expect(answer.status).toBe(204);
    expect(answer.headers.get('access-control-allow-origin')).toBe(origin);
  });
});

test('a key needs the scope', async () => {
  const { body } = await server.api('POST', '/v1/api-keys', { name: 'reader', scopes: ['destinations:read'] });
  const headers = { authorization: `Bearer ${body.key}` };
  expect((await server.api('GET', '/v1/destinations', undefined, headers)).status).toBe(200);
  const refused = await server.api('POST', '/v1/destinations', good, headers);
  expect([refused.status, refused.body.code]).toEqual([403, 'scope_missing']);
});
