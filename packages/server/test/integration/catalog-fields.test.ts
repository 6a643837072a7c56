/** What an event type may say of whom, how often and where: each field of `event.yaml`, seen in what becomes of its events. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deliveriesOf, eventually } from '../harness/core.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

/** An execution platform's, with every field. */
const EXAMPLE = `
title: Execution failed
category: execution
severity: high
critical: false
tags: [execution, "entity:execution", "exec:{{ data.execution_id }}", failed]
recipients: [{ path: $.user_id }]
exclude: [{ path: $.actor_id }]
channels:
  in_app: {}
  email: { delay: 10m, only_if: unread }
  slack: { severities: [high, urgent] }
destinations: true
throttle: { limit: 5, window: 1h, per: [user, severity], over: skip }
digest: { key: "{{ data.project_id }}", every: 1h }
expires_after: 7d
action_url: "https://app.example.org/executions/{{ data.execution_id }}"
data:
  type: object
  required: [execution_id, user_id]
  properties: { execution_id: { type: string }, user_id: { type: string }, error_type: { type: string, default: system_error } }
`;

let server: TestServer;
let receiver: Receiver;

beforeAll(async () => {
  receiver = await startReceiver((response) => response.end('ok'));
  server = await startServer({ 'catalog.deadline': 3_000 });
});
afterAll(async () => {
  await server.stop();
  await receiver.close();
});

async function push(type: string, definition: string, warnings: readonly string[] = []): Promise<void> {
  const { status, body } = await server.api('PUT', `/v1/event-types/${type}`, { files: { 'event.yaml': definition } });
  expect([status, body.errors, body.warnings]).toEqual([200, undefined, warnings]);
}

async function report(type: string, more: object = {}): Promise<string> {
  const { status, body } = await server.api('POST', '/v1/events', { type, ...more });
  expect(status, JSON.stringify(body)).toBe(202);
  return body.id;
}

const rowsOf = async (id: string) => (await deliveriesOf(server.db, id)).map(({ user, channel, reason }) => [user, channel, reason]);
const warningsOf = async (id: string) => (await server.api('GET', `/v1/events/${id}`)).body.warnings;

test('the example is an event type, and its events take the way that it says', async () => {
  const warnings = ["event.yaml: data.project_id is not in the data's schema; there are execution_id, user_id, error_type"];
  await push('execution.failed', EXAMPLE, warnings);
  const id = await report('execution.failed', { data: { execution_id: '7f3', user_id: 'ada', actor_id: 'bob' } });
  await eventually(() => rowsOf(id)).toEqual([
    ['ada', 'email', 'no_address'],
    ['ada', 'in_app', 'sent'],
    ['ada', 'slack', 'no_address'],
  ]);
  const { body } = await server.api('GET', '/v1/users/ada/throttle');
  expect(body.data).toEqual([{ bucket: 'severity high, 5 in 3600 s', count: 1, max_per_window: 5, window_seconds: 3_600 }]);
});

describe('recipients: a topic whose name is made from the data', () => {
  beforeAll(async () => {
    await push('project.changed', 'recipients:\n  - topic: project:{{ data.project_id }}\n  - path: $.owner_id\n');
    for (const user of ['ada', 'bob']) await server.api('PUT', `/v1/topics/project:7/subscriptions/${user}`);
  });

  test('names its subscribers', async () => {
    const id = await report('project.changed', { data: { project_id: 7, owner_id: 'olga' } });
    await eventually(async () => (await rowsOf(id)).map(([user]) => user)).toEqual(['ada', 'bob', 'olga']);
    expect(await warningsOf(id)).toEqual([]);
  });

  test('names nobody when a value is missing, with a warning', async () => {
    const id = await report('project.changed', { data: { owner_id: 'olga' } });
    await eventually(async () => (await rowsOf(id)).map(([user]) => user)).toEqual(['olga']);
    expect(await warningsOf(id)).toEqual(['recipients.0.topic: data.project_id has no value']);
  });

  test('names nobody when what it makes is no topic', async () => {
    const id = await report('project.changed', { data: { project_id: 'x'.repeat(300), owner_id: 'olga' } });
    expect(await warningsOf(id)).toEqual([expect.stringMatching(/^recipients: "project:x+" is no topic$/)]);
  });
});

describe('throttle of the type', () => {
  /** Reasons, sorted. */
  async function told(items: readonly [type: string, more?: object][]): Promise<string[]> {
    const ids: string[] = [];
    for (const [type, more] of items) ids.push(await report(type, more));
    const rows = async () => (await Promise.all(ids.map(rowsOf))).flat().map(([, , reason]) => reason as string);
    await eventually(async () => (await rows()).length).toBe(items.length);
    return (await rows()).toSorted();
  }
  const to = (user: string, more: object = {}) => ({ to: [user], ...more });

  test('per user and severity: types that say the same count together', async () => {
    const throttle = 'throttle: { limit: 2, window: 1h, per: [user, severity] }\n';
    await Promise.all(['run.failed', 'run.timeout'].map((type) => push(type, throttle)));
    expect(
      await told([
        ['run.failed', to('a1')],
        ['run.timeout', to('a1')],
        ['run.failed', to('a1')],
      ]),
    ).toEqual(['sent', 'sent', 'throttled']);
    expect(
      await told([
        ['run.failed', to('a1', { severity: 'low' })],
        ['run.failed', to('a2')],
      ]),
    ).toEqual(['sent', 'sent']);
    await server.moveClock(3_601_000);
    expect(await told([['run.failed', to('a1')]])).toEqual(['sent']);
  });

  test('per user and type, or per user and key', async () => {
    await push('noisy', 'throttle: { limit: 1, window: 1h, per: [user, event_type] }\n');
    await push('noisy.too', 'throttle: { limit: 1, window: 1h, per: [user, event_type] }\n');
    await push('keyed', 'throttle: { limit: 1, window: 1h, per: [user, key] }\n');
    expect(
      await told([
        ['noisy', to('b1')],
        ['noisy.too', to('b1')],
        ['noisy', to('b1', { severity: 'low' })],
      ]),
    ).toEqual(['sent', 'sent', 'throttled']);
    const key = (name: string) => to('b1', { throttle_key: name });
    expect(
      await told([
        ['keyed', key('x')],
        ['keyed', key('y')],
        ['keyed', key('x')],
      ]),
    ).toEqual(['sent', 'sent', 'throttled']);
  });

  test("goes before the tenant's, and an exempt event passes it uncounted", async () => {
    await push('rare', 'throttle: { limit: 1, window: 1h, per: [user] }\n');
    await server.api('PATCH', '/v1/tenants/default', { settings: { throttle: { max_per_window: 3, per: 'type' } } });
    try {
      const exempt = to('c1', { throttle_exempt: true });
      expect(
        await told([
          ['rare', exempt],
          ['rare', to('c1')],
          ['rare', to('c1')],
        ]),
      ).toEqual(['sent', 'sent', 'throttled']);
      await push('untyped', '');
      expect(await told(Array.from({ length: 4 }, () => ['untyped', to('c1')] as const))).toEqual(['sent', 'sent', 'sent', 'throttled']);
    } finally {
      await server.api('PATCH', '/v1/tenants/default', { settings: {} });
    }
  });
});

describe('destinations', () => {
  const reached = async (id: string) => (await deliveriesOf(server.db, id)).filter(({ user }) => user === null).map(({ state }) => state);
  beforeAll(async () => {
    const body = {
      name: 'Ops',
      channel: 'webhook',
      config: { webhook_url: `http://127.0.0.1:${receiver.port}/ops` },
      events: { '*': true },
    };
    expect((await server.api('POST', '/v1/destinations', body)).status).toBe(201);
    await push('account.silent', 'destinations: false\n');
    await push('account.both', '');
    await push('account.only', 'destinations: true\nrecipients: [{ path: $.user_id }]\n');
  });

  test('false: none is told, whatever it has switched on', async () => {
    const id = await report('account.silent', { to: ['ada'] });
    await eventually(async () => (await server.api('GET', `/v1/events/${id}`)).body.status).toBe('routed');
    expect(await reached(id)).toEqual([]);
  });

  test('not said: those that have the event switched on are told beside the recipients, and an event needs some', async () => {
    const id = await report('account.both', { to: ['ada'] });
    await eventually(() => reached(id)).toEqual(['delivered']);
    expect((await server.api('POST', '/v1/events', { type: 'account.both' })).body.code).toBe('recipients_missing');
  });

  test('true: they are told even when the data names nobody (B2)', async () => {
    const id = await report('account.only');
    await eventually(() => reached(id)).toEqual(['delivered']);
    expect((await server.api('GET', `/v1/events/${id}`)).body.counts).toMatchObject({ delivered: 1 });
  });
});

test('what is wrong with a field is said with its line', async () => {
  const { body } = await server.api('PUT', '/v1/event-types/wrong', {
    files: {
      'event.yaml':
        'throttle: { limit: 0, window: 90d, per: [severity], ovr: skip }\nrecipients: [{ topic: "{% if x %}" }, { topics: [a] }]\n',
    },
  });
  expect(body.errors.map(({ detail }: { detail: string }) => detail)).toEqual([
    expect.stringMatching(/^event.yaml:1: throttle.limit is not valid: /),
    'event.yaml:1: throttle.window must be a time from 1s to 30d',
    'event.yaml:1: throttle.per must name user, and may name severity, event_type, key besides',
    'event.yaml:1: throttle.ovr is not known; the nearest known name is over',
    expect.stringMatching(/^event.yaml:2: recipients.1 must be default, /),
  ]);
  const broken = await server.api('PUT', '/v1/event-types/wrong', { files: { 'event.yaml': 'recipients: [{ topic: "{% if x %}" }]\n' } });
  expect(broken.body.errors[0].detail).toMatch(/^event.yaml: recipients.0.topic /);
  const unknown = await server.api('PUT', '/v1/event-types/odd', { files: { 'event.yaml': 'recipients: [{ topic: "{{ date.x }}" }]\n' } });
  expect(unknown.body.warnings).toEqual(['event.yaml: date is not known; the nearest known variable is data']);
});
