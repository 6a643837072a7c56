/** Channels that somebody else wrote: set up by name, and what they do wrong stays theirs. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const fixture = (name: string) => join(import.meta.dirname, 'fixtures/modules', `${name}.ts`);
const misbehaving = { enabled: true, module: fixture('misbehaving') };

let server: TestServer;
let receiver: Receiver;

beforeAll(async () => {
  receiver = await startReceiver((response) => response.end('thanks'));
  server = await startServer({
    channels: { misbehaving, slack: { enabled: true, providers: [{ module: fixture('second-carrier') }] } },
    'delivery.total_timeout': 1_000,
    'delivery.connect_timeout': 500,
  });
});
afterAll(async () => {
  await server.stop();
  await receiver.close();
});

interface Sent {
  readonly status: string;
  readonly reason: string;
  readonly error_message: string | null;
  readonly timeline: readonly Record<string, unknown>[];
}

/** What came of the first attempt at an address, which is what the module is to do. */
async function send(wish: string, { channel = 'misbehaving', field = 'wish', subject = 's' } = {}): Promise<Sent> {
  const user = `wants-${wish.slice(0, 20)}-${subject}`;
  await server.api('PUT', `/v1/users/${encodeURIComponent(user)}`, {});
  await server.db.query('update carillon.users set preferences = $2 where id = $1', [
    user,
    JSON.stringify({ channels: { [channel]: { enabled: true, [field]: wish } } }),
  ]);
  const { body } = await server.api('POST', '/v1/notifications', { to: [user], subject, channels: [channel] });
  let id = '';
  await expect
    .poll(
      async () => {
        const { body: event } = await server.api('GET', `/v1/events/${body.id}`);
        const [delivery] = event.notifications[0]?.deliveries ?? [];
        id = delivery?.id ?? '';
        return delivery?.status !== undefined && delivery.status !== 'sending' && delivery.reason !== 'queued';
      },
      { timeout: 20_000 },
    )
    .toBe(true);
  return (await server.api('GET', `/v1/deliveries/${id}`)).body;
}

test('a module sends through the guarded client, and its answer stands in the timeline', async () => {
  const url = `http://127.0.0.1:${receiver.port}/here`;
  const { status, timeline } = await send(url);
  expect(status).toBe('delivered');
  expect(timeline.find(({ what }) => what === 'attempt')).toMatchObject({ provider: 'misbehaving.one', status: 200, response: 'thanks' });
  expect(receiver.requests.at(-1)).toMatchObject({ path: '/here', body: '{"subject":"s"}' });
  expect(await send('http://169.254.169.254/latest')).toMatchObject({
    reason: 'retrying',
    error_message: expect.stringContaining('metadata'),
  });
});

test('a module carries a built-in channel, with that channel’s content', async () => {
  const { status, timeline } = await send('https://hooks.example.org/x', { channel: 'slack', field: 'webhook_url' });
  expect(status).toBe('delivered');
  expect(timeline.find(({ what }) => what === 'attempt')).toMatchObject({
    provider: 'second.carrier',
    response: expect.stringContaining('🔔 s'),
  });
});

test('a preview shows what a module makes, and why it makes nothing', async () => {
  const shown = async (subject: string, headers = {}) => {
    const body = { to: ['ada'], subject, channels: ['misbehaving'] };
    return (await server.api('POST', '/v1/events/preview', body, headers)).body.recipients[0].channels[0];
  };
  expect(await shown('s')).toMatchObject({ result: 'skip', reason: 'no_address', content: { subject: 's' }, warnings: [] });
  expect(await shown('unrenderable')).toMatchObject({ content: null, warnings: [expect.stringContaining('no such text')] });
  const { key } = (await server.api('POST', '/v1/api-keys', { name: 'test', scopes: ['events:read'], tenant_id: 'default:test' })).body;
  expect(await shown('s', { authorization: `Bearer ${key}` })).toMatchObject({ content: { subject: 's' } });
});

describe('a module that', () => {
  test.each([
    ['throw', 'planted fault'],
    ['nonsense', 'the module answered something that is no result'],
    ['hang', 'the module gave no answer within'],
    ['loop', 'the module gave no answer within'],
    ['later', 'the module gave no answer within'],
    ['exit', 'the thread of the module ended'],
  ])('does "%s" fails that delivery, and the next one arrives', async (wish, detail) => {
    const failed = await send(wish);
    expect(failed).toMatchObject({ status: 'pending', reason: 'retrying' });
    expect(failed.error_message).toContain(detail);
    expect(JSON.stringify(failed).length).toBeLessThan(10_000);
    // A thread that was in a loop is ended a second later.
    await expect
      .poll(async () => (await send(`after ${wish}`, { subject: String(performance.now()) })).status, { timeout: 25_000 })
      .toBe('delivered');
  });

  test('leaves a rejection unhandled has delivered, and the server runs on', async () => {
    expect(await send('reject')).toMatchObject({ status: 'delivered' });
    await expect.poll(() => JSON.stringify(server.logs)).toContain('nobody looks');
    expect((await server.api('GET', '/health/ready')).status).toBe(200);
  });

  test("can't render fails that delivery", async () => {
    expect(await send('fine', { subject: 'unrenderable' })).toMatchObject({
      reason: 'retrying',
      error_message: expect.stringContaining('no such text'),
    });
  });

  test('floods with its log and its answer is cut short', async () => {
    const failed = await send('flood');
    expect(failed).toMatchObject({ status: 'pending', reason: 'retrying' });
    expect(JSON.stringify(failed).length).toBeLessThan(10_000);
    const said = server.logs.filter(({ event }) => event === 'module.said');
    expect(said.length).toBeLessThanOrEqual(110);
    expect(Math.max(...said.map(({ fields }) => JSON.stringify(fields).length))).toBeLessThan(5_000);
  });
});

describe('a module that can’t be used stops the start:', () => {
  test.each([
    ['one that is not there', { module: '/no/such/file.ts' }, /channels\.pager: \/no\/such\/file\.ts: .*Cannot find module/],
    ['a package that is not there', { module: 'no-such-package' }, /channels\.pager: no-such-package: .*no-such-package/],
    ['one that exports something else', { module: fixture('second-carrier') }, /it does not export the function createChannel/],
    ['one that breaks the contract', { module: fixture('broken') }, /title: .*address\.field: .*providers\.0\.send: must be a function/],
    [
      'one that refuses its options',
      { module: fixture('choosy'), options: {} },
      /channels\.pager: .*choosy\.ts: options\.token is missing/,
    ],
    ['a name without a module', {}, /channels\.pager: it is no channel, and names no module/],
  ])('%s', async (_, setting, message) => {
    const error: Error = await startServer({ channels: { pager: { enabled: true, ...setting } } }, { on: server.db }).then(
      async (started) => {
        await started.stop();
        return new Error('it started');
      },
      (reason: unknown) => reason as Error,
    );
    expect(error.message).toMatch(message);
  });

  test.each([
    ['email', /channels\.email: only providers can be named here/],
    ['webhook', /channels\.webhook: it has settings of its own/],
    ['slack', /channels\.slack: this name is taken/],
  ])('the name %s is taken', async (name, message) => {
    await expect(startServer({ channels: { [name]: misbehaving } }, { on: server.db })).rejects.toThrow(message);
  });
});
