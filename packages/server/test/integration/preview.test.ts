/** The preview: what would become of an event, with every word of it, and nothing of it happens. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { makeTestCatalog, type TestCatalog } from '../harness/catalog.ts';
import { eventually, nowOf } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const DAY = 86_400_000;
const EVENT_TYPE = `
title: Execution failed
category: execution
severity: high
tags: ["exec:{{ data.execution_id }}"]
recipients: [{ path: $.user_id }]
exclude: [{ path: $.actor_id }]
channels: { in_app: {}, email: {}, slack: {}, teams: {}, webhook: {}, sms: {} }
expires_after: 7d
action_url: "https://app.example.org/executions/{{ data.execution_id }}"
data:
  type: object
  required: [execution_id]
  properties: { execution_id: { type: string }, error_type: { type: string, default: system_error } }
`;

let catalog: TestCatalog;
let db: TestDatabase;
let server: TestServer;
let receiver: Receiver;
let names = 0;
let ada: string;

beforeAll(async () => {
  receiver = await startReceiver((response) => response.writeHead(200).end());
  catalog = makeTestCatalog({
    'execution.failed/event.yaml': EVENT_TYPE,
    'execution.failed/subject.liquid': 'Failed: {{ data.execution_id }}, {{ user.attributes.name }}',
    'execution.failed/in_app.liquid': 'Because of {{ data.error_type }}.',
    'execution.failed/email.html.liquid': '<p>{{ data.execution_id }} & {{ data.nobody }}</p>',
    'execution.failed/slack.json.liquid': '{ "text": "{{ data.execution_id }}" }',
    'broken/event.yaml': 'channels: { in_app: {}, slack: {} }\n',
    'broken/slack.json.liquid': '{ "text": {{ data.text }} }',
  });
  db = await freshDatabase();
  server = await startServer({ 'catalog.dir': catalog.directory }, { on: db });
});
afterAll(async () => {
  await server.stop();
  await db.drop();
  await receiver.close();
  catalog.remove();
});
beforeEach(async () => {
  ada = `ada-${++names}`;
  await put(`/v1/users/${ada}`, { email: 'ada@example.org', webhook_url: hook(), attributes: { name: 'Ada' } });
});

const hook = () => `http://127.0.0.1:${receiver.port}/${ada}`;
async function put(path: string, body: unknown): Promise<void> {
  const { status, body: answer } = await server.api('PUT', path, body);
  expect(status, JSON.stringify(answer)).toBeLessThan(300);
}
const ask = (body: object, headers?: Record<string, string>) => server.api('POST', '/v1/events/preview', body, headers);
async function preview(body: object) {
  const { status, body: answer } = await ask(body);
  expect(status, JSON.stringify(answer)).toBe(200);
  return answer;
}
interface Shown {
  readonly channel: string;
  readonly result: string;
  readonly reason: string | null;
}
const decisions = (answer: { recipients: { user_id: string; channels: Shown[] }[] }) =>
  answer.recipients.flatMap(({ user_id: user, channels }) =>
    channels.map(({ channel, result, reason }) => `${user} ${channel} ${result}${reason === null ? '' : ` ${reason}`}`),
  );
const contentOf = (answer: any, channel: string) => answer.recipients[0].channels.find((one: Shown) => one.channel === channel).content; // eslint-disable-line @typescript-eslint/no-explicit-any -- whatever JSON came

describe('what it shows', () => {
  test('of an event of the catalog: one decision and the words for each channel, as its renderer makes them', async () => {
    await put(`/v1/users/${ada}/preferences`, {
      channels: {
        slack: { enabled: true, webhook_url: 'https://hooks.slack.com/services/T/B/secret' },
        teams: { enabled: true, webhook_url: 'https://example.org/workflows/secret' },
        webhook: { severities: ['urgent'] },
      },
    });
    const answer = await preview({ type: 'execution.failed', data: { execution_id: '7f3', user_id: ada } });
    expect(answer).toMatchObject({
      type: 'execution.failed',
      severity: 'high',
      tags: ['exec:7f3'],
      category: 'execution',
      data: { execution_id: '7f3', error_type: 'system_error' },
      action_url: 'https://app.example.org/executions/7f3',
      recipient_count: 1,
      truncated: false,
      destinations: [],
    });
    expect(answer.version).toMatch(/^[0-9a-f-]{36}$/);
    expect(Date.parse(answer.expires_at) - Date.parse(answer.at)).toBe(7 * DAY);
    expect(decisions(answer)).toEqual([
      `${ada} in_app deliver`,
      `${ada} email deliver`,
      `${ada} slack deliver`,
      `${ada} teams deliver`,
      `${ada} webhook skip severity_filtered`,
      `${ada} sms skip channel_disabled`,
    ]);
    const [told] = answer.recipients;
    expect(told).toMatchObject({ user_id: ada, subject: 'Failed: 7f3, Ada', body: 'Because of system_error.', warnings: [] });
    expect(contentOf(answer, 'in_app')).toMatchObject({ subject: 'Failed: 7f3, Ada', body: 'Because of system_error.', severity: 'high' });
    expect(contentOf(answer, 'email')).toMatchObject({ subject: 'Failed: 7f3, Ada', html: '<p>7f3 & </p>', text: '7f3 &\n' });
    expect(contentOf(answer, 'slack')).toEqual({ text: '7f3' });
    expect(JSON.stringify(contentOf(answer, 'teams'))).toContain('Because of system\\\\_error.');
    expect(JSON.parse(contentOf(answer, 'webhook').body)).toMatchObject({
      type: 'execution.failed',
      data: { user_id: ada, subject: 'Failed: 7f3, Ada' },
    });
    const [, email, slack, , webhook] = told.channels;
    expect(email).toMatchObject({ address: 'a…@example.org', said_by: null, warnings: [expect.stringContaining('data.nobody')] });
    expect(slack).toMatchObject({ address: 'https://hooks.slack.com/…', said_by: 'channel' });
    expect(webhook).toMatchObject({ said_by: 'channel', sentence: expect.stringContaining('severity'), hint: expect.any(String) });
    expect(JSON.stringify(answer)).not.toContain('secret');
  });

  test('of words of your own, without a catalog', async () => {
    const answer = await preview({ to: [ada], subject: 'Disk almost full', body: '92 %', channels: ['in_app', 'email'] });
    expect(answer).toMatchObject({ type: 'inline', version: null, severity: 'medium' });
    expect(decisions(answer)).toEqual([`${ada} in_app deliver`, `${ada} email deliver`]);
    expect(contentOf(answer, 'email')).toMatchObject({ subject: 'Disk almost full', text: expect.stringContaining('92 %') });
  });

  test('who is left out, unknown or inactive, and a user named twice once', async () => {
    const [off, nobody] = [`off-${ada}`, `nobody-${ada}`];
    await put(`/v1/users/${off}`, { active: false });
    const to = [ada, off, nobody, ada, { user_id: nobody, email: 'new@example.org' }, 'eve'];
    const answer = await preview({ to, exclude: ['eve'], subject: 'Hello' });
    expect(decisions(answer)).toEqual([
      `${ada} in_app deliver`,
      `${off} * skip user_inactive`,
      `${nobody} in_app deliver`,
      `${nobody} email deliver`,
      'eve * skip excluded',
    ]);
    expect((await server.api('GET', `/v1/users/${nobody}`)).status).toBe(404);
    const strict = await startServer({ 'users.create': 'never' }, { on: db });
    try {
      const { body } = await strict.api('POST', '/v1/events/preview', { to: [nobody, { topic: 'none' }], subject: 'Hello' });
      expect(body.recipient_count).toBe(1);
      expect(decisions(body)).toEqual([`${nobody} * skip user_unknown`]);
    } finally {
      await strict.stop();
    }
  });

  test('destinations that have the event switched on, with what they would get', async () => {
    const type = `disk.full.${ada}`;
    for (const known of [type, `other.${ada}`]) await put(`/v1/event-types/${known}`, { files: { 'event.yaml': '' } });
    const make = async (more: object) =>
      (
        await server.api('POST', '/v1/destinations', {
          name: 'Ops',
          channel: 'slack',
          config: { webhook_url: 'https://hooks.slack.com/services/T/B/secret' },
          events: { [type]: true },
          ...more,
        })
      ).body.id;
    const [on, filtered] = [await make({}), await make({ name: 'Urgent', severities: ['urgent'] })];
    await make({ events: { [`other.${ada}`]: true } });
    const { destinations } = await preview({ type, to: [ada] });
    expect(destinations).toEqual([
      expect.objectContaining({
        destination_id: on,
        name: 'Ops',
        channel: 'slack',
        result: 'deliver',
        reason: null,
        address: 'https://hooks.slack.com/…',
      }),
      expect.objectContaining({ destination_id: filtered, name: 'Urgent', result: 'skip', reason: 'severity_filtered' }),
    ]);
    expect(JSON.stringify(destinations[0].content)).toContain(`Event: ${type}`);
  });

  test('why a template makes nothing', async () => {
    await put(`/v1/users/${ada}/preferences`, {
      channels: { slack: { enabled: true, webhook_url: 'https://hooks.slack.com/services/T/B/x' } },
    });
    const answer = await preview({ type: 'broken', data: { text: 'no JSON' }, to: [ada] });
    const [, slack] = answer.recipients[0].channels;
    expect(slack).toMatchObject({ content: null, warnings: [expect.stringContaining('slack.json.liquid')] });
  });

  test('the first recipients of many, and how many they are', async () => {
    const topic = `topic-${ada}`;
    const users = Array.from({ length: 30 }, (_, index) => ({ id: `${topic}-${String(index).padStart(2, '0')}` }));
    await server.api('POST', '/v1/users/batch', users);
    await server.api('POST', `/v1/topics/${topic}/subscribe`, { user_ids: users.map(({ id }) => id) });
    const named = await preview({ to: users.map(({ id }) => id), subject: 'Hello' });
    expect(named).toMatchObject({ recipient_count: 30, truncated: true });
    expect(named.recipients.map((one: { user_id: string }) => one.user_id)).toEqual(users.slice(0, 25).map(({ id }) => id));
    const set = await preview({ to: [{ topic }, ada, 'never-seen'], subject: 'Hello' });
    expect(set).toMatchObject({ recipient_count: 32, truncated: true });
    expect(set.recipients).toHaveLength(25);
    const few = await preview({ to: [{ topic: 'nobody' }, 'never-seen', ada], subject: 'Hello' });
    expect(few).toMatchObject({ recipient_count: 2, truncated: false });
    expect(decisions(few).sort()).toEqual([`${ada} in_app deliver`, 'never-seen in_app deliver']);
  });
});

describe('at a time of your choice', () => {
  const at = async (ms: number) => new Date((await nowOf(db)).getTime() + ms);

  test('quiet hours are those of that time, and of a schedule when it is due', async () => {
    const noon = new Date(Math.floor((await at(3 * DAY)).getTime() / DAY) * DAY + DAY / 2);
    await put(`/v1/users/${ada}/preferences`, {
      channels: {},
      quiet_hours: { enabled: true, start: '11:00', end: '13:00', time_zone: 'UTC' },
    });
    const said = { to: [ada], subject: 'Hello', channels: ['email'] };
    const [email] = (await preview({ ...said, at: noon.toISOString() })).recipients[0].channels;
    const end = new Date(noon.getTime() + 3_600_000).toISOString();
    expect(email).toMatchObject({
      result: 'hold',
      reason: 'quiet_hours_held',
      held_until: end,
      said_by: 'user',
      content: { subject: 'Hello' },
    });
    const later = await preview({ ...said, at: new Date(noon.getTime() + 2 * 3_600_000).toISOString() });
    expect(decisions(later)).toEqual([`${ada} email deliver`]);
    const scheduled = await preview({ ...said, scheduled_for: noon.toISOString() });
    expect(scheduled.at).toBe(noon.toISOString());
    expect(decisions(scheduled)).toEqual([`${ada} email hold quiet_hours_held`]);
    const past = await preview({ ...said, at: new Date(noon.getTime() - 7 * DAY).toISOString() });
    expect(decisions(past)).toEqual([`${ada} email hold quiet_hours_held`]);
  });

  test('who was active lately is counted back from then', async () => {
    await put(`/v1/users/${ada}`, { last_active_at: (await at(-2 * DAY)).toISOString() });
    const to = [{ active_within: '5d' }];
    expect(decisions(await preview({ to, subject: 'Hello' }))).toEqual([`${ada} in_app deliver`]);
    expect(decisions(await preview({ to, subject: 'Hello', at: (await at(4 * DAY)).toISOString() }))).toEqual([]);
  });

  test('within the schedule window, before and after; and what that time makes invalid is refused as it would be', async () => {
    const said = { to: [ada], subject: 'Hello' };
    for (const days of [-24, 24]) expect((await ask({ ...said, at: (await at(days * DAY)).toISOString() })).status).toBe(200);
    for (const days of [-26, 26]) {
      const { status, body } = await ask({ ...said, at: (await at(days * DAY)).toISOString() });
      expect([status, body.code, body.errors[0].pointer]).toEqual([422, 'schedule_invalid', '/at']);
    }
    const expired = await ask({ ...said, at: (await at(2 * DAY)).toISOString(), expires_at: (await at(DAY)).toISOString() });
    expect([expired.status, expired.body.errors[0].pointer]).toEqual([422, '/expires_at']);
  });

  test('what waits in a digest waits for the one that is open then, and opens none', async () => {
    await put(`/v1/users/${ada}/preferences`, { channels: { email: { digest: '1h' } } });
    const said = { to: [ada], subject: 'Hello', channels: ['email'] };
    const until = async (ms = 0) => {
      const when = ms === 0 ? undefined : await at(ms);
      const [email] = (await preview({ ...said, at: when?.toISOString() })).recipients[0].channels;
      expect(email).toMatchObject({ result: 'hold', reason: 'digest_waiting', said_by: 'channel', content: { subject: 'Hello' } });
      return {
        closes: email.held_until as string,
        after: Math.round((Date.parse(email.held_until) - (when ?? (await at(0))).getTime()) / 60_000),
      };
    };
    expect((await until()).after).toBe(60);
    const { body } = await server.api('POST', '/v1/notifications', said);
    const [waiting] = (await server.api('GET', `/v1/events/${body.id}`)).body.notifications[0].deliveries;
    expect((await until()).closes).toBe(waiting.next_attempt_at);
    expect((await until(30 * 60_000)).closes).toBe(waiting.next_attempt_at);
    expect((await until(2 * 3_600_000)).after).toBe(60);
  });

  test('a throttle is looked at, and counts nothing', async () => {
    const throttled = await startServer({ 'throttle.max_per_window': 2, 'throttle.window': 3_600_000, 'throttle.per': 'type' }, { on: db });
    try {
      const said = { type: `told.${ada}`, to: [ada] };
      const look = async (more: object = {}) => decisions((await throttled.api('POST', '/v1/events/preview', { ...said, ...more })).body);
      const deliver = [`${ada} in_app deliver`];
      const refuse = [`${ada} * skip throttled`];
      for (let times = 0; times < 3; times++) expect(await look()).toEqual(deliver);
      for (let times = 0; times < 2; times++) {
        const { body } = await throttled.api('POST', '/v1/events', said);
        await eventually(async () => (await throttled.api('GET', `/v1/events/${body.id}`)).body.counts.delivered).toBe(1);
      }
      expect(await look()).toEqual(refuse);
      expect(await look({ at: (await at(2 * 3_600_000)).toISOString() })).toEqual(deliver);
      expect(await look({ at: (await at(-DAY)).toISOString() })).toEqual(deliver);
      expect(await look({ throttle_exempt: true })).toEqual(deliver);
    } finally {
      await throttled.stop();
    }
  });
});

/** Of every table, all rows. Uses of keys are written every few seconds, whatever is asked. */
async function everything(): Promise<Record<string, string>> {
  const tables = await db.query<{ name: string }>(
    "select relname::text as name from pg_class where relnamespace = 'carillon'::regnamespace and relkind in ('r', 'p') and not relispartition",
  );
  const found: Record<string, string> = {};
  for (const { name } of tables.filter((table) => !['api_keys', 'processes', 'rate_limits'].includes(table.name))) {
    const [row] = await db.query<{ sum: string }>(
      `select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) as sum from carillon.${name} t`,
    );
    found[name] = row!.sum;
  }
  return found;
}

test('nothing is written, sent or counted, whatever is in the event', async () => {
  const later = new Date((await nowOf(db)).getTime() + DAY).toISOString();
  const patient = `patient-${ada}`;
  await put(`/v1/users/${patient}`, { email: 'patient@example.org', webhook_url: hook() });
  await put(`/v1/users/${patient}/preferences`, {
    channels: { email: { digest: '1h' }, webhook: { quiet_hours: { enabled: true, start: '00:00', end: '23:59' } } },
  });
  const idle = async () => (await server.api('GET', '/v1/deliveries?status=pending')).body.data.length;
  await eventually(idle).toBe(0);
  await preview({ to: [ada], subject: 'Hello' }); // what is remembered for a while is now known
  const metrics = async () =>
    ((await server.api('GET', '/metrics')).body as string)
      .split('\n')
      .filter((line) => /^carillon_(events|decisions|deliveries|attempts|notifications|messages)/.test(line));
  const [before, counted, requests] = [await everything(), await metrics(), receiver.requests.length];
  const bodies = [
    { to: [ada, 'never-seen'], subject: 'Hello', channels: ['in_app', 'email', 'webhook'], idempotency_key: `key-${ada}` },
    { to: [{ all: true }, 'never-seen'], subject: 'Hello', ordering_key: 'one' },
    { type: 'execution.failed', data: { execution_id: '7f3', user_id: ada } },
    { to: [patient], subject: 'Hello', channels: ['email', 'webhook'] },
    { type: 'other', to: [{ role: 'owner' }], scheduled_for: later },
  ];
  for (const body of bodies)
    for (const at of [undefined, later]) if (at === undefined || !('scheduled_for' in body)) await preview({ ...body, at });
  expect(await everything()).toEqual(before);
  expect(await metrics()).toEqual(counted);
  expect(counted.length).toBeGreaterThan(0);
  expect(receiver.requests).toHaveLength(requests);
});

describe('who may ask, and for what', () => {
  test('it takes a body of an event or of a notification, and nothing else', async () => {
    const refused: [object, string][] = [
      [{ to: [ada] }, '/type'],
      [{ type: 'a', subject: 'b', to: [ada] }, '/type'],
      [{ subject: 'b', data: {}, to: [ada] }, '/type'],
      [{ type: 'a', to: [ada], surprise: 1 }, '/surprise'],
      [{ type: 'a', to: [ada], at: 'noon' }, '/at'],
      [{ type: 'a' }, '/to'],
      [{ type: 'execution.failed', data: { execution_id: 1, user_id: ada } }, '/data/execution_id'],
    ];
    for (const [body, pointer] of refused) {
      const answer = await ask(body);
      expect([answer.status, answer.body.errors?.[0].pointer], JSON.stringify(body)).toEqual([422, pointer]);
    }
  });

  test('a key that may read events, and no other', async () => {
    const made = async (...scopes: string[]) => (await server.api('POST', '/v1/api-keys', { name: 'preview', scopes })).body.key as string;
    const said = { to: [ada], subject: 'Hello' };
    expect((await ask(said, { authorization: `Bearer ${await made('events:read')}` })).status).toBe(200);
    expect((await ask(said, { authorization: `Bearer ${await made('events:write')}` })).status).toBe(403);
  });

  test("another tenant's users, topics, types and destinations are as if there were none", async () => {
    const type = `type-${ada}`;
    await put(`/v1/event-types/${type}`, { files: { 'event.yaml': 'title: Ours alone\n' } });
    await server.api('PUT', `/v1/topics/topic-of-${ada}/subscriptions/${ada}`);
    await server.api('POST', '/v1/destinations', {
      name: 'Ours',
      channel: 'webhook',
      config: { webhook_url: 'https://example.org/ours' },
      events: { [type]: true },
    });
    const theirs = (await server.api('POST', '/v1/tenants', { id: `tenant-${ada}` })).body.api_key.key as string;
    const said = { type, to: [ada, { topic: `topic-of-${ada}` }], channels: ['in_app', 'email'] };
    const { body } = await ask(said, { authorization: `Bearer ${theirs}` });
    expect(decisions(body)).toEqual([`${ada} in_app deliver`, `${ada} email skip no_address`]);
    expect(body).toMatchObject({ version: null, recipient_count: 1, destinations: [], recipients: [{ subject: `Notification: ${type}` }] });
    const ours = await preview(said);
    expect(ours).toMatchObject({ destinations: [{ name: 'Ours' }], recipients: [{ subject: 'Ours alone' }] });
  });
});
