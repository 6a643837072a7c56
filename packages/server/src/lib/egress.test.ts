import type { LookupAddress } from 'node:dns';
import { createServer, type Socket } from 'node:net';
import { brotliCompressSync, constants, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { makeCertificate } from '../../test/harness/certificate.ts';
import { type Answer, type Receiver, startReceiver } from '../../test/harness/receiver.ts';
import { type Egress, EgressError, type EgressOptions, type EgressRequest, makeEgress } from './egress.ts';

const post: EgressRequest = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1}' };
const limits = { totalTimeoutMs: 5_000, connectTimeoutMs: 2_000, maxResponseBytes: 64 * 1024 };
const strict: EgressOptions = { ...limits, allowLoopback: false, allowRanges: [] };
const local: EgressOptions = { ...limits, allowLoopback: true, allowRanges: [] };

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
function use(options: EgressOptions): Egress {
  const egress = makeEgress(options);
  cleanups.push(egress.close);
  return egress;
}
async function receive(answer: Answer): Promise<Receiver> {
  const receiver = await startReceiver(answer);
  cleanups.push(receiver.close);
  return receiver;
}
/** A TCP server that does what `onSocket` says; its address. */
async function serveTcp(onSocket: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}
const failure = (sending: Promise<unknown>): Promise<EgressError> =>
  sending.then(
    () => Promise.reject(new Error('it was sent')),
    (error: unknown) => error as EgressError,
  );

let trap: Receiver;
beforeAll(async () => {
  trap = await startReceiver((response) => response.end());
});
afterAll(() => trap.close());

const toAnswer = (address: string): LookupAddress => ({ address, family: address.includes(':') ? 6 : 4 });

test('the address that was checked is the one connected to: DNS is asked once per connection', async () => {
  const receiver = await receive((response) => response.end('ok'));
  const asked: string[] = [];
  // The second answer would be another one: the trick of DNS rebinding.
  const lookup: EgressOptions['lookup'] = (host, callback) => {
    asked.push(host);
    callback(null, [toAnswer(asked.length === 1 ? '127.0.0.1' : '127.0.0.2')]);
  };
  const egress = use({ ...strict, allowRanges: ['127.0.0.1/32'], lookup });
  const url = `http://hook.example.com:${receiver.port}/`;
  expect(await egress.request(url, post)).toMatchObject({ status: 200 });
  expect(receiver.requests[0]?.headers.host).toBe(`hook.example.com:${receiver.port}`);
  expect(asked).toEqual(['hook.example.com']);
});

test('a name that changes to a bad address is blocked at the next connection', async () => {
  const receiver = await receive((response) => response.setHeader('connection', 'close').end());
  let address = '127.0.0.1';
  const lookup: EgressOptions['lookup'] = (_, callback) => callback(null, [toAnswer(address)]);
  const egress = use({ ...strict, allowRanges: ['127.0.0.1/32'], lookup });
  const url = `http://hook.example.com:${receiver.port}/`;
  await egress.request(url, post);
  address = '127.0.0.2';
  expect(await failure(egress.request(url, post))).toMatchObject({ kind: 'blocked' });
  expect(receiver.requests).toHaveLength(1);
});

test('method, path, headers and body arrive; status, headers and body come back', async () => {
  const receiver = await receive((response) => response.writeHead(418, { 'X-Tea': 'pot' }).end('short\0and stout'));
  const answer = await use(local).request(`http://localhost:${receiver.port}/a%20b?c=d#e`, { ...post, headers: { 'x-mine': '1' } });
  expect(answer).toMatchObject({ status: 418, headers: { 'x-tea': 'pot' }, body: 'short\ufffdand stout' });
  expect(receiver.requests).toMatchObject([{ method: 'POST', path: '/a%20b?c=d', body: '{"a":1}', headers: { 'x-mine': '1' } }]);
});

test('redirects are answers: nobody follows them', async () => {
  const receiver = await receive((response) => response.writeHead(307, { location: `http://127.0.0.1:${trap.port}/` }).end());
  expect(await use(local).request(`http://127.0.0.1:${receiver.port}/`, post)).toMatchObject({ status: 307 });
  expect(trap.connections()).toBe(0);
  expect(receiver.requests).toHaveLength(1);
});

test('a connection is used again, and pools beyond the limit are closed', async () => {
  const [one, two] = [await receive((response) => response.end()), await receive((response) => response.end())];
  const egress = use({ ...local, maxOrigins: 1 });
  for (let n = 0; n < 10; n += 1) await egress.request(`http://127.0.0.1:${one.port}/${n}`, post);
  expect(one.connections()).toBeLessThanOrEqual(2); // the next request may come before the last one's connection is free again
  expect(one.openSockets()).toBeGreaterThan(0);
  await egress.request(`http://127.0.0.1:${two.port}/`, post);
  await expect.poll(one.openSockets).toBe(0);
  await egress.request(`http://127.0.0.1:${one.port}/again`, post);
  expect(one.requests).toHaveLength(11);
});

test('an endless answer is cut: 4 KiB are kept and the connection goes', async () => {
  const receiver = await receive((response) => {
    response.writeHead(200);
    const pour = () => {
      while (!response.destroyed && response.write('é'.repeat(32_768)));
      if (!response.destroyed) response.once('drain', pour);
    };
    pour();
  });
  const answer = await use(local).request(`http://127.0.0.1:${receiver.port}/`, post);
  expect(answer).toMatchObject({ status: 200, body: 'é'.repeat(2048) });
  await expect.poll(receiver.openSockets).toBe(0);
});

test('the cut does not leave half a character', async () => {
  const receiver = await receive((response) => response.end(`a${'é'.repeat(4096)}`));
  const answer = await use(local).request(`http://127.0.0.1:${receiver.port}/`, post);
  expect(answer.body).toBe(`a${'é'.repeat(2047)}`);
});

const text = `says ${'é'.repeat(10_000)}`;
const codings: [string, (bytes: Buffer) => Buffer][] = [
  ['gzip', gzipSync],
  ['x-gzip', gzipSync],
  ['deflate', deflateSync],
  ['deflate', deflateRawSync],
  ['br', (bytes) => brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } })],
];
test.each(codings)('an answer in %s is kept inflated', async (coding, compress) => {
  const receiver = await receive((response) => response.setHeader('content-encoding', coding).end(compress(Buffer.from(text))));
  const { body } = await use(local).request(`http://127.0.0.1:${receiver.port}/`, post);
  expect(body).toBe(Buffer.from(text).subarray(0, 4095).toString());
});

test.each(codings)('a bomb in %s is inflated as far as it is kept, and no further', async (coding, compress) => {
  const bomb = compress(Buffer.alloc(64 * 1024 * 1024, 'a'));
  expect(bomb.length).toBeLessThan(80_000);
  const receiver = await receive((response) => response.setHeader('content-encoding', coding).end(bomb));
  const egress = use(local);
  await egress.request(`http://127.0.0.1:${receiver.port}/`, post);
  const before = process.memoryUsage().rss;
  const answers = await Promise.all(Array.from({ length: 32 }, () => egress.request(`http://127.0.0.1:${receiver.port}/`, post)));
  for (const { body } of answers) expect(body).toBe('a'.repeat(4096));
  expect(process.memoryUsage().rss - before).toBeLessThan(512 * 1024 * 1024); // 2 GiB would come out of them
});

test('a bomb within a bomb, an unknown coding and a broken one are answers all the same', async () => {
  const wrapped = gzipSync(gzipSync(Buffer.alloc(16 * 1024 * 1024)));
  const answers: [string, Buffer, string][] = [
    ['gzip, gzip', wrapped, '(not read: its content-encoding is "gzip, gzip")'],
    ['compress', Buffer.from('x'), '(not read: its content-encoding is "compress")'],
    ['gzip', Buffer.from('not gzip at all'), '(what follows is no gzip)'],
    ['identity', Buffer.from('plain'), 'plain'],
    ['gzip', gzipSync('cut short').subarray(0, 18), 'cut'],
  ];
  for (const [coding, bytes, wanted] of answers) {
    const receiver = await receive((response) => response.setHeader('content-encoding', coding).end(bytes));
    const answer = await use(local).request(`http://127.0.0.1:${receiver.port}/`, post);
    expect(answer.status).toBe(200);
    expect(answer.body.startsWith(wanted), `${coding}: ${answer.body}`).toBe(true);
  }
});

test('headers without end are cut: nothing of them is kept', async () => {
  const address = await serveTcp((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\n');
      const pour = () => {
        while (!socket.destroyed && socket.write(`x-${'a'.repeat(500)}: b\r\n`));
        if (!socket.destroyed) socket.once('drain', pour);
      };
      pour();
    });
  });
  expect(await failure(use(local).request(`http://${address}/`, post))).toMatchObject({ kind: 'unreachable', bodySent: true });
});

test('interim answers without end are no way around the deadline', async () => {
  const address = await serveTcp((socket) => {
    const drip = setInterval(() => socket.write('HTTP/1.1 103 Early Hints\r\n\r\n'), 5);
    socket.once('close', () => clearInterval(drip));
  });
  expect(await failure(use({ ...local, totalTimeoutMs: 100 }).request(`http://${address}/`, post))).toMatchObject({ kind: 'timeout' });
});

test('many destinations: as many pools as are allowed, and no more sockets', async () => {
  const receivers = await Promise.all(Array.from({ length: 12 }, () => receive((response) => response.end())));
  const egress = use({ ...local, maxOrigins: 4 });
  for (const { port } of receivers) await egress.request(`http://127.0.0.1:${port}/`, post);
  await expect.poll(() => receivers.filter((receiver) => receiver.openSockets() > 0).length).toBe(4);
  expect(receivers.slice(-4).every((receiver) => receiver.openSockets() > 0)).toBe(true);
});

test('no answer: timeout, and the request had left', async () => {
  const receiver = await receive(() => undefined);
  const error = await failure(use({ ...local, totalTimeoutMs: 50 }).request(`http://127.0.0.1:${receiver.port}/`, post));
  expect(error).toMatchObject({ kind: 'timeout', bodySent: true });
  await expect.poll(receiver.openSockets).toBe(0);
});

test('the deadline covers the body, however busily it drips', async () => {
  const receiver = await receive((response) => {
    response.writeHead(200);
    const drip = setInterval(() => response.write('.'), 5);
    response.once('close', () => clearInterval(drip));
  });
  const error = await failure(use({ ...local, totalTimeoutMs: 80 }).request(`http://127.0.0.1:${receiver.port}/`, post));
  expect(error).toMatchObject({ kind: 'timeout', bodySent: true });
});

test('a handshake that hangs: timeout, and nothing had left', async () => {
  const address = await serveTcp(() => undefined);
  const byConnect = await failure(use({ ...local, connectTimeoutMs: 50 }).request(`https://${address}/`, post));
  expect(byConnect).toMatchObject({ kind: 'timeout', bodySent: false });
  const byTotal = await failure(use({ ...local, totalTimeoutMs: 50 }).request(`https://${address}/`, post));
  expect(byTotal).toMatchObject({ kind: 'timeout', bodySent: false });
});

test('a request given up while it waited for a connection is never sent', async () => {
  const receiver = await receive((response) => response.end());
  const waiting: (() => void)[] = [];
  const lookup: EgressOptions['lookup'] = (_, callback) => {
    waiting.push(() => {
      callback(null, [toAnswer('127.0.0.1')]);
    });
    if (waiting.length > 2) waiting[2]?.();
  };
  const egress = use({ ...strict, allowRanges: ['127.0.0.0/8'], lookup });
  const url = `http://hook.example.com:${receiver.port}`;
  const stop = new AbortController();
  const sending = failure(egress.request(`${url}/given-up`, { ...post, signal: stop.signal }));
  stop.abort(new Error('stopping'));
  expect(await sending).toMatchObject({ message: 'stopping' });
  const second = egress.request(`${url}/second`, post);
  expect(waiting).toHaveLength(2);
  for (const connect of waiting) connect();
  await second;
  await expect.poll(receiver.connections).toBe(2);
  await egress.request(`${url}/third`, post);
  expect(receiver.requests.map(({ path }) => path)).toEqual(['/second', '/third']);
});

test('refused, reset and not HTTP: unreachable, with what had left', async () => {
  const egress = use(local);
  const closed = await receive(() => undefined);
  await closed.close();
  cleanups.splice(cleanups.indexOf(closed.close), 1);
  expect(await failure(egress.request(`http://127.0.0.1:${closed.port}/`, post))).toMatchObject({ kind: 'unreachable', bodySent: false });
  const reset = await serveTcp((socket) => socket.once('data', () => socket.resetAndDestroy()));
  expect(await failure(egress.request(`http://${reset}/`, post))).toMatchObject({ kind: 'unreachable', bodySent: true });
  const smtp = await serveTcp((socket) => socket.write('220 mail\r\n'));
  expect(await failure(egress.request(`http://${smtp}/`, post))).toMatchObject({ kind: 'unreachable' });
  const unresolved = use({ ...strict, lookup: (_, callback) => callback(new Error('getaddrinfo ENOTFOUND'), []) });
  expect(await failure(unresolved.request('http://hook.example.com/', post))).toMatchObject({ kind: 'unreachable', bodySent: false });
});

test('TLS: the certificate must be for the name that was asked for', async () => {
  const tls = makeCertificate('DNS:hook.example.com');
  const receiver = await startReceiver((response) => response.end('hello'), tls);
  cleanups.push(receiver.close);
  const lookup: EgressOptions['lookup'] = (_, callback) => callback(null, [toAnswer('127.0.0.1')]);
  const options = { ...strict, allowRanges: ['127.0.0.0/8'], lookup };
  const known = use({ ...options, ca: tls.cert });
  expect(await known.request(`https://hook.example.com:${receiver.port}/`, post)).toMatchObject({ status: 200, body: 'hello' });
  const wrongName = await failure(known.request(`https://other.example.com:${receiver.port}/`, post));
  expect(wrongName).toMatchObject({
    kind: 'unreachable',
    bodySent: false,
    message: expect.stringContaining('ERR_TLS_CERT_ALTNAME_INVALID'),
  });
  const unknown = await failure(use(options).request(`https://hook.example.com:${receiver.port}/`, post));
  expect(unknown).toMatchObject({ kind: 'unreachable', bodySent: false });
  expect(receiver.requests).toHaveLength(1);
});

test('an abort rejects with its reason, before and during', async () => {
  const receiver = await receive(() => undefined);
  const egress = use(local);
  const url = `http://127.0.0.1:${receiver.port}/`;
  expect(await failure(egress.request(url, { ...post, signal: AbortSignal.abort(new Error('too late')) }))).toMatchObject({
    message: 'too late',
  });
  expect(receiver.connections()).toBe(0);
  const stop = new AbortController();
  const sending = [1, 2, 3].map(() => failure(egress.request(url, { ...post, signal: stop.signal })));
  await expect.poll(() => receiver.requests.length).toBe(3);
  stop.abort(new Error('shutting down'));
  for (const error of await Promise.all(sending)) expect(error).toMatchObject({ message: 'shutting down' });
  await expect.poll(receiver.openSockets).toBe(0);
});

test('a header that HTTP forbids is a bug of the caller, not an unreachable host', async () => {
  const error = await failure(use(local).request(`http://127.0.0.1:${trap.port}/`, { ...post, headers: { 'x-a': 'b\r\nc: d' } }));
  expect(error).not.toBeInstanceOf(EgressError);
  expect(trap.connections()).toBe(0);
});

test('closing waits for what is in flight; afterwards nothing is taken', async () => {
  let answerNow: () => void = () => undefined;
  const receiver = await receive((response) => {
    answerNow = () => response.end('late');
  });
  const egress = makeEgress(local);
  const url = `http://127.0.0.1:${receiver.port}/`;
  const sending = egress.request(url, post);
  await expect.poll(() => receiver.requests.length).toBe(1);
  const closing = egress.close();
  answerNow();
  expect(await sending).toMatchObject({ status: 200, body: 'late' });
  await closing;
  await expect(egress.request(url, post)).rejects.toThrow(/closed/);
  await expect.poll(receiver.openSockets).toBe(0);
});
