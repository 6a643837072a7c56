/** What the embedded PostgreSQL says when it can not start. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { startEmbedded } from '../../src/store/embedded.ts';
import { cleanUp, freshDirectory, mountTmpfs, read, start, write } from './fixtures/embedded-rig.ts';

afterEach(cleanUp);

describe('what it says when it can not', () => {
  test.each([
    ['99', 'newer_version', /PostgreSQL 99.*brings \d+.*newer Carillon/s],
    ['9.6', 'start_failed', /PostgreSQL 9;.*Dump it/s],
    ['what?', 'start_failed', /not a PostgreSQL data directory/],
  ])('PG_VERSION %s', async (version, code, message) => {
    const dataDir = freshDirectory();
    mkdirSync(join(dataDir, 'pg'), { recursive: true, mode: 0o711 });
    writeFileSync(join(dataDir, 'pg/PG_VERSION'), `${version}\n`);
    await expect(start(dataDir)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test('no programs for this platform', async () => {
    const dataDir = freshDirectory();
    const refused = startEmbedded({ dataDir, log: () => undefined }, () => undefined);
    await expect(refused).rejects.toMatchObject({ code: 'unsupported_platform', hint: expect.stringContaining('DATABASE_URL') });
    expect(statSync(dataDir, { throwIfNoEntry: false })).toBeUndefined();
  });

  test('a setting that PostgreSQL does not know', async () => {
    const dataDir = freshDirectory();
    await expect(start(dataDir, { no_such_setting: '1' })).rejects.toMatchObject({
      code: 'start_failed',
      message: expect.stringContaining('no_such_setting'),
    });
    await start(dataDir); // and nothing stays locked
  });

  test.for(['16m', '70m'])('a disk of %s, too small to begin', async (size, { skip }) => {
    const dataDir = freshDirectory();
    const refused = mountTmpfs(dataDir, size);
    skip(refused !== undefined, `no file system of a given size can be mounted here: ${refused ?? ''}`);
    await expect(start(dataDir)).rejects.toMatchObject({ code: 'disk_full', message: expect.stringContaining(dataDir) });
    expect(readdirSync(dataDir).filter((name) => name.startsWith('pg'))).toEqual([]);
  });

  test('a disk that filled up later, and has room again', async ({ skip }) => {
    const dataDir = freshDirectory();
    const refused = mountTmpfs(dataDir, '250m');
    skip(refused !== undefined, `no file system of a given size can be mounted here: ${refused ?? ''}`);
    const first = await start(dataDir);
    await write(first.connection);
    await first.stop();
    spawnSync('dd', ['if=/dev/zero', `of=${join(dataDir, 'filler')}`, 'bs=64k']);
    await expect(start(dataDir)).rejects.toMatchObject({ code: 'disk_full' });
    rmSync(join(dataDir, 'filler'));
    expect(await read((await start(dataDir)).connection)).toEqual([42]);
  });
});
