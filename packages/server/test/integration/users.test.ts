import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { publicId } from '../../src/lib/id.ts';
import { activityServer, OTHER_KEY, told, type ActivityServer } from '../harness/activity.ts';

let server: ActivityServer;
beforeAll(async () => {
  server = await activityServer();
});
afterAll(() => server.close());

const full = {
  email: 'ada@example.org',
  phone: '+4915112345678',
  webhook_url: 'https://example.org/hook',
  roles: ['owner'],
  locale: 'de-AT',
  time_zone: 'Europe/Berlin',
  active: false,
  last_active_at: '2026-01-31T12:00:00.000Z',
  attributes: { plan: 'pro' },
};

describe('putting', () => {
  test('creates, then replaces all of it', async () => {
    const { status, json } = await server.call('PUT', '/v1/users/ada', { body: full });
    expect({ status, ...json }).toMatchObject({ status: 200, id: 'ada', ...full });
    expect((await server.call('PUT', '/v1/users/ada', { body: { email: 'ada@example.com' } })).json).toMatchObject({
      email: 'ada@example.com',
      phone: null,
      webhook_url: null,
      roles: [],
      locale: null,
      time_zone: null,
      active: true,
      last_active_at: null,
      attributes: {},
    });
    expect((await server.call('GET', '/v1/users/ada')).json.email).toBe('ada@example.com');
  });

  test('ids are bytes: encoded in paths, never folded', async () => {
    const id = 'Änne/ö 100%';
    await server.call('PUT', `/v1/users/${encodeURIComponent(id)}`, { body: {} });
    expect((await server.call('GET', `/v1/users/${encodeURIComponent(id)}`)).json.id).toBe(id);
    expect((await server.call('GET', `/v1/users/${encodeURIComponent(id.toLowerCase())}`)).status).toBe(404);
    const longest = 'x'.repeat(256);
    expect((await server.call('PUT', `/v1/users/${longest}`, { body: {} })).json.id).toBe(longest);
  });

  const wrong: [field: string, value: unknown, code: string][] = [
    ['email', 'Ada <ada@example.org>', 'invalid_mailbox'],
    ['email', 'ada@example.org\r\nbcc: eve@example.org', 'invalid_mailbox'],
    ['phone', '0151 123', 'invalid_format'],
    ['webhook_url', 'http://169.254.169.254/latest', 'invalid_url'],
    ['webhook_url', 'file:///etc/passwd', 'invalid_url'],
    ['time_zone', '+02:00', 'invalid_time_zone'],
    ['time_zone', 'Europe/Atlantis', 'invalid_time_zone'],
    ['locale', 'not a locale', 'invalid_locale'],
    ['nickname', 'ada', 'unknown_field'],
  ];
  test.each(wrong)('%s %j is refused as %s', async (field, value, code) => {
    const { status, json } = await server.call('PUT', '/v1/users/wrong', { body: { [field]: value } });
    expect({ status, errors: json.errors }).toMatchObject({ status: 422, errors: [{ pointer: `/${field}`, code }] });
    expect((await server.call('GET', '/v1/users/wrong')).status).toBe(404);
  });

  test('a zone by its other name is a zone', async () => {
    expect((await server.call('PUT', '/v1/users/zoned', { body: { time_zone: 'US/Eastern' } })).status).toBe(200);
  });

  test('a new address is tried again, the same one is not', async () => {
    await server.call('PUT', '/v1/users/bounced', { body: { email: 'old@example.org', webhook_url: 'https://example.org/old' } });
    await server.db.query(
      `update carillon.users set suppressed = '{"email":"old@example.org","webhook":"https://example.org/old"}' where id = 'bounced'`,
    );
    const suppressed = async () =>
      (await server.db.query<{ suppressed: unknown }>("select suppressed from carillon.users where id = 'bounced'"))[0]?.suppressed;
    await server.call('PUT', '/v1/users/bounced', { body: { email: 'old@example.org', webhook_url: 'https://example.org/new' } });
    expect(await suppressed()).toEqual({ email: 'old@example.org' });
    await server.call('PUT', '/v1/users/bounced', { body: { email: 'new@example.org' } });
    expect(await suppressed()).toEqual({});
  });
});

describe('batches', () => {
  test('each item is answered in its place, and a bad one stops nobody', async () => {
    const body = [
      { id: 'b1', email: 'b1@example.org' },
      { id: 'b2', email: 'nonsense' },
      { email: 'no-id@example.org' },
      { id: 'b1', email: 'last@example.org' },
    ];
    const { status, json } = await server.call('POST', '/v1/users/batch', { body });
    expect(status).toBe(200);
    expect(
      json.results.map(
        (result: { id?: string; error?: { code: string; errors: { pointer: string }[] } }) => result.id ?? result.error?.errors[0]?.pointer,
      ),
    ).toEqual(['b1', '/email', '/id', 'b1']);
    expect((await server.call('GET', '/v1/users/b1')).json.email).toBe('last@example.org');
    expect((await server.call('GET', '/v1/users/b2')).status).toBe(404);
  });

  test('takes effect once per key', async () => {
    const headers = { 'idempotency-key': 'users-once' };
    const first = await server.call('POST', '/v1/users/batch', { body: [{ id: 'once', email: 'first@example.org' }], headers });
    await server.call('PUT', '/v1/users/once', { body: { email: 'second@example.org' } });
    const again = await server.call('POST', '/v1/users/batch', { body: [{ id: 'once', email: 'first@example.org' }], headers });
    expect(again.json).toEqual(first.json);
    expect(again.headers['idempotent-replayed']).toBe('true');
    expect((await server.call('GET', '/v1/users/once')).json.email).toBe('second@example.org');
  });

  test('over 1,000 are refused', async () => {
    expect(
      (await server.call('POST', '/v1/users/batch', { body: Array.from({ length: 1_001 }, (_, n) => ({ id: `n${n}` })) })).status,
    ).toBe(422);
  });
});

describe('lists', () => {
  test('reads forth and back over all pages, by bytes', async () => {
    const ids = ['B', 'a', 'b', 'c', 'ä'];
    await server.call('POST', '/v1/users/batch', { body: ids.map((id) => ({ id })), key: OTHER_KEY });
    const list = async (query: string) =>
      (await server.call('GET', `/v1/users?${query}`, { key: OTHER_KEY })).json as {
        data: { id: string }[];
        has_more: boolean;
        next_cursor: string;
      };
    const names = ({ data }: { data: { id: string }[] }) => data.map(({ id }) => id);
    const first = await list('limit=2');
    const second = await list(`limit=2&after=${first.next_cursor}`);
    const third = await list(`limit=2&after=${second.next_cursor}`);
    expect([first, second, third].map(names)).toEqual([['B', 'a'], ['b', 'c'], ['ä']]);
    expect([third.has_more, third.next_cursor]).toEqual([false, null]);
    const back = await list(`limit=1&before=${second.next_cursor}`);
    expect(names(back)).toEqual(['b']);
    expect(names(await list(`limit=2&before=${back.next_cursor}`))).toEqual(['B', 'a']);
  });

  test.each(['limit=0', 'limit=101', 'after=nonsense', 'after=x&before=y', 'surprise=1'])('?%s is refused', async (query) => {
    expect((await server.call('GET', `/v1/users?${query}`)).status).toBe(422);
  });
});

describe('preferences', () => {
  test('an opt-out is kept, also for somebody not seen before', async () => {
    const body = { channels: { email: { enabled: false } } };
    expect((await server.call('GET', '/v1/users/chooser/preferences')).status).toBe(404);
    expect((await server.call('PUT', '/v1/users/chooser/preferences', { body })).json).toEqual(body);
    expect((await server.call('GET', '/v1/users/chooser/preferences')).json).toEqual(body);
    await server.call('PUT', '/v1/users/chooser', { body: { email: 'chooser@example.org' } });
    expect((await server.call('GET', '/v1/users/chooser/preferences')).json).toEqual(body);
  });

  test('nothing is accepted that is not obeyed', async () => {
    const { status, json } = await server.call('PUT', '/v1/users/chooser/preferences', {
      body: {
        channels: { email: { enabled: false, digest: '15 minutes' }, pigeon: { enabled: false } },
        quiet_hours: { enabled: true, start: '22:00', end: '7:00' },
      },
    });
    expect(status).toBe(422);
    expect(json.errors.map(({ pointer }: { pointer: string }) => pointer).sort()).toEqual([
      '/channels/email/digest',
      '/channels/pigeon',
      '/quiet_hours/end',
    ]);
  });
});

test('one tenant does not see the users of another', async () => {
  await server.call('PUT', '/v1/users/private', { body: full });
  for (const path of ['', '/preferences', '/notifications'])
    expect((await server.call('GET', `/v1/users/private${path}`, { key: OTHER_KEY })).status).toBe(404);
  expect((await server.call('DELETE', '/v1/users/private', { key: OTHER_KEY })).status).toBe(404);
  expect((await server.call('GET', '/v1/users/private')).status).toBe(200);
});

describe('erasing', () => {
  test('nothing of the person stays, nothing more is sent, and the others keep theirs', async () => {
    const inline = { user_id: 'leaver', email: 'secret-leaver@example.org' };
    const both = await told(
      server.db,
      'leaver',
      [
        { channel: 'in_app', state: 'delivered', reason: 'sent' },
        { channel: 'email', state: 'pending', reason: 'retrying', address: 'secret-leaver@example.org', failures: 2 },
      ],
      {
        request: { to: [inline, 'stayer'] },
      },
    );
    const alone = await told(
      server.db,
      'leaver',
      [{ channel: 'webhook', state: 'sending', reason: 'sending', address: 'https://example.org/secret-leaver' }],
      { request: { to: [inline], subject: 'secret-leaver' } },
    );
    await server.call('PUT', '/v1/users/leaver', { body: { email: 'secret-leaver@example.org' } });
    expect((await server.call('DELETE', '/v1/users/leaver')).status).toBe(204);

    expect((await server.call('GET', '/v1/users/leaver')).status).toBe(404);
    expect((await server.call('DELETE', '/v1/users/leaver')).status).toBe(404);
    expect(server.looked).toContain('acme leaver');
    const everything = await server.db.query<{ all: string }>(
      `select (select json_agg(e)::text from carillon.events e where id = any($1)) || (select json_agg(n)::text from carillon.notifications n where user_id = 'leaver')
           || (select json_agg(d)::text from carillon.deliveries d where event_id = any($1)) || (select json_agg(a)::text from carillon.attempts a where delivery_id = any($2)) as all`,
      [
        [both.eventId, alone.eventId],
        [...both.deliveryIds, ...alone.deliveryIds],
      ],
    );
    expect(everything[0]!.all).not.toMatch(/secret-leaver|try later/);
    expect(everything[0]!.all).toContain('stayer');
    expect(
      await server.db.query(
        "select unread, total, sequence > 1 as moved, floor = sequence as raised from carillon.inbox where user_id = 'leaver'",
      ),
    ).toEqual([{ unread: 0, total: 0, moved: true, raised: true }]);
    const { json } = await server.call('GET', `/v1/events/${publicId('evt', both.eventId)}`);
    expect(json.counts).toMatchObject({ delivered: 1, cancelled: 1, pending: 0 });
    expect(await server.db.query('select cancel_requested, address from carillon.deliveries where event_id = $1', [alone.eventId])).toEqual(
      [{ cancel_requested: true, address: null }],
    );
  });
});
