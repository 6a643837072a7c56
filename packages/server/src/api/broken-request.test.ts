import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gzipSync } from 'node:zlib';
import { z } from 'zod';
import { exchange, openConnection, type RawAnswer } from '../../test/harness/raw-http.ts';
import { buildApp, type App } from './app.ts';
import { makeAuth } from './auth.ts';

let app: App;
let url: string;
const handled: unknown[] = [];

beforeAll(async () => {
  const auth = makeAuth({
    hashKey: (key) => Buffer.from(key),
    findKey: async () => undefined,
    verifyUserToken: async () => undefined,
    isAccountAdmin: async () => false,
    touchKeys: async () => undefined,
    now: () => new Date(0),
    monotonicMs: () => 0,
    log: () => undefined,
  });
  app = buildApp({ auth, log: () => undefined, observe: () => undefined, logsSuccess: false, arrivalTimeoutMs: 300 }, (to) => {
    const config = { auth: { kind: 'none' } } as const;
    to.get('/fine', { config }, async () => ({ fine: true }));
    to.post('/take', { config, schema: { body: z.unknown() } }, async ({ body }) => {
      handled.push(body);
      return { taken: true };
    });
  });
  url = await app.listen({ port: 0, host: '127.0.0.1' });
});
afterAll(() => app.close());

/** A problem with all its members, and the end of the connection. */
function expectProblem({ headers, body, status }: RawAnswer, code: string): void {
  expect(headers['content-type']).toMatch(/^application\/problem\+json/);
  expect(headers.connection).toBe('close');
  const members = { type: `/errors/${code}`, title: expect.any(String), detail: expect.any(String), instance: expect.any(String) };
  expect(JSON.parse(body)).toMatchObject({ ...members, status, code, hint: expect.any(String), retryable: expect.any(Boolean) });
}

const POST = ['POST /take HTTP/1.1', 'host: x', 'content-type: application/json'];
const broken: [name: string, bytes: string, status: number, code: string][] = [
  ['no HTTP at all', 'nonsense\r\n\r\n', 400, 'bad_request'],
  ['a TLS greeting', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400, 'bad_request'],
  ['an unheard-of method', 'FROB /fine HTTP/1.1\r\nhost: x\r\n\r\n', 400, 'bad_request'],
  ['an unheard-of version', 'GET /fine HTTP/7.3\r\nhost: x\r\n\r\n', 400, 'bad_request'],
  ['a header without a name', 'GET /fine HTTP/1.1\r\nhost: x\r\n: y\r\n\r\n', 400, 'bad_request'],
  ['a space before the colon', 'GET /fine HTTP/1.1\r\nhost : x\r\n\r\n', 400, 'bad_request'],
  ['a folded header', 'GET /fine HTTP/1.1\r\nhost: x\r\n folded: y\r\nx\r\n\r\n', 400, 'bad_request'],
  ['NUL in a header', 'GET /fine HTTP/1.1\r\nhost: x\r\nx-y: a\0b\r\n\r\n', 400, 'bad_request'],
  ['a bare CR', 'GET /fine HTTP/1.1\r\nhost: x\r\nx-y: a\rb: c\r\n\r\n', 400, 'bad_request'],
  ['two lengths', `${POST.join('\r\n')}\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}`, 400, 'bad_request'],
  ['a length that is none', `${POST.join('\r\n')}\r\ncontent-length: +2\r\n\r\n{}`, 400, 'bad_request'],
  [
    'a length and chunks',
    `${POST.join('\r\n')}\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`,
    400,
    'bad_request',
  ],
  ['chunks that are not last', `${POST.join('\r\n')}\r\ntransfer-encoding: chunked, gzip\r\n\r\n`, 400, 'bad_request'],
  ['a chunk of no size', `${POST.join('\r\n')}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n`, 400, 'bad_request'],
  ['a chunk longer than it says', `${POST.join('\r\n')}\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n`, 400, 'bad_request'],
  ['a tunnel', 'CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\n\r\n', 400, 'bad_request'],
  ['an expectation', `${POST.join('\r\n')}\r\nexpect: a-miracle\r\ncontent-length: 2\r\n\r\n`, 417, 'expectation_failed'],
  ['headers of 20 KB', `GET /fine HTTP/1.1\r\nhost: x\r\nx-long: ${'x'.repeat(20_000)}\r\n\r\n`, 431, 'header_too_large'],
  ['headers that never end', `GET /fine HTTP/1.1\r\nhost: x\r\n${'x-y: z\r\n'.repeat(100_000)}`, 431, 'header_too_large'],
];
test.each(broken)('%s', async (_name, bytes, status, code) => {
  const { write, answers } = openConnection(url);
  write(Buffer.from(bytes, 'latin1'));
  const [first, ...more] = await answers();
  expect(first!.status).toBe(status);
  expectProblem(first!, code);
  expect(more).toEqual([]);
});

test.each([
  ['no Host', ['GET /fine HTTP/1.1'], 400, 'bad_request'],
  ['101 header fields', ['GET /fine HTTP/1.1', 'host: x', ...Array.from({ length: 99 }, (_, n) => `x-${n}: y`)], 431, 'header_too_large'],
  ['an address of 9 KB', [`GET /fine?x=${'x'.repeat(9_000)} HTTP/1.1`, 'host: x'], 414, 'uri_too_long'],
])('%s', async (_name, head, status, code) => {
  const answer = await exchange(url, head);
  expect(answer.status).toBe(status);
  expectProblem(answer, code);
});

test('100 header fields and an address of 8 KiB are fine', async () => {
  const head = ['host: x', ...Array.from({ length: 98 }, (_, n) => `x-${n}: y`)];
  expect((await exchange(url, ['GET /fine HTTP/1.1', ...head])).status).toBe(200);
  expect((await exchange(url, [`GET /fine?x=${'x'.repeat(8 * 1024 - 8)} HTTP/1.1`, 'host: x'])).status).toBe(200);
});

test('HTTP/1.0 needs no Host', async () => {
  expect((await exchange(url, ['GET /fine HTTP/1.0'])).status).toBe(200);
});

describe('slow senders get 408 and the end of the connection, and nothing of theirs is done', () => {
  test.each([
    ['headers, a byte at a time', 'GET /fine HTTP/1.1\r\nhost: x\r\nx-y: '],
    ['a body, a byte at a time', `${POST.join('\r\n')}\r\ncontent-length: 100000\r\n\r\n"`],
    ['chunks, a byte at a time', `${POST.join('\r\n')}\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n"`],
  ])('%s', async (_name, beginning) => {
    const before = handled.length;
    const { write, socket, answers } = openConnection(url);
    write(beginning);
    const dripping = setInterval(() => socket.writable && write('x'), 20);
    const [answer, ...more] = await answers().finally(() => {
      clearInterval(dripping);
    });
    expect(answer!.status).toBe(408);
    expectProblem(answer!, 'request_timeout');
    expect(more).toEqual([]);
    expect(handled).toHaveLength(before);
  });
});

test('what is broken behind a good request does not take its answer', async () => {
  const { write, answers } = openConnection(url);
  write(`${POST.join('\r\n')}\r\ncontent-length: 2\r\n\r\n{}\0\0\0\0\r\n\r\n`);
  const [first] = await answers();
  expect(first).toMatchObject({ status: 200, body: '{"taken":true}' });
});

test('a compressed body is what it inflates to, and counts as that', async () => {
  const send = (bytes: Buffer, encoding = 'gzip') =>
    exchange(url, [...POST, `content-encoding: ${encoding}`, `content-length: ${bytes.length}`], bytes);
  expect((await send(gzipSync('{"inflated":true}'))).status).toBe(200);
  expect(handled.at(-1)).toEqual({ inflated: true });
  const bomb = await send(gzipSync(Buffer.alloc(2 * 1024 * 1024, ' ')));
  expect(bomb.status).toBe(413);
  expectProblem(bomb, 'body_too_large');
  const cut = await send(gzipSync('{"inflated":true}').subarray(0, -4));
  expect(cut.status).toBe(400);
  expectProblem(cut, 'malformed_json');
  const unknown = await send(Buffer.from('{}'), 'zstd');
  expect(unknown).toMatchObject({ status: 415, headers: { 'accept-encoding': 'gzip, deflate, br' } });
});
