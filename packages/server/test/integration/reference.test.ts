/** The reference: every operation has an example, each is a call that works, and the page needs nobody but this server. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EXAMPLES } from '../../src/api/examples/all.ts';
import { somethingOfEachKind } from '../harness/examples.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

interface Operation {
  readonly summary?: string;
  readonly description?: string;
  readonly responses: Record<string, unknown>;
}

let server: TestServer;
let gone: Receiver;
let operations: Map<string, Operation>;
beforeAll(async () => {
  gone = await startReceiver((response) => response.writeHead(410).end());
  server = await startServer();
  const { body } = await server.api('GET', '/openapi.json');
  const paths = body.paths as Record<string, Record<string, Operation>>;
  operations = new Map(
    Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => [`${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`, operation]),
    ),
  );
});
afterAll(async () => {
  await server.stop();
  await gone.close();
});

test('each operation has an example and a summary, and there is no example without an operation', () => {
  const inProduction = [...operations.keys()].filter((name) => !name.includes(' /dev/'));
  expect(Object.keys(EXAMPLES).sort()).toEqual(inProduction.sort());
  expect(inProduction.filter((name) => !operations.get(name)?.summary)).toEqual([]);
});

const run = promisify(execFile);
const LONGEST_S = 20;
/** A stream has no end: it is looked at for so long. */
const STREAM_S = 1;

describe('the example of', () => {
  test.each(Object.keys(EXAMPLES))('%s works when pasted', async (name) => {
    const operation = operations.get(name)!;
    const { real, token } = await somethingOfEachKind(server, `http://127.0.0.1:${gone.port}`);
    const [, shown = ''] = /```sh\n(.*?)\n```/s.exec(operation.description ?? '') ?? [];
    expect(shown).toMatch(/^curl -s /);
    const call = Object.entries(real).reduce((text, [id, own]) => text.replaceAll(id, own), shown);
    const looking = `-o /dev/null -w '%{http_code}' --max-time ${name.endsWith('/stream') ? STREAM_S : LONGEST_S}`;
    const env = { PATH: process.env.PATH, CARILLON: server.url, KEY: server.key, TOKEN: token };
    const { stdout } = await run('sh', ['-c', `${call.replace('curl -s', `curl -s ${looking}`)} || true`], { env });
    const documented = Object.keys(operation.responses).filter((status) => status.startsWith('2'));
    expect(documented, call).toContain(stdout);
  });
});

describe('the page', () => {
  test('is served with what it needs, by this server alone', async () => {
    const page = await server.api('GET', '/docs');
    expect(page.status).toBe(200);
    const named = [...String(page.body).matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path = '']) => path);
    expect(named.length).toBeGreaterThanOrEqual(4);
    expect(named.filter((path) => !path.startsWith('/docs/'))).toEqual([]);
    for (const path of named) {
      const { status, headers } = await server.api('GET', path);
      expect(status, path).toBe(200);
      expect(headers.get('content-security-policy')).toContain("default-src 'none'");
      expect((await server.api('GET', path, undefined, { 'if-none-match': headers.get('etag')! })).status).toBe(304);
    }
  });
});
