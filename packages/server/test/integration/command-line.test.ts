/** The commands about event types, as real processes against a running server. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startServer, type TestServer } from '../harness/server.ts';

const CARILLON = join(import.meta.dirname, '../../bin/carillon.mjs');

let server: TestServer;
let home: string;
/** A tenant of each test's own. */
let key: string;
let names = 0;
const homes: string[] = [];

beforeAll(async () => {
  server = await startServer({ 'catalog.deadline': 3_000 });
});
afterAll(async () => {
  await server.stop();
  for (const one of homes) rmSync(one, { recursive: true, force: true });
});
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'carillon-cli-'));
  homes.push(home);
  key = (await server.api('POST', '/v1/tenants', { id: `cli-${++names}` })).body.api_key.key;
});

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** Standard output, a document a line. */
  readonly lines: any[]; // eslint-disable-line @typescript-eslint/no-explicit-any -- whatever it printed
}

async function carillon(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  const child = spawn(process.execPath, [CARILLON, ...args], {
    cwd: home,
    env: { PATH: process.env.PATH, CARILLON_API_URL: server.url, CARILLON_API_KEY: key, ...env },
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number];
  const lines = out.split('\n').filter((line) => line.startsWith('{'));
  return { code, out, err, lines: lines.map((line) => JSON.parse(line)) };
}

function write(files: Readonly<Record<string, string>>, folder = 'catalog'): void {
  for (const [name, text] of Object.entries(files)) {
    const path = join(home, folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

const FILES = {
  'order.shipped/event.yaml': 'title: Order shipped\nrecipients: [{ path: $.user_id }]\n',
  'order.shipped/subject.liquid': 'Order {{ data.order_id }} is on its way',
  'order.shipped/email.html.liquid': '<p>{% partial "greeting" %}</p>',
  'order.shipped/samples/one.json': '{"order_id":"o1","user_id":"ada"}',
  'order.shipped/samples/two.json': '{"order_id":"o2","user_id":"bob"}',
  'order.shipped/locales/default.json': '{"hello":"Hello"}',
  'order.late/event.yaml': 'title: Order late\n',
  '_partials/greeting.liquid': '{{ "hello" | t }}',
  '_layouts/default.html.liquid': '<body>{% content %}</body>',
};
const byKey = (method: string, path: string, body?: unknown) => server.api(method, path, body, { authorization: `Bearer ${key}` });

describe('push, diff and pull', () => {
  test('what is pushed is current; what is pulled elsewhere is valid, and differs in nothing', async () => {
    write(FILES);
    const pushed = await carillon(['push']);
    expect([pushed.code, pushed.err]).toEqual([0, '']);
    expect(pushed.lines).toMatchObject([
      { type: 'order.late', change: 'added', warnings: [] },
      { type: 'order.shipped', change: 'added', version: expect.stringMatching(/^[0-9a-f-]{36}$/) },
      { types: 2, unchanged: 0 },
    ]);
    const { body } = await byKey('GET', '/v1/event-types/order.shipped');
    expect(body.version).toBe(pushed.lines[1].version);

    const pulled = await carillon(['pull', 'elsewhere']);
    expect(pulled.lines.at(-1)).toEqual({ types: 2, files: Object.keys(FILES).length });
    for (const [name, text] of Object.entries(FILES)) expect(readFileSync(join(home, 'elsewhere', name), 'utf8')).toBe(text);
    expect((await carillon(['validate', 'elsewhere'])).lines).toEqual([{ types: 2, mistakes: 0 }]);
    expect(await carillon(['diff', 'elsewhere'])).toMatchObject({ code: 0, out: '' });
    expect((await carillon(['push', 'elsewhere'])).lines).toEqual([{ types: 2, unchanged: 2 }]);
  }, 60_000);

  test('differences are told by type and file, and only they are pushed', async () => {
    write(FILES);
    await carillon(['push']);
    await byKey('PUT', '/v1/event-types/only.there', { files: { 'event.yaml': '' } });
    write({ 'order.shipped/subject.liquid': 'Changed', 'order.shipped/in_app.liquid': 'New', 'only.here/event.yaml': '' });
    rmSync(join(home, 'catalog/order.shipped/samples/two.json'));
    const changes = [
      { type: 'only.here', change: 'added', files: [{ file: 'event.yaml', change: 'added' }] },
      { type: 'only.there', change: 'removed', files: [{ file: 'event.yaml', change: 'removed' }] },
      {
        type: 'order.shipped',
        change: 'changed',
        files: [
          { file: 'in_app.liquid', change: 'added' },
          { file: 'samples/two.json', change: 'removed' },
          { file: 'subject.liquid', change: 'changed' },
        ],
      },
    ];
    const differing = await carillon(['diff']);
    expect([differing.code, differing.lines]).toEqual([1, changes]);
    const pushed = await carillon(['push']);
    expect(pushed.lines).toMatchObject([changes[0], changes[2], { types: 3, unchanged: 1 }]);
    expect((await carillon(['diff'])).lines).toEqual([changes[1]]);
    const pruned = await carillon(['push', '--prune']);
    expect([pruned.code, pruned.lines[0]]).toMatchObject([0, { type: 'only.there', change: 'removed' }]);
    expect((await carillon(['diff'])).code).toBe(0);
  }, 60_000);

  test('a pull takes away files that the server does not have, and leaves other types alone', async () => {
    write(FILES);
    await carillon(['push']);
    write({ 'order.late/subject.liquid': 'not pushed', 'mine/event.yaml': '' });
    const { lines } = await carillon(['pull']);
    expect(lines).toEqual([
      { file: 'order.late/subject.liquid', change: 'removed' },
      { types: 2, files: 1 },
    ]);
    expect(existsSync(join(home, 'catalog/mine/event.yaml'))).toBe(true);
  }, 60_000);

  test('what one folder can not hold is not written at all', async () => {
    const put = (type: string, files: Record<string, string>) =>
      byKey('PUT', `/v1/event-types/${encodeURIComponent(type)}`, { files: { 'event.yaml': '', ...files } });
    await put('a', { 'subject.liquid': '{% partial "x" %}', '_partials/x.liquid': 'one' });
    await put('b', { 'subject.liquid': '{% partial "x" %}', '_partials/x.liquid': 'two' });
    await put('c/d', {});
    const { code, err } = await carillon(['pull']);
    expect(code).toBe(1);
    expect(err).toContain('_partials/x.liquid: is another one in b');
    expect(err).toContain('c/d: is no name of a folder');
    expect(readdirSync(home)).toEqual([]);
  }, 60_000);

  test('a folder with a problem pushes nothing, and says all of it', async () => {
    write({ ...FILES, 'order.late/event.yaml': 'seveity: high\n' });
    const { code, err } = await carillon(['push']);
    expect(code).toBe(1);
    expect(err).toContain('order.late/event.yaml:1: seveity is not known; the nearest known name is severity');
    expect((await byKey('GET', '/v1/event-types')).body.data).toEqual([]);
    const validated = await carillon(['validate']);
    expect([validated.code, validated.lines]).toMatchObject([1, [{ level: 'problem', file: 'order.late/event.yaml', line: 1 }]]);
  }, 60_000);
});

test('preview says what each sample would tell whom', async () => {
  write(FILES);
  await carillon(['push']);
  const all = await carillon(['preview', 'order.shipped']);
  expect(all.code).toBe(0);
  expect(all.lines).toMatchObject([
    { sample: 'one', recipients: [{ user_id: 'ada', subject: 'Order o1 is on its way' }] },
    { sample: 'two', recipients: [{ user_id: 'bob', subject: 'Order o2 is on its way' }] },
  ]);
  rmSync(join(home, 'catalog'), { recursive: true });
  const one = await carillon(['preview', 'order.shipped', '--sample', 'two', '--to', 'eve']);
  expect(one.lines).toMatchObject([{ sample: 'two', recipients: [{ user_id: 'eve', subject: 'Order o2 is on its way' }] }]);
  expect(await carillon(['preview', 'order.shipped', '--sample', 'three'])).toMatchObject({
    code: 1,
    err: expect.stringContaining('There are one, two.'),
  });
}, 60_000);

describe('exit codes', () => {
  interface Case {
    readonly of: string;
    readonly args: readonly string[];
    readonly env?: Record<string, string>;
    readonly code: number;
    readonly says: string;
  }
  test.each<Case>([
    { of: 'no key', args: ['diff'], env: { CARILLON_API_KEY: '' }, code: 2, says: 'CARILLON_API_KEY' },
    { of: 'an unknown option', args: ['diff', '--colour'], code: 2, says: 'unknown option' },
    { of: 'a setting that does not exist', args: ['diff'], env: { CARILLON_API_ULR: 'x' }, code: 2, says: 'CARILLON_API_URL' },
    { of: 'nobody there', args: ['diff', '--url', 'http://127.0.0.1:9'], code: 3, says: "can't be reached" },
    { of: 'a key that is not one', args: ['diff', '--key', 'cn_live_wrong'], code: 3, says: 'unauthorized' },
    { of: 'no such type', args: ['preview', 'nobody.knows'], code: 1, says: 'not_found' },
  ])('$of', async ({ args, env = {}, code, says }) => {
    write({ 'a/event.yaml': '' });
    const ran = await carillon(args, env);
    expect(ran.err).toContain(says);
    expect(ran.code).toBe(code);
  });

  test('--help is no failure', async () => {
    const { code, out } = await carillon(['push', '--help']);
    expect(code).toBe(0);
    expect(out).toContain('--prune');
    expect((await carillon(['--help'])).out).toContain('Exit codes:');
  });
});
