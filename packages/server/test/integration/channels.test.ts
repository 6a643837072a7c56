/** Channels beyond mail and webhook, through the whole server: named in the settings, addressed in preferences. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

let server: TestServer;
let receiver: Receiver;
const SECRET = '/services/T1/B1/planted-secret';

beforeAll(async () => {
  receiver = await startReceiver((response, { path }) => {
    if (path.startsWith('/gone')) response.writeHead(404).end('no_service');
    else response.end('ok');
  });
  server = await startServer({ channels: { discord: { enabled: false } } });
});
afterAll(async () => {
  await server.stop();
  await receiver.close();
});

/** Stored as the preference's own address. */
async function prefers(user: string, channels: object): Promise<void> {
  await server.api('PUT', `/v1/users/${user}`, {});
  await server.db.query('update carillon.users set preferences = $2 where id = $1', [user, JSON.stringify({ channels })]);
}

/** The notification's deliveries once none is under way. */
async function settled(id: string) {
  let deliveries: { channel: string; status: string; reason: string; address: string | null; error_message: string | null }[] = [];
  await expect
    .poll(async () => {
      const { body } = await server.api('GET', `/v1/events/${id}`);
      deliveries = body.notifications.flatMap((one: { deliveries: [] }) => one.deliveries);
      return deliveries.length > 0 && deliveries.every(({ status }) => status !== 'sending' && status !== 'pending');
    })
    .toBe(true);
  return deliveries.sort((a, b) => a.channel.localeCompare(b.channel));
}

const url = (path: string) => `http://127.0.0.1:${receiver.port}${path}`;

describe('a chat channel', () => {
  test('goes to the address in the preference, and shows it to nobody', async () => {
    await prefers('ada', { slack: { enabled: true, webhook_url: url(SECRET) } });
    const { body } = await server.api('POST', '/v1/notifications', {
      to: ['ada'],
      subject: 'Disk',
      body: 'full',
      channels: ['slack', 'teams'],
    });
    const deliveries = await settled(body.id);
    expect(deliveries).toMatchObject([
      { channel: 'slack', status: 'delivered', reason: 'sent', address: `http://127.0.0.1:${receiver.port}/…` },
      { channel: 'teams', reason: 'no_address' },
    ]);
    expect(receiver.requests.find(({ path }) => path === SECRET)?.body).toContain('🔔 Disk');
    const { body: told } = await server.api('GET', `/v1/notifications?event_id=${body.id}`);
    const { body: whole } = await server.api('GET', `/v1/notifications/${told.data[0].id}`);
    for (const shown of [told, whole, server.logs]) expect(JSON.stringify(shown)).not.toContain('planted-secret');
  });

  test('an address that is gone is not used again, until it is another one', async () => {
    await prefers('gone', { slack: { enabled: true, webhook_url: url('/gone') } });
    const tell = async () => {
      const { body } = await server.api('POST', '/v1/notifications', { to: ['gone'], subject: 's', channels: ['slack'] });
      return (await settled(body.id))[0];
    };
    expect(await tell()).toMatchObject({ status: 'failed', reason: 'address_gone', error_message: 'HTTP 404: no_service' });
    expect(await tell()).toMatchObject({ reason: 'suppressed' });
    await server.db.query(
      "update carillon.users set preferences = jsonb_set(preferences, '{channels,slack,webhook_url}', to_jsonb($1::text)) where id = 'gone'",
      [url('/back')],
    );
    expect(await tell()).toMatchObject({ status: 'delivered' });
  });
});

test('a channel that is known and not set up is skipped, one that nobody knows is refused', async () => {
  const off = await server.api('POST', '/v1/notifications', { to: ['ada'], subject: 's', channels: ['discord'] });
  expect(await settled(off.body.id)).toMatchObject([{ channel: 'discord', reason: 'channel_disabled' }]);
  const unknown = await server.api('POST', '/v1/notifications', { to: ['ada'], subject: 's', channels: ['pigeon'] });
  expect(unknown).toMatchObject({ status: 422, body: { errors: [{ pointer: '/channels/0' }] } });
});

test.each([
  [{ pigeon: { enabled: true } }, 'channels.pigeon: it is no channel, and names no module; the nearest known one is'],
  [{ slack: { enabled: true, options: { tokne: 'planted-secret' } } }, 'channels.slack: Unrecognized key: "tokne"'],
  [
    { slack: { enabled: true, providers: [{ name: 'webhok' }] } },
    'channels.slack: webhok is none of its providers; the nearest is webhook',
  ],
])('%j stops the start, and the message says why', async (channels, message) => {
  const error: Error = await startServer({ channels }, { on: server.db }).then(
    async (started) => {
      await started.stop();
      return new Error('it started');
    },
    (reason: unknown) => reason as Error,
  );
  expect(error.message).toContain(message);
  expect(error.message).not.toContain('planted-secret');
});
