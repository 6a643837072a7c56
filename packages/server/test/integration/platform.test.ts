/** Source system A, to the letter: what other tests do not say already. docs/guides/source-systems.md lists all of it. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { claimEvents } from '../../src/store/events.ts';
import { deliveryOf, eventState, eventually, nowOf } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startReceiver, type Answer, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

let db: TestDatabase;
let server: TestServer;
let receiver: Receiver;
let answer: Answer;
let users = 0;
let user: string;

const ok: Answer = (response) => response.end('ok');
const failing: Answer = (response) => response.writeHead(503).end('not now');

beforeAll(async () => {
  receiver = await startReceiver((response, request) => answer(response, request));
  db = await freshDatabase();
  server = await startServer({ 'log.level': 'debug', 'webhook.retry': [MINUTE, MINUTE, MINUTE] }, { on: db });
});
afterAll(async () => {
  await server.stop();
  await db.drop();
  await receiver.close();
});
beforeEach(() => {
  answer = ok;
  user = `user-${++users}`;
});

const hook = () => `http://127.0.0.1:${receiver.port}/${user}`;
const inTime = async (ms: number) => new Date((await nowOf(db)).getTime() + ms).toISOString();

async function tell(item: Record<string, unknown> = {}): Promise<string> {
  const to = [{ user_id: user, webhook_url: hook() }];
  const { status, body } = await server.api('POST', '/v1/notifications', { to, subject: 'Execution Failed: 7f3', ...item });
  expect(status).toBe(202);
  return body.id;
}

async function notificationOf(eventId: string) {
  const list = async () => (await server.api('GET', `/v1/notifications?event_id=${eventId}`)).body.data;
  await eventually(async () => (await list()).length).toBe(1);
  return (await server.api('GET', `/v1/notifications/${(await list())[0].id}`)).body;
}

const settled = (eventId: string, state: string) => eventually(async () => (await notificationOf(eventId)).status).toBe(state);

async function asUser(method: string, path: string) {
  const { token } = (await server.api('POST', `/v1/users/${user}/token`, {})).body;
  return server.api(method, path, undefined, { authorization: `Bearer ${token}` });
}

describe('A2 a notification', () => {
  test('A2 has its content, its channels, its times and its retries', async () => {
    const content = {
      body: 'It ran for 3 s.',
      severity: 'high',
      tags: ['execution', 'failed', 'exec:7f3'],
      action_url: 'https://app.example.org/executions/7f3',
      metadata: { execution: '7f3' },
    };
    answer = failing;
    const id = await tell({ ...content, channels: ['webhook'], max_retries: 1 });
    await eventually(async () => (await notificationOf(id)).deliveries[0].status).toBe('pending');
    expect(await notificationOf(id)).toMatchObject({
      ...content,
      subject: 'Execution Failed: 7f3',
      status: 'pending',
      max_retries: 1,
      retry_count: 0,
      error_message: 'HTTP 503',
      created_at: expect.any(String),
      scheduled_for: null,
      sent_at: expect.any(String),
      delivered_at: null,
      read_at: null,
      clicked_at: null,
      failed_at: null,
      deliveries: [{ channel: 'webhook', retry_count: 0, max_retries: 1, next_attempt_at: expect.any(String) }],
    });
    await server.moveClock(2 * MINUTE);
    await settled(id, 'failed');
    const failed = await notificationOf(id);
    expect(failed).toMatchObject({ retry_count: 1, error_message: 'HTTP 503', failed_at: expect.any(String), reason: 'retries_exhausted' });
    expect(failed.deliveries[0]).toMatchObject({ retry_count: 1, delivered_at: null });
  });

  test('A2 scheduled, then delivered, read and clicked, has each of those times', async () => {
    const at = await inTime(HOUR);
    const id = await tell({ channels: ['in_app'], scheduled_for: at });
    await server.moveClock(HOUR + 1_000);
    await settled(id, 'delivered');
    const { id: ntf, scheduled_for: scheduled, delivered_at: delivered } = await notificationOf(id);
    expect(Date.parse(scheduled)).toBe(Date.parse(at));
    expect(Date.parse(delivered)).toBeGreaterThanOrEqual(Date.parse(at));
    await asUser('POST', `/v1/inbox/${ntf}/read`);
    expect(await notificationOf(id)).toMatchObject({ status: 'read', read_at: expect.any(String), clicked_at: null });
    await asUser('POST', `/v1/inbox/${ntf}/click`);
    expect(await notificationOf(id)).toMatchObject({ status: 'clicked', clicked_at: expect.any(String) });
  });

  test('A2 that is held shows as pending', async () => {
    const clock = async (ms: number) => (await inTime(ms)).slice(11, 16);
    const quiet = { enabled: true, start: await clock(-HOUR), end: await clock(HOUR), time_zone: 'UTC' };
    await server.api('PUT', `/v1/users/${user}/preferences`, { quiet_hours: quiet });
    const id = await tell({ channels: ['webhook'] });
    expect(await notificationOf(id)).toMatchObject({ status: 'pending', reason: 'quiet_hours_held' });
  });

  test.each([
    ['cancelled', (id: string) => server.api('POST', `/v1/events/${id}/cancel`).then(() => undefined)],
    ['expired', () => server.moveClock(HOUR)],
  ])('A2 that is %s shows as skipped, with that reason', async (reason, end) => {
    answer = failing;
    const id = await tell({ channels: ['webhook'], expires_at: await inTime(2 * MINUTE) });
    await eventually(async () => (await deliveryOf(db, id)).attempts).toBe(1);
    await end(id);
    await settled(id, 'skipped');
    expect(await notificationOf(id)).toMatchObject({ reason });
  });
});

test('A4 the maximum is per window, whatever its length', async () => {
  const throttle = { max_per_window: 2, window_seconds: 3 * 3_600 };
  await server.api('PATCH', '/v1/tenants/default', { settings: { throttle } });
  try {
    const word = async () => (await server.api('GET', `/v1/events/${await tell({ channels: ['in_app'] })}`)).body.progress;
    expect(await word()).toMatchObject({ created: 1 });
    await server.moveClock(2 * HOUR);
    expect(await word()).toMatchObject({ created: 1 });
    await server.moveClock(HOUR / 2);
    expect(await word()).toMatchObject({ throttled: 1 });
    await server.moveClock(HOUR);
    expect(await word()).toMatchObject({ created: 1 });
  } finally {
    await server.api('PATCH', '/v1/tenants/default', { settings: {} });
  }
});

describe('A7 subscriptions', () => {
  const prefer = (channels: Record<string, unknown>) => server.api('PUT', `/v1/users/${user}/preferences`, { channels });

  test.each([
    ['webhook', 'webhook_url'],
    ['slack', 'webhook_url'],
  ])('A7 enabling %s without its URL is refused', async (channel, field) => {
    const { status, body } = await prefer({ [channel]: { enabled: true } });
    expect(status).toBe(422);
    expect(body.errors).toMatchObject([{ pointer: `/channels/${channel}/${field}`, code: 'required' }]);
    expect((await prefer({ [channel]: { enabled: true, [field]: 'https://hooks.example.org/T0' } })).status).toBe(200);
  });

  test('A7 slack_webhook is another name for the URL of the slack channel', async () => {
    const secret = `${hook()}/services/T0`;
    const { status, body } = await prefer({ slack: { enabled: true, slack_webhook: secret } });
    expect(status).toBe(200);
    expect(body.channels.slack).toEqual({ enabled: true, webhook_url: `http://127.0.0.1:${receiver.port}/…` });
    expect((await prefer(body.channels)).status).toBe(200); // as it was answered
    await settled(await tell({ channels: ['slack'] }), 'delivered');
    expect(receiver.requests.at(-1)!.path).toBe(`/${user}/services/T0`);
    const both = await prefer({ slack: { slack_webhook: secret, webhook_url: 'https://hooks.example.org/other' } });
    expect(both.body.errors).toMatchObject([{ pointer: '/channels/slack/slack_webhook', code: 'invalid_value' }]);
    expect((await prefer({ webhook: { slack_webhook: secret } })).body.errors).toMatchObject([{ code: 'unknown_field' }]);
  });

  test('A7 filters are checked when sending, and the reason is stored', async () => {
    answer = failing;
    const id = await tell({ channels: ['webhook'], tags: ['noise'] });
    await eventually(async () => (await deliveryOf(db, id)).attempts).toBe(1);
    await prefer({ webhook: { exclude_tags: ['noise'], include_tags: ['noise'] } });
    answer = ok;
    await server.moveClock(2 * MINUTE);
    await settled(id, 'skipped');
    expect(await notificationOf(id)).toMatchObject({ status: 'skipped', reason: 'tag_excluded' });
    expect(receiver.requests.filter(({ path }) => path === `/${user}`)).toHaveLength(1);
  });
});

describe('A8 a user’s list', () => {
  test.each(['0', '101', 'x'])('A8 limit is 1 to 100: %s is refused', async (limit) => {
    await tell({ channels: ['in_app'] });
    expect((await asUser('GET', `/v1/inbox?limit=${limit}`)).status).toBe(422);
    for (const fits of ['1', '100']) expect((await asUser('GET', `/v1/inbox?limit=${fits}`)).status).toBe(200);
  });

  test('A8 carries total and unread_count; each is marked, all are marked, one is deleted', async () => {
    for (let n = 0; n < 3; n++) await settled(await tell({ channels: ['in_app'], tags: [`exec:${n}`] }), 'delivered');
    const { body } = await asUser('GET', '/v1/inbox?tag_prefix=exec:&limit=2&offset=1');
    expect(body).toMatchObject({ total: 3, unread_count: 3 });
    expect(body.data.map(({ tags }: { tags: string[] }) => tags[0])).toEqual(['exec:1', 'exec:0']);
    await asUser('POST', `/v1/inbox/${body.data[0].id}/read`);
    expect((await asUser('GET', '/v1/inbox/unread-count')).body).toMatchObject({ unread_count: 2 });
    await asUser('POST', '/v1/inbox/read-all');
    await asUser('DELETE', `/v1/inbox/${body.data[1].id}`);
    expect((await asUser('GET', '/v1/inbox?status=read')).body).toMatchObject({ total: 2, unread_count: 0 });
  });
});

describe('A9 the scheduler', () => {
  test('A9 what is not yet due can’t be claimed', async () => {
    const id = await tell({ scheduled_for: await inTime(HOUR) });
    expect(await db.database.transaction((tx) => claimEvents(tx, 100))).toEqual([]);
    await server.moveClock(HOUR / 2);
    expect(await eventState(db, id)).toBe('scheduled');
    await server.moveClock(HOUR);
    await eventually(() => eventState(db, id)).toBe('routed');
  });

  test('A9 each run says how many it found, and how many were truly delivered', async () => {
    const own = await startServer({ 'log.level': 'debug', 'webhook.retry': [MINUTE] });
    try {
      const at = new Date(Date.now() + HOUR).toISOString();
      const items = Array.from({ length: 3 }, () => ({ to: [{ user_id: user, webhook_url: hook() }], subject: 's', scheduled_for: at }));
      await own.api(
        'POST',
        '/v1/notifications/batch',
        items.map((item) => ({ ...item, channels: ['webhook'] })),
      );
      const sum = (event: string, field: string) =>
        own.logs.filter((line) => line.event === event).reduce((all, { fields }) => all + Number(fields[field]), 0);
      let refusals = 1;
      answer = (response, request) => (refusals-- > 0 ? failing : ok)(response, request);
      await own.moveClock(HOUR + MINUTE);
      await eventually(() => sum('router.ran', 'found')).toBe(3);
      await eventually(() => [sum('delivery.recorded', 'found'), sum('delivery.recorded', 'delivered')]).toEqual([3, 2]);
      expect(own.logs.some(({ event, fields }) => event === 'router.ran' && fields.found === 0)).toBe(true);
      await own.moveClock(2 * MINUTE);
      await eventually(() => sum('delivery.recorded', 'delivered')).toBe(3);
    } finally {
      await own.stop();
    }
  });
});

describe('A10 retries and metrics', () => {
  const metric = async (name: string, ...labels: string[]) => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith(name) && labels.every((label) => line.includes(label)));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  };

  test('A10 the number of retries is stored when a later attempt succeeds, and only that one counts as delivered', async () => {
    let refusals = 2;
    answer = (response, request) => (refusals-- > 0 ? failing : ok)(response, request);
    const counted = () => metric('carillon_delivery_latency_seconds_count', 'channel="webhook"', 'severity="urgent"');
    const id = await tell({ channels: ['webhook'], severity: 'urgent' });
    for (const attempts of [1, 2]) {
      await eventually(async () => (await deliveryOf(db, id)).attempts).toBe(attempts);
      expect(await counted()).toBe(0);
      await server.moveClock(2 * MINUTE);
    }
    await settled(id, 'delivered');
    expect(await notificationOf(id)).toMatchObject({ retry_count: 2, error_message: null });
    expect(await counted()).toBe(1);
  });

  test('A10 sent, failed, throttled and skipped are counted by channel', async () => {
    answer = (response) => response.writeHead(410).end();
    await server.api('PUT', `/v1/users/${user}/preferences`, { channels: { in_app: { enabled: false } } });
    const before = await metric('carillon_decisions_total', 'channel="in_app"', 'reason="opted_out"');
    const failed = await metric('carillon_deliveries_total', 'channel="webhook"', 'outcome="permanent"');
    await settled(await tell({ channels: ['webhook', 'in_app'] }), 'failed');
    expect(await metric('carillon_decisions_total', 'channel="in_app"', 'reason="opted_out"')).toBe(before + 1);
    expect(await metric('carillon_deliveries_total', 'channel="webhook"', 'outcome="permanent"')).toBe(failed + 1);
    await server.api('PATCH', '/v1/tenants/default', { settings: { throttle: { max_per_window: 1 } } });
    try {
      for (let n = 0; n < 2; n++) await tell({ channels: ['webhook'] });
      expect(await metric('carillon_decisions_total', 'reason="throttled"')).toBeGreaterThan(0);
    } finally {
      await server.api('PATCH', '/v1/tenants/default', { settings: {} });
    }
  });
});
