/** With a test key everything runs as always, nothing leaves, and some recipients stand for what can happen. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../harness/core.ts';
import { startMailServer, type MailServer } from '../harness/mail-server.ts';
import { startReceiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const LATER_MS = 5_000;
let server: TestServer;
let mail: MailServer;
let receiver: Awaited<ReturnType<typeof startReceiver>>;
let key: string;

beforeAll(async () => {
  [mail, receiver] = await Promise.all([startMailServer(), startReceiver((response) => response.end())]);
  server = await startServer({
    'email.smtp.host': '127.0.0.1',
    'email.smtp.port': mail.port,
    'email.smtp.security': 'none',
    'email.smtp.from': 'carillon@example.org',
    'email.retry': [1_000, 1_000],
    'webhook.retry': [1_000, 1_000],
    channels: { texts: { enabled: true, module: join(import.meta.dirname, 'fixtures/modules/texts.ts') } },
  });
  const scopes = ['events:write', 'events:read', 'users:write'];
  key = (await server.api('POST', '/v1/api-keys', { name: 'ci', scopes, tenant_id: 'default:test' })).body.key;
}, 60_000);
afterAll(async () => {
  await server.stop();
  await Promise.all([mail.close(), receiver.close()]);
});

const call = (method: string, path: string, body?: unknown) => server.api(method, path, body, { authorization: `Bearer ${key}` });

interface Line {
  readonly what: string;
  readonly reason?: string;
  readonly provider?: string;
  readonly outcome?: string;
  readonly status?: number;
}

/** Tells one user, and reads the timeline of his delivery on that channel once it has ended. */
async function timelineOf(to: object, channel: string): Promise<{ status: string; reason: string; attempts: Line[] }> {
  const { id } = (await call('POST', '/v1/notifications', { to: [to], channels: [channel], subject: 's' })).body;
  const delivery = async () => (await call('GET', `/v1/deliveries?event_id=${id}`)).body.data[0];
  await eventually(async () => {
    await server.moveClock(LATER_MS); // whatever waits for a retry is due
    return (await delivery())?.status;
  }).toMatch(/^(delivered|failed)$/);
  const { status, reason, timeline } = (await call('GET', `/v1/deliveries/${(await delivery()).id}`)).body;
  return { status, reason, attempts: timeline.filter(({ what }: Line) => what === 'attempt') };
}

const ADDRESSES = {
  email: (scenario: string) => ({ user_id: `mail-${scenario}`, email: `${scenario}+1@simulator.example` }),
  webhook: (scenario: string) => ({ user_id: `hook-${scenario}`, webhook_url: `https://simulator.example/${scenario}` }),
  'user by e-mail': (scenario: string) => ({ user_id: `test:${scenario}`, email: 'whoever@example.org' }),
  'user by webhook': (scenario: string) => ({ user_id: `test:${scenario}`, webhook_url: `http://127.0.0.1:${receiver.port}/` }),
};

test.each(Object.keys(ADDRESSES) as (keyof typeof ADDRESSES)[])(
  '%s: each outcome is in the timeline',
  async (kind) => {
    const channel = /mail/.test(kind) ? 'email' : 'webhook';
    const provider = `${channel}.simulated`;
    const of = (scenario: string) => timelineOf(ADDRESSES[kind](scenario), channel);
    expect(await of('delivered')).toMatchObject({
      status: 'delivered',
      reason: 'sent',
      attempts: [{ provider, outcome: 'accepted', status: 200 }],
    });
    expect(await of('bounced')).toMatchObject({
      status: 'failed',
      reason: 'address_rejected',
      attempts: [{ provider, outcome: 'permanent', reason: 'address_rejected', status: 550 }],
    });
    const timeout = { provider, outcome: 'unknown', reason: 'timeout' };
    expect(await of('timeout')).toMatchObject({ status: 'failed', reason: 'retries_exhausted', attempts: [timeout, timeout, timeout] });
    expect(await of('rate-limited')).toMatchObject({
      status: 'delivered',
      reason: 'sent',
      attempts: [
        { provider, outcome: 'transient', reason: 'rate_limited', status: 429 },
        { provider, outcome: 'accepted', status: 200 },
      ],
    });
  },
  60_000,
);

test('a channel whose address is in the preferences is simulated by the same addresses', async () => {
  await call('PUT', '/v1/users/chatty/preferences', {
    channels: { slack: { enabled: true, webhook_url: 'https://simulator.example/bounced' } },
  });
  expect(await timelineOf({ user_id: 'chatty' }, 'slack')).toMatchObject({
    status: 'failed',
    reason: 'address_rejected',
    attempts: [{ provider: 'slack.simulated', outcome: 'permanent' }],
  });
}, 60_000);

test.each([
  ['+15555550100', 'delivered', 'sent', 1],
  ['+15555550101', 'failed', 'address_rejected', 1],
  ['+15555550102', 'failed', 'retries_exhausted', 3],
  ['+15555550103', 'delivered', 'sent', 2],
])(
  'phone %s: %s, %s',
  async (phone, status, reason, attempts) => {
    await call('PUT', `/v1/users/${phone}/preferences`, { channels: { texts: { enabled: true, phone } } });
    const timeline = await timelineOf({ user_id: phone }, 'texts');
    expect(timeline).toMatchObject({ status, reason });
    expect(timeline.attempts.map(({ provider }) => provider)).toEqual(Array(attempts).fill('texts.simulated'));
  },
  60_000,
);

test('a bounce is the same in every run: nothing is suppressed', async () => {
  await call('PUT', '/v1/users/stored', { email: 'bounced@simulator.example' });
  for (let run = 0; run < 2; run++) expect(await timelineOf({ user_id: 'stored' }, 'email')).toMatchObject({ reason: 'address_rejected' });
}, 60_000);

test('nothing leaves, whatever the address; with a live key it does', async () => {
  const everywhere = { user_id: 'eve', email: 'eve@example.org', webhook_url: `http://127.0.0.1:${receiver.port}/` };
  for (const channel of ['email', 'webhook']) expect(await timelineOf(everywhere, channel)).toMatchObject({ status: 'delivered' });
  expect([mail.mails.length, receiver.requests.length]).toEqual([0, 0]);

  await server.api('POST', '/v1/notifications', { to: [everywhere], subject: 's' });
  await eventually(() => [mail.mails.length, receiver.requests.length]).toEqual([1, 1]);
}, 60_000);
