/** Guides whose blocks are calls: each is pasted into a shell, and answers what stands below it. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startServer, type TestServer } from '../harness/server.ts';

const REPOSITORY = resolve(import.meta.dirname, '../../../..');
/** Calls with their answers. */
const ANSWERED = [
  'docs/guides/digests.md',
  'docs/guides/errors.md',
  'docs/guides/idempotency.md',
  'docs/guides/preview.md',
  'docs/guides/system-notifications.md',
  'docs/guides/time.md',
];

/** Calls that succeed: of the others the test of the guide itself takes care. */
const CALLED = ['cloudevents', 'cloudflare-access', 'notifications-alias', 'tenants-and-keys', 'test-keys'].map(
  (name) => `docs/guides/${name}.md`,
);

let server: TestServer;
beforeEach(async () => {
  server = await startServer({ 'catalog.deadline': 5_000 }); // on a busy machine
});
afterEach(() => server.stop());

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Of a text `…` stands for anything; objects may have more than is shown. */
function shown(value: unknown): unknown {
  if (typeof value === 'string' && value.includes('…'))
    return expect.stringMatching(new RegExp(`^${value.split('…').map(escaped).join('.*')}$`, 's'));
  if (Array.isArray(value)) return value.map(shown);
  if (typeof value !== 'object' || value === null) return value;
  return expect.objectContaining(Object.fromEntries(Object.entries(value).map(([name, part]) => [name, shown(part)])));
}

test.each(ANSWERED)('%s: each call answers what the guide shows', async (path) => {
  const calls = [...readFileSync(join(REPOSITORY, path), 'utf8').matchAll(/^```sh\n(.*?)^```\n```json\n(.*?)^```$/gms)];
  const blocks = readFileSync(join(REPOSITORY, path), 'utf8').match(/^```\w+$/gm) ?? [];
  expect(calls.length * 2, 'each block is one of a call and its answer').toBe(blocks.length);
  expect(calls.length).toBeGreaterThan(0);
  for (const [, call = '', answer = ''] of calls) {
    const env = { PATH: process.env.PATH, CARILLON: server.url, KEY: server.key };
    const { stdout } = await promisify(execFile)('sh', ['-c', call], { env });
    expect(JSON.parse(stdout), call).toEqual(shown(JSON.parse(answer)));
  }
});

test.each(CALLED)('%s: each call succeeds', async (path) => {
  const blocks = [...readFileSync(join(REPOSITORY, path), 'utf8').matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = '']) => block);
  const calls = blocks.flatMap((block) => block.trim().split('\n'));
  expect(calls.length).toBeGreaterThan(0);
  for (const call of calls) {
    const looking = call.replace('curl -s', "curl -s -o /dev/null -w '%{http_code}'").replace('localhost:7070', new URL(server.url).host);
    const { stdout } = await promisify(execFile)('sh', ['-c', looking], { env: { PATH: process.env.PATH, KEY: server.key } });
    expect(stdout, call).toMatch(/^2\d\d$/);
  }
});
