/** Preferences through the whole pipeline: what is asked for, what is refused, and that the explanation is what then happens. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { deliveriesOf, eventually } from '../harness/core.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

let server: TestServer;
let receiver: Receiver;
let names = 0;
/** Of each test's own, with addresses of his own. */
let user: string;

beforeAll(async () => {
  receiver = await startReceiver((response) => response.end());
  server = await startServer();
});
afterAll(async () => {
  await server.stop();
  await receiver.close();
});
beforeEach(async () => {
  user = `user-${++names}`;
  await server.api('PUT', `/v1/users/${user}`, { email: `${user}@example.org`, webhook_url: hook() });
});

const hook = (path = user) => `http://127.0.0.1:${receiver.port}/${path}`;
const prefer = (body: unknown, id = user) => server.api('PUT', `/v1/users/${id}/preferences`, body);
const CHANNELS = ['in_app', 'email', 'webhook'];
async function effective(query: string): Promise<{ channel: string; reason: string | null }[]> {
  const { body } = await server.api('GET', `/v1/users/${user}/preferences/effective?${query}`);
  return CHANNELS.map((name) => body.channels.find(({ channel }: { channel: string }) => channel === name));
}

interface Item {
  readonly type?: string;
  readonly severity?: string;
  readonly tags?: string[];
  readonly critical?: boolean;
}

/** `channel: reason` of each decision, once nothing is under way. */
async function told(item: Item = {}): Promise<string[]> {
  const { body } = await server.api('POST', '/v1/events', {
    type: 'disk.full',
    to: [user],
    channels: CHANNELS,
    ...item,
  });
  const rows = () => deliveriesOf(server.db, body.id);
  await eventually(async () => (await rows()).some(({ state }) => state === 'sending' || state === 'pending')).toBe(false);
  return (await rows()).map(({ channel, reason }) => `${channel}: ${reason}`);
}

describe('what a user wants is obeyed, and explained as it is obeyed', () => {
  const night = { enabled: true, start: '00:00', end: '23:59' };
  test.each<[string, unknown, Item, string[]]>([
    ['an opt-out', { channels: { email: { enabled: false } } }, {}, ['email: opted_out', 'in_app: sent', 'webhook: sent']],
    [
      'severities',
      { channels: { email: { severities: ['high', 'urgent'] }, webhook: { severities: ['medium'] } } },
      {},
      ['email: severity_filtered', 'in_app: sent', 'webhook: sent'],
    ],
    [
      'tags, of which the unwanted win',
      {
        channels: {
          email: { include_tags: ['a'] },
          webhook: { include_tags: ['a'], exclude_tags: ['b'] },
          in_app: { include_tags: ['c'] },
        },
      },
      { tags: ['a', 'b'] },
      ['email: sent', 'in_app: tag_not_included', 'webhook: tag_excluded'],
    ],
    [
      'an event type over the channel',
      { channels: { email: { enabled: false } }, event_types: { 'disk.full': { email: { enabled: true }, in_app: { enabled: false } } } },
      {},
      ['email: sent', 'in_app: opted_out', 'webhook: sent'],
    ],
    [
      'what is critical passes all of it',
      { channels: { email: { enabled: false }, webhook: { severities: ['low'] } }, quiet_hours: night },
      { critical: true },
      ['email: sent', 'in_app: sent', 'webhook: sent'],
    ],
    [
      'urgent passes quiet hours',
      { channels: {}, quiet_hours: night },
      { severity: 'urgent' },
      ['email: sent', 'in_app: sent', 'webhook: sent'],
    ],
  ])('%s', async (_, preferences, item, want) => {
    expect((await prefer(preferences)).body).toEqual(preferences);
    expect((await server.api('GET', `/v1/users/${user}/preferences`)).body).toEqual(preferences);
    const query = new URLSearchParams({ type: 'disk.full', severity: item.severity ?? 'medium', critical: String(item.critical ?? false) });
    for (const tag of item.tags ?? []) query.append('tags', tag);
    const channels = await effective(query.toString());
    expect(await told(item)).toEqual(want);
    const explained = channels.map(({ channel, reason }) => `${channel}: ${reason ?? 'sent'}`);
    expect(explained.toSorted()).toEqual(want);
  });

  test('an address of the preference’s own goes before the profile’s', async () => {
    await prefer({
      channels: { webhook: { webhook_url: hook(`${user}/own`) } },
      event_types: { special: { webhook: { webhook_url: hook(`${user}/special`) } } },
    });
    await told();
    await told({ type: 'special' });
    expect(receiver.requests.map(({ path }) => path).filter((path) => path.startsWith(`/${user}`))).toEqual([
      `/${user}/own`,
      `/${user}/special`,
    ]);
  });

  test('one that is gone for good is not used again', async () => {
    await prefer({ channels: {}, event_types: { 'disk.full': { webhook: { webhook_url: hook('gone') } } } });
    await server.db.query("update carillon.users set suppressed = jsonb_build_object('webhook', $2::text) where id = $1", [
      user,
      hook('gone'),
    ]);
    expect(await told()).toContain('webhook: suppressed');
    expect(await told({ type: 'other' })).toContain('webhook: sent');
  });
});

describe('the tenant’s word on everybody', () => {
  test('is below the user’s, and heard at once', async () => {
    const defaults = { channels: { email: { enabled: false } }, event_types: { quiet: { webhook: { enabled: false } } } };
    try {
      expect((await server.api('PUT', '/v1/preferences/defaults', defaults)).body).toEqual(defaults);
      expect((await server.api('GET', '/v1/preferences/defaults')).body).toEqual(defaults);
      expect(await told({ type: 'quiet' })).toEqual(['email: opted_out', 'in_app: sent', 'webhook: opted_out']);
      await prefer({ channels: { email: { enabled: true } } });
      expect(await told({ type: 'quiet' })).toEqual(['email: sent', 'in_app: sent', 'webhook: opted_out']);
      expect(await effective('type=quiet')).toEqual([
        expect.objectContaining({ channel: 'in_app', result: 'deliver', reason: null, said_by: null, address: null }),
        expect.objectContaining({ channel: 'email', result: 'deliver', said_by: 'channel', address: 'u…@example.org' }),
        expect.objectContaining({
          channel: 'webhook',
          result: 'skip',
          reason: 'opted_out',
          said_by: 'defaults.event_type',
          hint: expect.any(String),
        }),
      ]);
    } finally {
      await server.api('PUT', '/v1/preferences/defaults', {});
    }
    expect(await told({ type: 'quiet' })).toEqual(['email: sent', 'in_app: sent', 'webhook: sent']);
  });

  test('names no addresses', async () => {
    const answer = await server.api('PUT', '/v1/preferences/defaults', { channels: { webhook: { webhook_url: hook() } } });
    expect(answer.body.errors).toEqual([expect.objectContaining({ pointer: '/channels/webhook/webhook_url', code: 'unknown_field' })]);
  });
});

describe('refused, with the place', () => {
  const hours = { enabled: true, start: '22:00', end: '07:00' };
  test.each<[string, unknown, string, string]>([
    ['a channel switched on without an address', { channels: { webhook: { enabled: true } } }, '/channels/webhook/webhook_url', 'required'],
    ['the same for one event type', { event_types: { 'a/b': { email: { enabled: true } } } }, '/event_types/a~1b/email/email', 'required'],
    [
      'an address that is none',
      { channels: { webhook: { webhook_url: 'ftp://example.org' } } },
      '/channels/webhook/webhook_url',
      'invalid_url',
    ],
    ['a zone that is none', { quiet_hours: { ...hours, time_zone: 'Europe/Atlantis' } }, '/quiet_hours/time_zone', 'invalid_time_zone'],
    ['hours that never end', { quiet_hours: { ...hours, end: '22:00' } }, '/quiet_hours/days', 'too_long'],
    [
      'hours of four days',
      { quiet_hours: { ...hours, end: '22:00', days: ['thu', 'fri', 'sat', 'sun'] } },
      '/quiet_hours/days',
      'too_long',
    ],
    ['hours for the inbox', { channels: { in_app: { quiet_hours: hours } } }, '/channels/in_app/quiet_hours', 'unknown_field'],
    ['a severity that is none', { channels: { email: { severities: ['loud'] } } }, '/channels/email/severities/0', 'invalid_value'],
  ])('%s', async (_, body, pointer, code) => {
    const answer = await prefer(body, `stranger-${user}`);
    expect(answer.status).toBe(422);
    expect(answer.body.errors).toEqual([expect.objectContaining({ pointer, code })]);
  });

  test('but not a channel that has its address in the profile, or in the channel’s own preference', async () => {
    expect((await prefer({ channels: { webhook: { enabled: true }, email: { enabled: true } } })).status).toBe(200);
    const own = { channels: { webhook: { webhook_url: hook() } }, event_types: { a: { webhook: { enabled: true } } } };
    expect((await prefer(own, `stranger-${user}`)).status).toBe(200);
  });
});

test('an address that is a secret is answered masked, and stays when it comes back so', async () => {
  const secret = 'https://hooks.slack.com/services/T000/B000/planted';
  const wish = { channels: {}, event_types: { 'disk.full': { slack: { enabled: true, webhook_url: secret } } } };
  const shown = (await prefer(wish)).body;
  expect(JSON.stringify(shown)).not.toContain('planted');
  expect((await server.api('GET', `/v1/users/${user}/preferences`)).body).toEqual(shown);
  expect((await prefer({ ...shown, channels: { email: { enabled: false } } })).status).toBe(200);
  const [row] = await server.db.query<{ url: string }>(
    "select preferences #>> '{event_types,disk.full,slack,webhook_url}' as url from carillon.users where id = $1",
    [user],
  );
  expect(row!.url).toBe(secret);
});

test('the users themselves do the same with their own token', async () => {
  const { token } = (await server.api('POST', `/v1/users/${user}/token`, {})).body;
  const mine = { authorization: `Bearer ${token}` };
  const wish = { channels: { email: { enabled: true, exclude_tags: ['system'] } } };
  expect((await server.api('PUT', '/v1/inbox/preferences', wish, mine)).body).toEqual(wish);
  expect((await server.api('GET', '/v1/inbox/preferences', undefined, mine)).body).toEqual(wish);
  expect(await told({ tags: ['system'] })).toEqual(['email: tag_excluded', 'in_app: sent', 'webhook: sent']);
});
