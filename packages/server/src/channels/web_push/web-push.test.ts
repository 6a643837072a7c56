import { createDecipheriv, createECDH, createPublicKey, hkdfSync, randomBytes, verify } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import webPush from 'web-push';
import { expect, test } from 'vitest';
import { httpContract, talk } from '../../../test/conformance/http-provider.ts';
import { telling } from '../../../test/harness/telling.ts';
import { makeEgress } from '../../lib/egress.ts';
import type { ExchangeDeps } from '../exchange.ts';
import { readSubscription, WebPushOptions, webPushProvider } from './push.ts';
import { renderWebPush } from './render.ts';

const browser = createECDH('prime256v1');
browser.generateKeys();
const auth = randomBytes(16);
const vapid = webPush.generateVAPIDKeys();
const PATH = '/send/planted-secret-endpoint';
const options = WebPushOptions.parse({ subject: 'mailto:ops@example.org', public_key: vapid.publicKey, private_key: vapid.privateKey });

const addressAt = (base: string) =>
  readSubscription(
    JSON.stringify({
      endpoint: base + PATH,
      expirationTime: null,
      keys: { p256dh: browser.getPublicKey('base64url'), auth: auth.toString('base64url') },
    }),
  );
const subject = {
  name: 'web_push.push',
  provider: (deps: ExchangeDeps) => webPushProvider(deps, options),
  address: addressAt,
  content: renderWebPush(telling()),
};

httpContract({
  ...subject,
  body: () => '',
  accepts: [201, 202],
  refuses: [
    [200, 'transient', 'provider_error'],
    [400, 'permanent', 'content_rejected'],
    [401, 'transient', 'unauthorized'],
    [404, 'permanent', 'address_gone'],
    [410, 'permanent', 'address_gone'],
    [413, 'permanent', 'content_rejected'],
    [429, 'transient', 'rate_limited'],
    [500, 'transient', 'provider_error'],
  ],
  secrets: ['planted-secret-endpoint', auth.toString('base64url')],
});

/** RFC 8188 2.1 and RFC 8291 3.4, by their own words. */
function decrypt(message: Buffer): string {
  const salt = message.subarray(0, 16);
  const sender = message.subarray(21, 21 + message[20]!);
  const sealed = message.subarray(21 + message[20]!);
  const info = Buffer.concat([Buffer.from('WebPush: info\0'), browser.getPublicKey(), sender]);
  const ikm = Buffer.from(hkdfSync('sha256', browser.computeSecret(sender), auth, info, 32));
  const key = Buffer.from(hkdfSync('sha256', ikm, salt, 'Content-Encoding: aes128gcm\0', 16));
  const nonce = Buffer.from(hkdfSync('sha256', ikm, salt, 'Content-Encoding: nonce\0', 12));
  const decipher = createDecipheriv('aes-128-gcm', key, nonce, { authTagLength: 16 });
  decipher.setAuthTag(sealed.subarray(-16));
  const plain = Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
  return plain.subarray(0, plain.lastIndexOf(2)).toString();
}

test('the browser can read it, and the push service can tell from whom it is', async () => {
  let seen: { headers: Record<string, string>; body: Buffer } | undefined;
  const service = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      seen = { headers: request.headers as Record<string, string>, body: Buffer.concat(chunks) };
      response.writeHead(201, { location: 'https://push.example.net/message/7' }).end();
    });
  });
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve));
  const base = `http://127.0.0.1:${(service.address() as AddressInfo).port}`;
  const egress = makeEgress({
    allowLoopback: true,
    allowRanges: [],
    totalTimeoutMs: 5_000,
    connectTimeoutMs: 5_000,
    maxResponseBytes: 65_536,
  });
  const provider = subject.provider({ request: egress.request, now: () => new Date() });
  const message = { deliveryId: 'dlv_1', address: addressAt(base), content: subject.content };
  const result = await provider.send(message, new AbortController().signal);
  await egress.close();
  service.close();

  expect(result).toMatchObject({ kind: 'accepted', status: 201, providerId: 'https://push.example.net/message/7' });
  expect(JSON.parse(decrypt(seen!.body))).toEqual({
    title: 'Disk almost full',
    body: '92 % used',
    url: 'https://app.example.org/disks/7',
    tag: 'ntf_1',
    severity: 'high',
  });
  expect(seen!.headers).toMatchObject({ 'content-encoding': 'aes128gcm', ttl: '86400', urgency: 'high' });

  const [, token = '', key = ''] = /^vapid t=([^,]+), ?k=(.+)$/.exec(seen!.headers.authorization!) ?? [];
  expect(key).toBe(vapid.publicKey);
  const [head = '', claims = '', signature = ''] = token.split('.');
  expect(JSON.parse(Buffer.from(claims, 'base64url').toString())).toMatchObject({ aud: base, sub: 'mailto:ops@example.org' });
  const point = Buffer.from(vapid.publicKey, 'base64url');
  const jwk = { kty: 'EC', crv: 'P-256', x: point.subarray(1, 33).toString('base64url'), y: point.subarray(33).toString('base64url') };
  const publicKey = createPublicKey({ key: jwk, format: 'jwk' });
  const signed = verify(
    'sha256',
    Buffer.from(`${head}.${claims}`),
    { key: publicKey, dsaEncoding: 'ieee-p1363' },
    Buffer.from(signature, 'base64url'),
  );
  expect(signed).toBe(true);
});

test.each([['no JSON'], ['{}'], ['{"endpoint":"https://push.example.net","keys":{"p256dh":"x","auth":"y"}}'], ['null']])(
  '%s is no subscription, and nothing is sent',
  async (text) => {
    const { result, request } = await talk({ ...subject, address: () => readSubscription(text) }, { status: 201 });
    expect(result).toMatchObject({ kind: 'permanent', reason: 'address_rejected' });
    expect(request).toBeUndefined();
  },
);

test.each([['x'], ['€'], ['😀'], ['"']])('however long, of %j: less than 4,096 bytes once it is encrypted', (unit) => {
  const { payload } = renderWebPush(telling({ subject: unit.repeat(3_000), body: unit.repeat(9_000) }));
  expect(Buffer.byteLength(payload)).toBeLessThanOrEqual(3_900);
  expect(Buffer.byteLength(payload)).toBeGreaterThan(3_500);
  expect(payload.isWellFormed()).toBe(true);
});

test('a path leads into the page that has subscribed', () => {
  expect(JSON.parse(renderWebPush(telling({ actionUrl: '/disks/7' })).payload)).toMatchObject({ url: '/disks/7' });
  expect(JSON.parse(renderWebPush(telling({ actionUrl: 'javascript:alert(1)' })).payload)).toMatchObject({ url: null });
});

test('keys that are none are refused', () => {
  expect(WebPushOptions.safeParse({ subject: 'mailto:ops@example.org', public_key: 'x', private_key: 'y' }).success).toBe(false);
});
