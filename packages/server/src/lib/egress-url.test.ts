import { expect, test } from 'vitest';
import { checkHeaders, checkUrl } from './egress-url.ts';

const strict = { allowLoopback: false, allowRanges: [] };
const development = { allowLoopback: true, allowRanges: [] };

const good = [
  'http://example.com',
  'https://example.com/hook?x=1#part',
  'HTTPS://EXAMPLE.COM:8443/Hook',
  'https://bücher.example/straße',
  'https://a-b.c_d.example.co.uk/%00',
  'https://8.8.8.8/hook',
  'https://[2606:4700:4700::1111]:8443/',
  'https://notlocal.example/',
  'https://internal.example.com/',
  `https://example.com/${'x'.repeat(2028)}`,
];
test.each(good)('allowed: %.60s', (text) => {
  expect(checkUrl(text, strict)).toEqual({ ok: true, url: new URL(text) });
});

test('development allows the loopback interface and nothing else', () => {
  for (const text of ['http://localhost:7070/x', 'http://127.0.0.1:1', 'http://127.1.2.3/', 'http://[::1]:9/']) {
    expect(checkUrl(text, development), text).toMatchObject({ ok: true });
    expect(checkUrl(text, strict), text).toMatchObject({ ok: false });
  }
  for (const text of [
    'http://10.0.0.1/',
    'http://0.0.0.0/',
    'http://[::ffff:127.0.0.1]/',
    'http://x.localhost/',
    'http://169.254.169.254/',
  ]) {
    expect(checkUrl(text, development), text).toMatchObject({ ok: false });
  }
});

test('an operator allows ranges, but never metadata in any wrapping', () => {
  const allowRanges = [
    '10.0.0.0/8',
    '169.254.0.0/16',
    '168.63.0.0/16',
    'fd00::/8',
    '::ffff:0:0/96',
    '64:ff9b::/96',
    '2002::/16',
    '2001::/32',
  ];
  const policy = { allowLoopback: false, allowRanges };
  for (const host of ['10.1.2.3', '169.254.1.1', '[fd00::1]', '[::ffff:10.0.0.1]', '[64:ff9b::a00:1]']) {
    expect(checkUrl(`http://${host}/`, policy), host).toMatchObject({ ok: true });
  }
  const metadata = [
    '169.254.169.254',
    '168.63.129.16',
    '169.254.170.2',
    '[fd00:ec2::254]',
    '[::ffff:169.254.169.254]',
    '[64:ff9b::a9fe:a9fe]',
    '[2002:a9fe:a9fe::1]',
    '[2001:0:4136:e378:8000:63bf:5601:5601]', // Teredo: the address is inverted
  ];
  for (const host of metadata) {
    expect(checkUrl(`http://${host}/`, policy), host).toEqual({ ok: false, reason: 'the host is the address of a metadata service' });
  }
  expect(checkUrl('http://192.168.0.1/', policy)).toMatchObject({ ok: false });
});

test('a range that is none is refused at once', () => {
  expect(() => checkUrl('http://example.com', { allowLoopback: false, allowRanges: ['10.0.0.0'] })).toThrow(
    /"10\.0\.0\.0" is not an address range/,
  );
  expect(() => checkUrl('http://example.com', { allowLoopback: false, allowRanges: ['10.0.0.0/33'] })).toThrow();
});

test('a reason says what is wrong and never repeats the URL', () => {
  const verdict = checkUrl('http://user:hunter2@example.com/', strict);
  expect(verdict).toEqual({ ok: false, reason: 'user information is not allowed' });
});

test('custom headers', () => {
  expect(checkHeaders({ 'x-team': 'a', Authorization: 'Bearer x', 'content-type': 'application/json' })).toBeUndefined();
  const refused: Record<string, string>[] = [
    { 'x-a': 'b\r\nhost: evil' },
    { 'x-a': 'b\n' },
    { 'x-a': 'b\r' },
    { 'x-a': 'b\0' },
    { 'x-a': '\u2028' },
    { 'x-a': 'x'.repeat(5000) },
    { 'x-a\r\nb': 'c' },
    { 'x a': 'c' },
    { '': 'c' },
    { Host: 'evil.example' },
    { 'Content-Length': '0' },
    { 'TRANSFER-ENCODING': 'chunked' },
    { connection: 'close' },
    { Cookie: 'a=b' },
    { 'Webhook-Id': 'x' },
    { 'webhook-signature': 'x' },
    { 'webhook-anything': 'x' },
    { upgrade: 'h2c' },
    { 'x-a': 'b', 'X-A': 'c' },
  ];
  for (const headers of refused) expect(checkHeaders(headers), JSON.stringify(headers)).toBeTypeOf('string');
  expect(checkHeaders({ 'x-a': 'secret\n' })).not.toContain('secret');
});
