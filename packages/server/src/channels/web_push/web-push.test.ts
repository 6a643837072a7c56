import { createECDH, createPublicKey, verify } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import webPush from 'web-push';
import { expect, test } from 'vitest';
import { httpContract, talk } from '../../../test/conformance/http-provider.ts';
import { decrypt, makePushBrowser } from '../../../test/harness/push-browser.ts';
import { telling } from '../../../test/harness/telling.ts';
import { makeEgress } from '../../lib/egress.ts';
import type { ExchangeDeps } from '../exchange.ts';
import { readSubscription, WebPushOptions, webPushProvider } from './push.ts';
import { renderWebPush } from './render.ts';

const browser = makePushBrowser();
const vapid = webPush.generateVAPIDKeys();
const PATH = '/send/planted-secret-endpoint';
const options = WebPushOptions.parse({ subject: 'mailto:ops@example.org', public_key: vapid.publicKey, private_key: vapid.privateKey });

const addressAt = (base: string) => readSubscription(browser.subscriptionAt(base + PATH));
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
  secrets: ['planted-secret-endpoint', browser.auth],
});

/** RFC 8291 5 and appendix A: the example of the standard, with its keys. */
test('what the browser of these tests reads is what the standard’s example says', () => {
  const keys = createECDH('prime256v1');
  keys.setPrivateKey(Buffer.from('q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94', 'base64url'));
  const sealed =
    'DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN';
  expect(decrypt(Buffer.from(sealed, 'base64url'), keys, Buffer.from('BTBZMqHH6r4Tts7J_aSIgg', 'base64url'))).toBe(
    'When I grow up, I want to be a watermelon',
  );
});

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
  expect(JSON.parse(browser.decrypt(seen!.body))).toEqual({
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
