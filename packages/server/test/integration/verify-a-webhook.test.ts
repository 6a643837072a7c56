/** The snippets of docs/guides/verify-a-webhook.md accept what the program really sent, and refuse what was changed on the way. */
import { spawn, spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const GUIDE = readFileSync(resolve(import.meta.dirname, '../../../../docs/guides/verify-a-webhook.md'), 'utf8');
const blocks = [...GUIDE.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language = '', code = '']) => ({ language, code }));

interface Tool {
  /** What has to be installed, and a call that tells. */
  readonly needs: readonly [command: string, ...args: string[]];
  readonly file: string;
  /** Once, before it is run. */
  readonly build?: (path: string) => readonly [command: string, ...args: string[]];
  readonly run: (path: string) => readonly [command: string, ...args: string[]];
}
const TOOLS: Readonly<Record<string, Tool>> = {
  js: { needs: [process.execPath, '--version'], file: 'verify.mjs', run: (path) => [process.execPath, path] },
  python: { needs: ['python3', '--version'], file: 'verify.py', run: (path) => ['python3', path] },
  go: {
    needs: ['go', 'version'],
    file: 'main.go',
    build: (path) => ['go', 'build', '-o', `${path}.bin`, path],
    run: (path) => [`${path}.bin`],
  },
  sh: { needs: ['openssl', 'version'], file: 'verify.sh', run: (path) => ['sh', path] },
};
const there = (tool: Tool) => spawnSync(tool.needs[0], tool.needs.slice(1)).status === 0;
/** Where everything is said to exist nothing is passed over. */
const MUST = process.env.CI === 'true';

let server: TestServer;
let receiver: Receiver;
let directory: string;
let env: Record<string, string>;
let body: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'carillon-verify-'));
  receiver = await startReceiver((response) => response.end());
  server = await startServer({ 'webhook.signatures': ['v1', 'v1a'], 'webhook.secret_header': 'X-Trevor-Signature' });
  await server.api('PUT', '/v1/users/ada', { webhook_url: `http://127.0.0.1:${receiver.port}/` });
  await server.api('POST', '/v1/users/ada/rotate-secret');
  const { body: keys } = await server.api('GET', '/v1/users/ada/webhook-secret');
  await server.api('POST', '/v1/events', { type: 'disk.full', to: ['ada'], channels: ['webhook'], data: { täg: '€ \u2028 "😀"' } });
  await vi.waitUntil(() => receiver.requests.length === 1, { timeout: 20_000, interval: 20 });
  const [request] = receiver.requests;
  const header = (name: string) => String(request!.headers[`webhook-${name}`]);
  body = request!.body;
  env = {
    WEBHOOK_ID: header('id'),
    WEBHOOK_TIMESTAMP: header('timestamp'),
    WEBHOOK_SIGNATURE: header('signature'),
    WEBHOOK_SECRET: keys.secret,
    WEBHOOK_PUBLIC_KEY: keys.public_key,
  };
});
afterAll(async () => {
  await server.stop();
  await receiver.close();
  rmSync(directory, { recursive: true, force: true });
});

async function run([command, ...args]: readonly [string, ...string[]], given: Record<string, string>, input: string) {
  const { PATH, HOME, GOCACHE = HOME === undefined ? join(directory, 'go') : '' } = process.env;
  const home = { PATH, HOME, GO111MODULE: 'off', ...(GOCACHE === '' ? {} : { GOCACHE }) };
  const child = spawn(command, args, { env: { ...home, ...given } });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stdin.on('error', () => undefined); // it may have ended without reading
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number];
  return { code, output };
}

test('the guide has a snippet in each language, and each is run here', () => {
  const languages = blocks.map(({ language }) => language).filter((language) => language !== 'yaml');
  expect(languages).toEqual(['js', 'js', 'python', 'go', 'sh']);
});

describe.each(blocks.filter(({ language }) => language in TOOLS).map((block, at) => ({ ...block, at })))(
  '$language, snippet $at',
  ({ language, code, at }) => {
    const tool = TOOLS[language]!;
    const missing = !there(tool);
    if (missing)
      process.stderr.write(
        `verify-a-webhook: ${tool.needs[0]} is not installed: the snippet in ${language} is ${MUST ? 'failed' : 'SKIPPED'}\n`,
      );

    test.skipIf(missing && !MUST)('accepts what was sent, and nothing else', { timeout: 240_000 }, async () => {
      const path = join(directory, `${at}-${tool.file}`);
      writeFileSync(path, code);
      const built = tool.build ? await run(tool.build(path), {}, '') : { code: 0, output: '' };
      expect(built.code, built.output).toBe(0);
      const command = tool.run(path);
      const sent = await run(command, env, body);
      expect(sent, sent.output).toMatchObject({ code: 0, output: expect.stringMatching(/^verified/) });
      const later = String(Number(env.WEBHOOK_TIMESTAMP) + 1);
      const foreign = { WEBHOOK_SECRET: `whsec_${'A'.repeat(43)}=`, WEBHOOK_PUBLIC_KEY: `whpk_${Buffer.alloc(32, 7).toString('base64')}` };
      const changed: [what: string, given: Record<string, string>, input: string, why?: RegExp][] = [
        ['another body', env, body.replace('disk', 'disc')],
        ['a longer body', env, `${body} `],
        ['another id', { ...env, WEBHOOK_ID: 'dlv_other' }, body],
        ['another time', { ...env, WEBHOOK_TIMESTAMP: later }, body],
        ['an old time', { ...env, WEBHOOK_TIMESTAMP: '1700000000' }, body, /too old/],
        ['no signature', { ...env, WEBHOOK_SIGNATURE: '' }, body],
        ['the secret of somebody else', { ...env, ...foreign }, body],
      ];
      for (const [what, given, input, why = /no signature holds|[Ii]nvalid|error/] of changed) {
        const { code: ended, output } = await run(command, given, input);
        expect(ended, `${what}: ${output}`).not.toBe(0);
        expect(output, what).toMatch(why);
      }
    });
  },
);

test('the header of the operator’s own is what the guide says: hex, over the raw body, two while a secret rotates', () => {
  const own = Buffer.from(env.WEBHOOK_SECRET!.replace('whsec_', ''), 'base64');
  const values = String(receiver.requests[0]!.headers['x-trevor-signature']).split(', ');
  expect(values).toHaveLength(2);
  expect(values[0]).toBe(createHmac('sha256', own).update(body).digest('hex'));
});
