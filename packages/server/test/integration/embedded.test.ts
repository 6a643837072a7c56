/** The embedded PostgreSQL, with its real programs and accounts. */
import { chownSync, lchownSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { afterEach, describe, expect, test } from 'vitest';
import { identify } from '../../src/store/embedded-process.ts';
import { cleanUp, freshDirectory, kill, query, read, ROOT, serversIn, start, startElsewhere, write } from './fixtures/embedded-rig.ts';

afterEach(cleanUp);

describe('start and stop', () => {
  test('what was committed is there after a stop and a start', async () => {
    const dataDir = freshDirectory();
    const first = await start(dataDir);
    await write(first.connection);
    await first.stop();
    expect(identify(first.pid())).toBeUndefined();
    expect(readFileSync(join(dataDir, 'postgres.log'), 'utf8')).toContain('database system is shut down');

    const second = await start(dataDir);
    expect(await read(second.connection)).toEqual([42]);
    expect([first.adopted, second.adopted]).toEqual([false, false]);
    expect(second.events).toMatchObject([{ event: 'postgres.started', created: false }]);
  });

  test('it is durable, on a private socket alone, and takes further settings', async () => {
    const dataDir = freshDirectory();
    const { connection } = await start(dataDir, { shared_buffers: '24MB' });
    const show = async (name: string): Promise<unknown> => (await query(connection, `show ${name}`))[0];
    expect(await Promise.all(['fsync', 'full_page_writes', 'synchronous_commit', 'listen_addresses', 'shared_buffers'].map(show))).toEqual([
      'on',
      'on',
      'on',
      '',
      '24MB',
    ]);
    expect(await query(connection, 'select current_user, current_database()')).toEqual(['postgres', 'carillon']);
    expect(statSync(connection.host).mode & 0o777).toBe(0o700);
    expect(statSync(join(dataDir, 'pg')).mode & 0o777).toBe(0o700);
  });

  test('a stop asked for twice is one stop, disconnects clients and leaves no socket directory', async () => {
    const server = await start(freshDirectory());
    const client = new pg.Client({ ...server.connection, ssl: false });
    const cut = new Promise((resolve) => client.on('error', resolve));
    await client.connect();
    await Promise.all([server.stop(), server.stop()]);
    await cut;
    expect(statSync(server.connection.host, { throwIfNoEntry: false })).toBeUndefined();
    expect(server.events.map(({ event }) => event)).toEqual(['postgres.started', 'postgres.stopped']);
  });

  test('a process that exits without a stop takes its server along', async () => {
    const dataDir = freshDirectory();
    const { process: owner, outcome } = await startElsewhere(dataDir);
    await kill(owner, 'SIGUSR2');
    await expect.poll(() => serversIn(dataDir), { timeout: 15_000 }).toEqual([]);
    expect(outcome.event).toBe('ready');
    expect(readFileSync(join(dataDir, 'postgres.log'), 'utf8')).toContain('database system is shut down');
  });

  test('a damaged tree of programs is made again', async () => {
    const dataDir = freshDirectory();
    await (await start(dataDir)).stop();
    const [version = ''] = readdirSync(join(dataDir, 'bin'));
    rmSync(join(dataDir, 'bin', version, 'share'), { recursive: true });
    mkdirSync(join(dataDir, 'bin', 'older'));
    const { connection } = await start(dataDir);
    expect(await query(connection, "select now() at time zone 'Europe/Berlin' is not null")).toEqual([true]);
    expect(readdirSync(join(dataDir, 'bin'))).toEqual([version]);
  });

  test('a long log is put aside at start', async () => {
    const dataDir = freshDirectory();
    mkdirSync(dataDir, { mode: 0o711 });
    writeFileSync(join(dataDir, 'postgres.log'), 'x'.repeat(11 * 1024 * 1024));
    await start(dataDir);
    expect(statSync(join(dataDir, 'postgres.log.1')).size).toBe(11 * 1024 * 1024);
    expect(readFileSync(join(dataDir, 'postgres.log'), 'utf8')).toMatch(/^\d{4}-.*starting PostgreSQL/);
  });

  test('a data directory too long for the name of a socket', async () => {
    const dataDir = join(freshDirectory(), 'd'.repeat(100), 'e'.repeat(100));
    const { connection } = await start(dataDir);
    expect(await query(connection, 'select 1')).toEqual([1]);
    expect(connection.host.length).toBeLessThan(90);
  });
});

describe('accounts', () => {
  test.runIf(ROOT)('as root it runs below a directory that only root can enter', async () => {
    const dataDir = freshDirectory(0o700);
    const first = await start(dataDir);
    await write(first.connection);
    expect(statSync(`/proc/${first.pid()}`).uid).not.toBe(0);
    process.kill(first.pid(), 'SIGKILL');
    await expect.poll(() => first.events.map(({ event }) => event), { timeout: 10_000 }).toContain('postgres.restarted');
    expect(await read(first.connection)).toEqual([42]);
    await first.stop();
    const { process: owner } = await startElsewhere(dataDir);
    await kill(owner, 'SIGKILL');
    const second = await start(dataDir);
    expect(second.adopted).toBe(true);
    expect(await read(second.connection)).toEqual([42]);
  });

  test.runIf(ROOT)('an ordinary user runs it as himself', async () => {
    const dataDir = freshDirectory();
    const uid = 65_534; // nobody: initdb wants a name for it
    chownSync(dirname(dataDir), uid, uid);
    const { process: owner, outcome } = await startElsewhere(dataDir, { uid, gid: uid, env: { TMPDIR: '/nonexistent' } });
    expect(outcome).toMatchObject({ event: 'ready' });
    expect(statSync(`/proc/${String(outcome.pid)}`).uid).toBe(uid);
    expect(await query(outcome.connection, 'select 1')).toEqual([1]);
    await kill(owner, 'SIGTERM');
    expect(serversIn(dataDir)).toEqual([]);
  });

  test.runIf(ROOT)('a user without a name is told that he needs one', async () => {
    const dataDir = freshDirectory();
    chownSync(dirname(dataDir), 54_321, 54_321);
    const { outcome } = await startElsewhere(dataDir, { uid: 54_321, gid: 54_321 });
    expect(outcome).toMatchObject({ code: 'start_failed', message: expect.stringContaining('/etc/passwd') });
    expect(readFileSync(join(dataDir, 'postgres.log'), 'utf8')).toContain('user does not exist');
  });

  test.runIf(ROOT)('a database restored by root is given back to the account', async () => {
    const dataDir = freshDirectory();
    const first = await start(dataDir);
    await write(first.connection);
    await first.stop();
    for (const name of readdirSync(join(dataDir, 'pg'), { recursive: true })) lchownSync(join(dataDir, 'pg', String(name)), 0, 0);
    lchownSync(join(dataDir, 'pg'), 0, 0);
    expect(await read((await start(dataDir)).connection)).toEqual([42]);
  });

  test.runIf(ROOT)("a directory of somebody else's is refused", async () => {
    const dataDir = freshDirectory();
    mkdirSync(dataDir);
    chownSync(dataDir, 54_321, 54_321);
    await expect(start(dataDir)).rejects.toMatchObject({ code: 'foreign_owner', message: expect.stringContaining('uid 54321') });
    chownSync(dataDir, 0, 0);
    mkdirSync(join(dataDir, 'pg'));
    chownSync(join(dataDir, 'pg'), 54_321, 54_321);
    await expect(start(dataDir)).rejects.toMatchObject({ code: 'foreign_owner' });
    expect(readdirSync(dataDir)).toEqual(['pg']);
  });
});
