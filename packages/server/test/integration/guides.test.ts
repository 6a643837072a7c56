/** What the guides, the README and the first start tell people to type does what they say. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { welcome } from '../../src/api/welcome.ts';
import { killServers, query } from './fixtures/embedded-rig.ts';

const REPOSITORY = resolve(import.meta.dirname, '../../../..');
const CARILLON = join(import.meta.dirname, '../../bin/carillon.mjs');
const SOON = { timeout: 15_000 };

let home: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'carillon-guides-'));
  chmodSync(home, 0o755);
});
afterEach(async () => {
  for (const child of children.splice(0))
    if (child.exitCode === null && child.signalCode === null && child.kill('SIGKILL')) await once(child, 'close');
  killServers(join(home, '.carillon'));
  rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
});

/** The `sh` blocks of a document, in order. */
function blocksOf(path: string): string[] {
  const found = [...readFileSync(join(REPOSITORY, path), 'utf8').matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = '']) => block.trim());
  expect(found.length, path).toBeGreaterThan(0);
  return found;
}

interface Shell {
  readonly output: () => string;
  /** Exit code. */
  readonly ended: Promise<number>;
  readonly end: () => void;
}

/** As if pasted into a terminal in `home`. */
function paste(command: string, env: Record<string, string> = {}): Shell {
  const child = spawn('sh', ['-c', command], { cwd: home, env: { PATH: process.env.PATH, ...env }, detached: true });
  children.push(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = once(child, 'close').then(([code]) => code as number);
  return { output: () => output, ended, end: () => process.kill(-child.pid!, 'SIGTERM') };
}

async function run(command: string, env: Record<string, string> = {}): Promise<string> {
  const { ended, output } = paste(command, env);
  const code = await ended;
  expect(code, `${command}\n${output()}`).toBe(0);
  return output();
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

interface Started {
  readonly url: string;
  readonly printed: string;
  readonly stop: () => Promise<void>;
}

/** `npm start` in `home`, with no setting but the port. */
async function startCarillon(): Promise<Started> {
  const port = await freePort();
  const child = spawn(process.execPath, [CARILLON, 'serve'], {
    cwd: home,
    env: { PATH: process.env.PATH, CARILLON_PORT: String(port) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  const closed = once(child, 'close');
  await expect.poll(() => printed, { timeout: 30_000 }).toContain('server.started');
  return {
    url: `http://127.0.0.1:${port}`,
    printed,
    stop: async () => {
      child.kill('SIGTERM');
      await closed;
    },
  };
}

function keyIn(printed: string): string {
  return /^API key \(shown once\): (\S+)$/m.exec(printed)![1]!;
}

/** Lines that are indented: those to paste. */
function commandsIn(printed: string): string[] {
  return printed
    .split('\n')
    .filter((line) => line.startsWith('  '))
    .map((line) => line.trim());
}

async function subjectsOf(url: string, key: string, user: string): Promise<string[]> {
  const response = await fetch(`${url}/v1/users/${user}/notifications`, { headers: { authorization: `Bearer ${key}` } });
  const { data } = (await response.json()) as { data: { subject: string }[] };
  return data.map(({ subject }) => subject);
}

async function tell(url: string, key: string, subject: string): Promise<void> {
  const response = await fetch(`${url}/v1/notifications`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ to: ['ada'], subject, body: 'b', channels: ['in_app'] }),
  });
  expect(response.status).toBe(202);
}

describe('the first start', () => {
  test('prints commands that work when pasted, and no key the second time', async () => {
    const { url, printed, stop } = await startCarillon();
    const key = keyIn(printed);
    const [exported, watch, send, why] = commandsIn(printed);
    expect(exported).toBe(`export KEY=${key}`);
    await watchSendAsk({ watch: watch!, send: send!, why: () => why!, key });
    const outbox = await (await fetch(`${url}/dev/outbox`)).text();
    expect(outbox).toContain('Disk almost full');
    await stop();
    const again = await startCarillon();
    expect(again.printed).toContain(`Carillon listens on ${again.url}`);
    expect(again.printed).not.toContain('API key');
    await again.stop();
  }, 60_000);

  test('in production prints the key that nobody can read again, and nothing to paste', () => {
    const text = welcome({ url: 'https://c.example', bootstrapKey: 'cn_live_x', production: true });
    expect(keyIn(text)).toBe('cn_live_x');
    expect(commandsIn(text)).toEqual([]);
    expect(welcome({ url: 'https://c.example', bootstrapKey: undefined, production: true })).toBe(
      'Carillon listens on https://c.example\n\n',
    );
  });
});

interface ThreeLines {
  readonly watch: string;
  readonly send: string;
  readonly why: (eventId: string) => string;
  readonly key: string;
}

async function watchSendAsk({ watch, send, why, key }: ThreeLines): Promise<void> {
  const env = { KEY: key };
  const stream = paste(watch, env);
  await expect.poll(stream.output, SOON).toContain('event: ');
  const accepted = JSON.parse(await run(send, env)) as { id: string };
  expect(accepted).toEqual({ id: expect.stringMatching(/^evt_/), duplicate: false });
  await expect.poll(stream.output, SOON).toMatch(/event: notification\n(?:.*\n)*.*Disk almost full/);
  await expect
    .poll(async () => JSON.parse(await run(why(accepted.id), env)), SOON)
    .toMatchObject({
      id: accepted.id,
      status: 'routed',
      counts: { pending: 0, sending: 0, failed: 0, skipped: 0 },
      notifications: expect.arrayContaining([expect.anything()]),
    });
  stream.end();
  await stream.ended;
}

test('the five minutes of the README', async () => {
  const [startCommand, exported, ...pasted] = blocksOf('README.md');
  expect(startCommand).toBe('npm ci && npm start');
  expect(exported).toBe('export KEY=cn_live_…');
  const { url, printed, stop } = await startCarillon();
  const [send, watch, why] = pasted.map((command) => command.replaceAll(/(?:localhost|127\.0\.0\.1):7070/g, new URL(url).host));
  expect(pasted).toHaveLength(3);
  await watchSendAsk({ watch: watch!, send: send!, why: (id) => why!.replace('evt_…', id), key: keyIn(printed) });
  await stop();
}, 60_000);

describe('backup and restore', () => {
  const [backup, putAway, restore, socket, ...more] = blocksOf('docs/guides/backup.md') as [string, string, string, string];

  test('what was told after the copy is gone after the restore, what was told before is there, and the key is good', async () => {
    const first = await startCarillon();
    const key = keyIn(first.printed);
    await tell(first.url, key, 'before');
    expect(await paste(backup).ended, 'a running server is not copied').not.toBe(0);
    expect(statSync(join(home, 'carillon-backup.tar.gz'), { throwIfNoEntry: false })).toBeUndefined();
    await first.stop();
    await run(backup);

    const second = await startCarillon();
    await tell(second.url, key, 'after');
    expect(await subjectsOf(second.url, key, 'ada')).toEqual(['after', 'before']);
    await second.stop();
    expect(await paste(restore).ended, 'nothing is unpacked over what is there').not.toBe(0);
    await run(putAway);
    await run(restore);

    const third = await startCarillon();
    expect(await subjectsOf(third.url, key, 'ada')).toEqual(['before']);
    await tell(third.url, key, 'again');
    expect(await subjectsOf(third.url, key, 'ada')).toEqual(['again', 'before']);
    await third.stop();
  }, 60_000);

  test('a new machine needs the copy only', async () => {
    const first = await startCarillon();
    const key = keyIn(first.printed);
    await tell(first.url, key, 'before');
    await first.stop();
    await run(backup);
    rmSync(join(home, '.carillon'), { recursive: true });
    await run(restore);
    const second = await startCarillon();
    expect(await subjectsOf(second.url, key, 'ada')).toEqual(['before']);
    await second.stop();
  }, 60_000);

  test('the socket of a running server is where the guide says', async () => {
    expect(more).toEqual([]); // every block is run
    const { stop } = await startCarillon();
    const host = (await run(socket)).trim();
    expect(await query({ host, user: 'postgres', database: 'carillon' }, 'select count(*)::int from carillon.tenants')).toEqual([2]);
    await stop();
  });
});
