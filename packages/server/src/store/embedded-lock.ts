/**
 * One Carillon process for each data directory.
 *
 * The lock is the kernel's (fcntl, by way of SQLite, the only thing in Node that takes one): it ends with its holder however
 * that dies, needs no judgement whether a pid is still the same process, and holds between containers that share a volume.
 * Nothing else may open the file: closing any descriptor of it would drop the lock.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { EmbeddedError } from './embedded-error.ts';

const SQLITE_BUSY = 5;

/** Throws `directory_in_use` at once when another process, or this one, holds it. */
export function acquireLock(root: string): { release: () => void } {
  const lock = new DatabaseSync(join(root, 'carillon.lock'), { timeout: 0 });
  const holder = join(root, 'carillon.pid'); // for the message only
  try {
    lock.exec('pragma journal_mode = memory; begin exclusive'); // a lock has nothing to write
    writeFileSync(holder, `${process.pid} on ${hostname()}\n`);
  } catch (error) {
    lock.close();
    throw isBusy(error) ? inUse(root, holder) : error;
  }
  return {
    release: () => {
      lock.close();
    },
  };
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY;
}

function inUse(root: string, holder: string): EmbeddedError {
  let who = 'another process';
  try {
    who = `process ${readFileSync(holder, 'utf8').trim()}`;
  } catch {
    // it has the lock and has not written its name yet
  }
  return new EmbeddedError(
    'directory_in_use',
    `The data directory ${root} is in use by ${who}.`,
    'Stop that process, or choose another data directory.',
  );
}
