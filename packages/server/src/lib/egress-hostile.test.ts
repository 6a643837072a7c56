import type { LookupAddress } from 'node:dns';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Receiver, startReceiver } from '../../test/harness/receiver.ts';
import { type EgressOptions, makeEgress } from './egress.ts';
import { checkUrl } from './egress-url.ts';

const post = { method: 'POST', headers: {}, body: 'x' } as const;
const strict: EgressOptions = {
  allowLoopback: false,
  allowRanges: [],
  totalTimeoutMs: 5_000,
  connectTimeoutMs: 2_000,
  maxResponseBytes: 64 * 1024,
};

/** Each would reach the local trap if it were let through: `P` is its port. */
const hostile = [
  // loopback and this host, in every spelling
  'http://127.0.0.1:P/',
  'http://127.1:P/',
  'http://127.0.1:P/',
  'http://2130706433:P/',
  'http://0x7f000001:P/',
  'http://0x7f.0x0.0x0.0x1:P/',
  'http://0177.0.0.1:P/',
  'http://017700000001:P/',
  'http://127.0.0.1.:P/',
  'http://%31%32%37.0.0.1:P/',
  'http://１２７.０.０.１:P/',
  'http://127。0。0。1:P/',
  'http://0.0.0.0:P/',
  'http://0:P/',
  'http://[::]:P/',
  'http://[::1]:P/',
  'http://[0:0:0:0:0:0:0:1]:P/',
  'http://[::ffff:127.0.0.1]:P/',
  'http://[::ffff:7f00:1]:P/',
  'http://[::127.0.0.1]:P/',
  'http://[64:ff9b::127.0.0.1]:P/',
  'http://[64:ff9b:1::7f00:1]:P/',
  'http://[2002:7f00:1::]:P/',
  'http://[2001:0:4136:e378:8000:63bf:80ff:fffe]:P/',
  // private, link-local, shared, metadata, reserved, multicast
  'http://10.0.0.1:P/',
  'http://172.16.0.1:P/',
  'http://172.31.255.255:P/',
  'http://192.168.1.1:P/',
  'http://100.64.0.1:P/',
  'http://169.254.1.1:P/',
  'http://169.254.169.254/latest/meta-data/',
  'http://2852039166/latest/',
  'http://[::ffff:169.254.169.254]/',
  'http://168.63.129.16:P/',
  'http://100.100.100.200:P/',
  'http://192.0.0.192:P/',
  'http://[fd00:ec2::254]:P/',
  'http://[fc00::1]:P/',
  'http://[fe80::1]:P/',
  'http://[fec0::1]:P/',
  'http://[ff02::1]:P/',
  'http://[2001:db8::1]:P/',
  'http://[100::1]:P/',
  'http://[5f00::1]:P/',
  'http://[4000::1]:P/',
  'http://224.0.0.1:P/',
  'http://240.0.0.1:P/',
  'http://255.255.255.255:P/',
  'http://192.0.2.1:P/',
  'http://198.18.0.1:P/',
  'http://198.51.100.7:P/',
  'http://203.0.113.7:P/',
  'http://192.88.99.1:P/',
  // public, but disguised
  'http://134744072/',
  'http://010.8.8.8/',
  'http://8.8.2056/',
  // names of one's own
  'http://localhost:P/',
  'http://LOCALHOST:P/',
  'http://localhost.:P/',
  'http://local\u00adhost:P/',
  'http://ⓛocalhost:P/',
  'http://a.localhost:P/',
  'http://localhost.localdomain:P/',
  'http://metadata.google.internal/',
  'http://printer.local:P/',
  'http://router.lan:P/',
  'http://api.default.svc:P/',
  'http://api.default.svc.cluster.local:P/',
  'http://nas.home.arpa:P/',
  'http://home.arpa:P/',
  'http://hook.test:P/',
  'http://hook.invalid:P/',
  'http://abcdefghij.onion:P/',
  'http://intranet:P/',
  'http://example.com.:P/',
  'http://a..example.com:P/',
  'http://.example.com:P/',
  'http://-a.example.com:P/',
  'http://exa$mple.com:P/',
  `http://${'a'.repeat(64)}.example.com:P/`,
  // not what it looks like
  'http://example.com:0/',
  'http://example.com:65536/',
  'http://user@127.0.0.1:P/',
  'http://user:pass@example.com:P/',
  'http://@example.com:P/',
  'http://example.com@127.0.0.1:P/',
  'http://example.com\\@127.0.0.1:P/',
  'http:\\\\127.0.0.1:P/',
  'http:/127.0.0.1:P/',
  'http:127.0.0.1:P/',
  'http:///127.0.0.1:P/',
  '//127.0.0.1:P/',
  '/hook',
  '',
  'http://',
  'http://?x',
  ' http://example.com/',
  'http://exam\tple.com/',
  'http://example.com/\r\nx-evil: 1',
  'http://example.com/\0',
  'http://example.com/a b',
  'http://example.com/\u202e',
  'ht\ntp://example.com/',
  'file:///etc/passwd',
  'ftp://example.com/',
  'gopher://example.com:25/_MAIL',
  'javascript:alert(1)',
  'data:text/plain,x',
  'unix:/run/docker.sock',
  'ws://example.com/',
  `http://example.com/${'x'.repeat(2048)}`,
];

let trap: Receiver;
beforeAll(async () => {
  trap = await startReceiver((response) => response.end());
});
afterAll(() => trap.close());

test.each(hostile)('blocked when saved and when called: %j', async (pattern) => {
  const url = pattern.replace(/:P\//, `:${trap.port}/`);
  const asked: string[] = [];
  const egress = makeEgress({
    ...strict,
    lookup: (host, callback) => {
      asked.push(host);
      callback(null, [{ address: '127.0.0.1', family: 4 }]);
    },
  });
  expect(checkUrl(url, strict)).toMatchObject({ ok: false });
  expect(egress.refusal(url)).toBeTypeOf('string');
  await expect(egress.request(url, post)).rejects.toMatchObject({ name: 'EgressError', kind: 'blocked', bodySent: false });
  expect(asked).toEqual([]);
  expect(trap.connections()).toBe(0);
});

const answers: [string, string[]][] = [
  ['loopback', ['127.0.0.1']],
  ['IPv6 loopback', ['::1']],
  ['mapped loopback', ['::ffff:127.0.0.1']],
  ['private', ['10.0.0.1']],
  ['metadata', ['169.254.169.254']],
  ['a link-local address with a zone', ['fe80::1%lo']],
  ['one bad among good ones', ['93.184.215.14', '2606:4700:4700::1111', '127.0.0.1']],
  ['one bad in front', ['127.0.0.1', '93.184.215.14']],
  ['nonsense', ['zzz']],
];
test.each(answers)('a name that leads to %s is blocked, and no packet leaves', async (_, addresses) => {
  const lookup: EgressOptions['lookup'] = (_host, callback) => callback(null, addresses.map(toAnswer));
  const sending = makeEgress({ ...strict, lookup }).request(`http://hook.example.com:${trap.port}/`, post);
  await expect(sending).rejects.toMatchObject({ kind: 'blocked', bodySent: false });
  expect(trap.connections()).toBe(0);
});
const toAnswer = (address: string): LookupAddress => ({ address, family: address.includes(':') ? 6 : 4 });
