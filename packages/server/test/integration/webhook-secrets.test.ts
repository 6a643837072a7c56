/** Users' webhook secrets: each has his own, and while one rotates both sign. */
import { Webhook } from 'standardwebhooks';
import { afterEach, expect, test } from 'vitest';
import { eventually } from '../harness/core.ts';
import { freshDatabase } from '../harness/database.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const DAY = 86_400_000;
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function rig(overrides: Parameters<typeof startServer>[0] = {}) {
  const on = await freshDatabase();
  cleanups.push(on.drop);
  const started = async (more: Parameters<typeof startServer>[0] = {}) => {
    const server = await startServer({ ...overrides, ...more }, { on });
    cleanups.push(server.stop);
    return server;
  };
  const receiver = await startReceiver((response) => response.end());
  cleanups.push(receiver.close);
  const server = await started();
  await server.api('PUT', '/v1/users/ada', { webhook_url: `http://127.0.0.1:${receiver.port}/` });
  return { server, receiver, started };
}

async function sent(server: TestServer, receiver: Receiver) {
  const before = receiver.requests.length;
  await server.api('POST', '/v1/notifications', { to: ['ada'], subject: 's', channels: ['webhook'] });
  await eventually(() => receiver.requests.length).toBe(before + 1);
  return receiver.requests.at(-1)!;
}

/** By the library of Standard Webhooks, its clock aside: the database's may have been moved by days. */
function holds(secret: string, { headers, body }: Receiver['requests'][number]): boolean {
  const [id, timestamp, signatures] = ['id', 'timestamp', 'signature'].map((name) => String(headers[`webhook-${name}`]));
  const own = new Webhook(secret).sign(id!, new Date(Number(timestamp) * 1_000), body);
  return signatures!.split(' ').includes(own);
}

const secretOf = async (server: TestServer, path = '/v1/users/ada/webhook-secret') => (await server.api('GET', path)).body;
const rotate = (server: TestServer, body?: unknown, headers?: Record<string, string>) =>
  server.api('POST', '/v1/users/ada/rotate-secret', body, headers);

test('each user has a secret and a key pair of his own', async () => {
  const { server, receiver } = await rig();
  await server.api('PUT', '/v1/users/bob', {});
  const [ada, bob] = [await secretOf(server), await secretOf(server, '/v1/users/bob/webhook-secret')];
  expect(ada).toEqual({
    secret: expect.stringMatching(/^whsec_[A-Za-z0-9+/]{43}=$/),
    public_key: expect.stringMatching(/^whpk_[A-Za-z0-9+/]{43}=$/),
    previous_until: null,
  });
  expect(bob.secret).not.toBe(ada.secret);
  expect(bob.public_key).not.toBe(ada.public_key);
  const request = await sent(server, receiver);
  expect([holds(ada.secret, request), holds(bob.secret, request)]).toEqual([true, false]);
  for (const [method, verb] of [
    ['GET', 'webhook-secret'],
    ['POST', 'rotate-secret'],
  ] as const)
    expect((await server.api(method, `/v1/users/nobody/${verb}`)).status).toBe(404);
});

test('while a secret rotates both sign, in every process; then only the new one', async () => {
  const { server, receiver, started } = await rig({ 'webhook.rotation_overlap': DAY });
  const other = await started({ roles: ['api', 'router', 'delivery'] });
  const old = await secretOf(server);
  await sent(other, receiver); // has derived it
  const { status, body: young } = await rotate(server);
  expect(status).toBe(200);
  expect(young.secret).not.toBe(old.secret);
  expect(Date.parse(young.previous_until) - Date.now()).toBeGreaterThan(DAY - 60_000);
  expect(await secretOf(server)).toEqual(young);
  await other.running.catchUp();
  for (const from of [server, other]) {
    const request = await sent(from, receiver);
    expect(String(request.headers['webhook-signature']).split(' ')).toHaveLength(2);
    expect([holds(old.secret, request), holds(young.secret, request)]).toEqual([true, true]);
  }
  await server.moveClock(DAY + 1_000);
  await other.running.catchUp();
  for (const from of [server, other]) {
    const request = await sent(from, receiver);
    expect([holds(old.secret, request), holds(young.secret, request)]).toEqual([false, true]);
  }
  expect((await secretOf(server)).previous_until).toBeNull();
  const later = await started();
  expect(holds(young.secret, await sent(later, receiver))).toBe(true);
});

test('an overlap of nothing ends the old one at once; a repeat does not rotate again, and holds no secret', async () => {
  const { server, receiver } = await rig();
  const old = await secretOf(server);
  const headers = { 'idempotency-key': 'once' };
  const first = await rotate(server, { overlap_seconds: 0 }, headers);
  const again = await rotate(server, { overlap_seconds: 0 }, headers);
  expect(again.headers.get('idempotent-replayed')).toBe('true');
  expect(again.body).toEqual({ public_key: first.body.public_key, previous_until: null });
  expect((await secretOf(server)).secret).toBe(first.body.secret);
  const request = await sent(server, receiver);
  expect([holds(old.secret, request), holds(first.body.secret, request)]).toEqual([false, true]);
  for (const bad of [{ overlap_seconds: -1 }, { overlap_seconds: 31 * 86_400 }, { overlap: 1 }]) {
    const refused = await rotate(server, bad);
    expect([refused.status, refused.body.errors[0].pointer]).toEqual([422, expect.stringMatching(/^\/overlap/)]);
  }
});

test('a third secret takes the place of the first', async () => {
  const { server, receiver } = await rig();
  const first = await secretOf(server);
  const [second, third] = [(await rotate(server)).body, (await rotate(server)).body];
  const request = await sent(server, receiver);
  expect([first, second, third].map(({ secret }) => holds(secret, request))).toEqual([false, true, true]);
});
