/** What the embedded PostgreSQL survives: real signals to real processes. */
import { spawn } from 'node:child_process';
import { cpSync, rmSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { identify } from '../../src/store/embedded-process.ts';
import {
  cleanUp,
  cleanups,
  freshDirectory,
  kill,
  killServers,
  OWNER,
  query,
  read,
  serversIn,
  start,
  startElsewhere,
  write,
} from './fixtures/embedded-rig.ts';

afterEach(cleanUp);

describe('one process for each directory', () => {
  test('another process is refused and told who has it; afterwards it may', async () => {
    const dataDir = freshDirectory();
    const first = await start(dataDir);
    const { outcome } = await startElsewhere(dataDir);
    expect(outcome).toMatchObject({
      event: 'failed',
      code: 'directory_in_use',
      message: expect.stringContaining(`process ${process.pid} `),
    });
    await expect(start(dataDir)).rejects.toMatchObject({ code: 'directory_in_use' });
    expect(await query(first.connection, 'select 1')).toEqual([1]);
    await first.stop();
    expect((await startElsewhere(dataDir)).outcome).toMatchObject({ event: 'ready', adopted: false });
  });

  test('five processes at once: one has it', async () => {
    const dataDir = freshDirectory();
    const outcomes = await Promise.all(Array.from({ length: 5 }, () => startElsewhere(dataDir)));
    expect(outcomes.map(({ outcome }) => outcome.code ?? outcome.event).sort()).toEqual([
      ...Array<string>(4).fill('directory_in_use'),
      'ready',
    ]);
  });

  test('a PostgreSQL that somebody else started there is left alone', async () => {
    const dataDir = freshDirectory();
    const first = await start(dataDir);
    await first.stop();
    const { uid, gid } = statSync(join(dataDir, 'pg'));
    const [version = ''] = readdirSync(join(dataDir, 'bin'));
    const elsewhere = join(dirname(dataDir), 'elsewhere');
    cpSync(join(dataDir, 'bin', version), elsewhere, { recursive: true, verbatimSymlinks: true });
    const stranger = spawn(
      join(elsewhere, 'bin/postgres'),
      ['-D', join(dataDir, 'pg'), '-c', 'listen_addresses=', '-c', `unix_socket_directories=${join(dataDir, 'pg')}`],
      { uid, gid, cwd: '/', stdio: 'ignore' },
    );
    cleanups.push(() => stranger.kill('SIGKILL'));
    await expect.poll(() => serversIn(dataDir).length, { timeout: 10_000 }).toBeGreaterThan(2);
    await expect(start(dataDir)).rejects.toMatchObject({
      code: 'directory_in_use',
      message: expect.stringContaining(`process ${stranger.pid!},`),
    });
    expect(stranger.exitCode).toBeNull();
    await kill(stranger, 'SIGINT');
    await start(dataDir);
  });
});

describe('after a kill', () => {
  test('the server of a killed process is taken over with what was committed', async () => {
    const dataDir = freshDirectory();
    const { process: owner, outcome } = await startElsewhere(dataDir);
    await write(outcome.connection);
    await kill(owner, 'SIGKILL');

    const heir = await start(dataDir);
    expect([heir.adopted, heir.pid()]).toEqual([true, outcome.pid]);
    expect(await read(heir.connection)).toEqual([42]);

    process.kill(heir.pid(), 'SIGKILL'); // not our child: its end is noticed too
    await expect.poll(() => heir.events.map(({ event }) => event), { timeout: 10_000 }).toContain('postgres.restarted');
    expect(await read(heir.connection)).toEqual([42]);
    await heir.stop();
    expect(serversIn(dataDir)).toEqual([]);
  });

  test('a server that runs with other settings is replaced', async () => {
    const dataDir = freshDirectory();
    const { process: owner, outcome } = await startElsewhere(dataDir);
    await write(outcome.connection);
    await kill(owner, 'SIGKILL');
    const heir = await start(dataDir, { work_mem: '5MB' });
    expect(heir.adopted).toBe(false);
    expect(identify(outcome.pid)).toBeUndefined();
    expect(await query(heir.connection, 'show work_mem')).toEqual(['5MB']);
    expect(await read(heir.connection)).toEqual([42]);
  });

  test('process and server killed together: the next start recovers', async () => {
    const dataDir = freshDirectory();
    const { process: owner, outcome } = await startElsewhere(dataDir);
    await write(outcome.connection);
    owner.kill('SIGSTOP'); // else it might start another server before its own end
    killServers(dataDir);
    await kill(owner, 'SIGKILL');
    const heir = await start(dataDir);
    expect(heir.adopted).toBe(false);
    expect(await read(heir.connection)).toEqual([42]);
  });

  test('a process killed while it creates leaves nothing in the way', async () => {
    const dataDir = freshDirectory();
    const child = spawn(process.execPath, [OWNER, dataDir], { stdio: 'ignore' });
    await expect
      .poll(() => statSync(dataDir, { throwIfNoEntry: false }) && readdirSync(dataDir).some((name) => name.startsWith('pg.')), {
        interval: 5,
        timeout: 10_000,
      })
      .toBe(true);
    await kill(child, 'SIGKILL');
    const server = await start(dataDir);
    expect(await query(server.connection, 'select 1')).toEqual([1]);
    expect(readdirSync(dataDir).filter((name) => name.startsWith('pg'))).toEqual(['pg']);
  });

  test('a stale postmaster.pid whose number another process has is no obstacle', async () => {
    const dataDir = freshDirectory();
    const first = await start(dataDir);
    await write(first.connection);
    await first.stop();
    const { uid, gid } = statSync(join(dataDir, 'pg'));
    const stranger = spawn('sleep', ['600'], { uid, gid, stdio: 'ignore' });
    cleanups.push(() => stranger.kill('SIGKILL'));
    writeFileSync(
      join(dataDir, 'pg/postmaster.pid'),
      `${stranger.pid!}\n${join(dataDir, 'pg')}\n1\n5432\n${first.connection.host}\n\n1 1\nready   \n`,
    );
    const second = await start(dataDir);
    expect(await read(second.connection)).toEqual([42]);
    expect(stranger.exitCode).toBeNull();
  });

  test('a server that dies is started again, as often as it dies, and still stops', async () => {
    const dataDir = freshDirectory();
    const server = await start(dataDir);
    await write(server.connection);
    for (let death = 1; death <= 3; death++) {
      const before = server.pid();
      process.kill(before, 'SIGKILL');
      await expect.poll(() => server.events.filter(({ event }) => event === 'postgres.restarted').length, { timeout: 15_000 }).toBe(death);
      expect(server.pid()).not.toBe(before);
      expect(await read(server.connection)).toEqual([42]);
    }
    await server.stop();
    expect(serversIn(dataDir)).toEqual([]);
    expect(server.events.at(-1)).toMatchObject({ event: 'postgres.stopped', signal: 'SIGINT' });
  });

  test('a restart makes the socket directory again', async () => {
    const server = await start(freshDirectory());
    rmSync(server.connection.host, { recursive: true });
    process.kill(server.pid(), 'SIGKILL');
    await expect.poll(() => server.events.map(({ event }) => event), { timeout: 10_000 }).toContain('postgres.restarted');
    expect(await query(server.connection, 'select 1')).toEqual([1]);
  });

  test('a stop in the middle of a restart leaves nothing running', async () => {
    const dataDir = freshDirectory();
    const server = await start(dataDir);
    process.kill(server.pid(), 'SIGKILL');
    await expect.poll(() => server.events.map(({ event }) => event), { interval: 1, timeout: 10_000 }).toContain('postgres.exited');
    await server.stop();
    expect(serversIn(dataDir)).toEqual([]);
    await start(dataDir);
  });
});
