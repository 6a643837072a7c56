import { createHmac, createPublicKey, verify } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { expect, test } from 'vitest';
import type { Behaviour, Subject } from '../../../test/conformance/contract.ts';
import { providerContract } from '../../../test/conformance/provider.ts';
import { type Answer, startReceiver } from '../../../test/harness/receiver.ts';
import { makeEgress } from '../../lib/egress.ts';
import { publicKeyOf } from '../../lib/webhook-signature.ts';
import type { WebhookAddress, WebhookContent } from './channel.ts';
import { webhookHttp } from './http.ts';

const secret = Buffer.from('a webhook secret of 32 bytes, ok');
const idle = new AbortController().signal;

const answers: Readonly<Record<string, Answer>> = {
  hang: () => undefined,
  drop: (response) => response.destroy(),
  huge: (response) => response.writeHead(503).end('x'.repeat(1_000_000)),
  echo: (response, request) => response.writeHead(400).end(JSON.stringify(request)),
};

async function subject(behaviour: Behaviour, headers?: Record<string, string>): Promise<Subject<WebhookAddress, WebhookContent>> {
  if (behaviour === 'silent') return silent();
  const receiver = await startReceiver(typeof behaviour === 'number' ? statusAnswer(behaviour) : (answers[behaviour] ?? (() => undefined)));
  if (behaviour === 'closed') await receiver.close();
  return {
    ...made(`http://127.0.0.1:${receiver.port}/hook?token=t`, behaviour === 'closed' ? () => Promise.resolve() : receiver.close, headers),
    arrived: () => receiver.requests.length,
    openSockets: receiver.openSockets,
  };
}

/** The 204 of some frameworks, and a page of text for the rest. */
function statusAnswer(status: number): Answer {
  return (response) => response.writeHead(status).end(status === 204 ? undefined : 'said so');
}

function made(url: string, stopFarEnd: () => Promise<void>, headers?: Record<string, string>) {
  const egress = makeEgress({ allowLoopback: true, allowRanges: [], totalTimeoutMs: 150, connectTimeoutMs: 100, maxResponseBytes: 65_536 });
  return {
    provider: webhookHttp({ egress, now: () => new Date(), headers }),
    message: { deliveryId: 'dlv_1', address: { url, secrets: [secret] }, content: { body: '{"täg":"\u2028"}' } },
    stop: async () => {
      await egress.close();
      await stopFarEnd();
    },
  };
}

/** TLS to a port that never says hello. */
async function silent(): Promise<Subject<WebhookAddress, WebhookContent>> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  const { port } = server.address() as { port: number };
  return { ...made(`https://127.0.0.1:${port}/`, stop), arrived: () => 0, openSockets: () => sockets.size };
}

providerContract<WebhookAddress, WebhookContent>({
  name: 'webhook.http',
  make: subject,
  accepts: [200, 201, 202, 204, 299],
  refuses: [
    [301, 'transient', 'provider_error'],
    [302, 'transient', 'provider_error'],
    [307, 'transient', 'provider_error'],
    [400, 'transient', 'provider_error'],
    [401, 'transient', 'unauthorized'],
    [403, 'transient', 'unauthorized'],
    [404, 'transient', 'provider_error'],
    [410, 'permanent', 'address_gone'],
    [429, 'transient', 'rate_limited'],
    [500, 'transient', 'provider_error'],
    [503, 'transient', 'provider_error'],
  ],
  secrets: [secret.toString(), secret.toString('base64'), secret.toString('hex')],
});

test('the receiver verifies the signature with the library of Standard Webhooks, over the exact bytes', async () => {
  let seen: { headers: Record<string, string>; body: string } | undefined;
  const receiver = await startReceiver((response, request) => {
    seen = { headers: request.headers as Record<string, string>, body: request.body };
    response.end();
  });
  const { provider, message, stop } = made(`http://127.0.0.1:${receiver.port}/`, receiver.close);
  for (const body of ['{}', '{"täg":"\u2028 €😀"}', '']) {
    await provider.send({ ...message, content: { body } }, idle);
    expect(seen?.body).toBe(body);
    const verify = () => new Webhook(secret.toString('base64')).verify(seen?.body ?? '', seen?.headers ?? {}, { jsonParse: false });
    expect(verify).not.toThrow();
    expect(seen?.headers['webhook-id']).toBe('dlv_1');
    expect(() => new Webhook(Buffer.from('another key').toString('base64')).verify(seen?.body ?? '', seen?.headers ?? {})).toThrow();
  }
  await stop();
});

test('two secrets, both schemes and a header of the operator: each receiver finds the signature that he knows', async () => {
  const older = Buffer.from('the secret that goes out of use.');
  const seen: Record<string, string>[] = [];
  const receiver = await startReceiver((response, request) => {
    seen.push(request.headers as Record<string, string>);
    response.end();
  });
  const egress = makeEgress({
    allowLoopback: true,
    allowRanges: [],
    totalTimeoutMs: 5_000,
    connectTimeoutMs: 500,
    maxResponseBytes: 65_536,
  });
  const options = { egress, now: () => new Date(), schemes: ['v1', 'v1a'] as const };
  const message = {
    deliveryId: 'dlv_1',
    address: { url: `http://127.0.0.1:${receiver.port}/`, secrets: [secret, older] },
    content: { body: '{"täg":1}' },
  };
  await webhookHttp({ ...options, plain: { header: 'X-Trevor-Signature', secret: undefined } }).send(message, idle);
  await webhookHttp({ ...options, plain: { header: 'X-Trevor-Signature', secret: older } }).send(message, idle);
  const { body } = message.content;
  for (const headers of seen) {
    expect(headers['webhook-signature']!.split(' ').map((one) => one.split(',')[0])).toEqual(['v1', 'v1a', 'v1', 'v1a']);
    for (const one of [secret, older]) {
      expect(() => new Webhook(one.toString('base64')).verify(body, headers, { jsonParse: false })).not.toThrow();
      expect(v1aHolds(publicKeyOf(one), headers, body)).toBe(true);
      expect(v1aHolds(publicKeyOf(one), headers, `${body} `)).toBe(false);
    }
    expect(v1aHolds(publicKeyOf(Buffer.from('a secret of somebody else, thanks')), headers, body)).toBe(false);
  }
  const plain = (one: Buffer) => createHmac('sha256', one).update(body).digest('hex');
  expect(seen.map((headers) => headers['x-trevor-signature'])).toEqual([`${plain(secret)}, ${plain(older)}`, plain(older)]);
  expect(() => webhookHttp({ ...options, plain: { header: 'Webhook-Signature', secret } })).toThrow(/set by Carillon/);
  await egress.close();
  await receiver.close();
});

/** As a receiver does it who knows the public key only. */
function v1aHolds(publicKey: string, headers: Record<string, string>, body: string): boolean {
  const x = Buffer.from(publicKey.replace('whpk_', ''), 'base64').toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const content = Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`);
  return headers['webhook-signature']!.split(' ')
    .filter((one) => one.startsWith('v1a,'))
    .some((one) => verify(null, content, key, Buffer.from(one.slice('v1a,'.length), 'base64')));
}

test("the timestamp is the attempt's, in seconds", async () => {
  const receiver = await startReceiver((response) => response.end());
  const egress = makeEgress({
    allowLoopback: true,
    allowRanges: [],
    totalTimeoutMs: 1_000,
    connectTimeoutMs: 500,
    maxResponseBytes: 65_536,
  });
  let at = new Date('2026-01-01T00:00:00.999Z');
  const provider = webhookHttp({ egress, now: () => at });
  const message = {
    deliveryId: 'dlv_1',
    address: { url: `http://127.0.0.1:${receiver.port}/`, secrets: [secret] },
    content: { body: '{}' },
  };
  await provider.send(message, idle);
  at = new Date('2026-01-01T00:05:00Z');
  await provider.send(message, idle);
  expect(receiver.requests.map(({ headers }) => headers['webhook-timestamp'])).toEqual(['1767225600', '1767225900']);
  expect(receiver.requests.map(({ headers }) => headers['webhook-id'])).toEqual(['dlv_1', 'dlv_1']);
  await egress.close();
  await receiver.close();
});

test('custom headers are sent and may replace ours, but not the signed ones', async () => {
  let headers: Record<string, unknown> = {};
  const receiver = await startReceiver((response, request) => {
    headers = request.headers;
    response.end();
  });
  const { provider, message, stop } = made(`http://127.0.0.1:${receiver.port}/`, receiver.close, { 'User-Agent': 'acme', 'X-Team': 'b' });
  await provider.send(message, idle);
  expect(headers).toMatchObject({ 'user-agent': 'acme', 'x-team': 'b', 'content-type': 'application/json' });
  await stop();
  expect(() => made('', () => Promise.resolve(), { 'Webhook-Id': 'x' })).toThrow(/webhook-id is set by Carillon/);
});

test.each(['http://10.0.0.1/', 'http://169.254.169.254/latest/', 'http://hook.internal/', 'nonsense'])(
  '%s is blocked for good',
  async (url) => {
    const { provider, message, stop } = made('', () => Promise.resolve());
    const result = await provider.send({ ...message, address: { url, secrets: [secret] } }, idle);
    expect(result).toMatchObject({ kind: 'permanent', reason: 'egress_blocked' });
    expect(JSON.stringify(result)).not.toContain(url);
    await stop();
  },
);

test('the wish of Retry-After is passed on, with the answer', async () => {
  const receiver = await startReceiver((response) => response.writeHead(429, { 'retry-after': '120' }).end('slow down'));
  const { provider, message, stop } = made(`http://127.0.0.1:${receiver.port}/`, receiver.close);
  const result = await provider.send(message, idle);
  expect(result).toEqual({
    kind: 'transient',
    reason: 'rate_limited',
    detail: 'HTTP 429',
    retryAfterMs: 120_000,
    status: 429,
    response: 'slow down',
  });
  await stop();
});
