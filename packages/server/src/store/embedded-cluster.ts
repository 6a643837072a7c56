/** Where the embedded PostgreSQL lives, how its programs are started, and how its data directory comes to be. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  accessSync,
  appendFileSync,
  chownSync,
  closeSync,
  constants,
  fsyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canTraverse, giveTree, privateDirectory, unprivilegedAccount, type Account } from './embedded-account.ts';
import { plantTree, type Package } from './embedded-binaries.ts';
import { diskFull, EmbeddedError, failureFrom } from './embedded-error.ts';

export interface Place {
  /** Real path of Carillon's data directory; PostgreSQL's own is `data` in it. */
  readonly root: string;
  readonly data: string;
  readonly log: string;
  /** Short, since the path of a socket ends at 107 bytes, and nobody else's. */
  readonly socketDir: string;
  /** The programs: bin, lib, share. */
  readonly tree: string;
  readonly account: Account | undefined;
  /** The account can't walk to `data`: root opens it and the account gets the open directory. */
  readonly byDescriptor: boolean;
}

/** Names the socket; there is no TCP port. */
export const PORT = 5432;
const SOCKET_PATH_BYTES = 107;
const INHERITED_DIRECTORY = '/proc/self/fd/3';

export function arrange(root: string, source: Package): Place {
  const data = join(root, 'pg');
  const account = unprivilegedAccount(data);
  const tree = plantTree(source, root, account);
  const socketDir = join(socketParent(account), `carillon-${createHash('sha256').update(root).digest('hex').slice(0, 16)}`);
  privateDirectory(socketDir, account);
  return { root, data, log: join(root, 'postgres.log'), socketDir, tree, account, byDescriptor: !canTraverse(root, account) };
}

function socketParent(account: Account | undefined): string {
  const longestName = `/carillon-${'0'.repeat(16)}/.s.PGSQL.${PORT}`;
  const fits = (dir: string): boolean => Buffer.byteLength(dir + longestName) <= SOCKET_PATH_BYTES;
  const found = [tmpdir(), '/tmp'].find((dir) => fits(dir) && isWritable(dir) && canTraverse(dir, account));
  if (found !== undefined) return found;
  throw new EmbeddedError(
    'start_failed',
    'There is no temporary directory for the socket.',
    'Set TMPDIR to a short path that every user can enter.',
  );
}

function isWritable(dir: string): boolean {
  try {
    accessSync(dir, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false; // TMPDIR may name anything
  }
}

/** What the server is told, and what it answers when asked for `data_directory`. */
export function dataArgument({ byDescriptor, data }: Place): string {
  return byDescriptor ? INHERITED_DIRECTORY : data;
}

interface Start {
  readonly program: 'initdb' | 'postgres';
  readonly directory: string;
  readonly args: readonly string[];
  readonly output: number | 'pipe';
}

/** Starts a program of the tree as the account, with nothing of our environment. */
export function startProgram(place: Place, { program, directory, args, output }: Start): ChildProcess {
  const descriptor = place.byDescriptor ? openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY) : undefined;
  const stdio: StdioOptions = ['ignore', output, output];
  try {
    return spawn(join(place.tree, 'bin', program), ['-D', descriptor === undefined ? directory : INHERITED_DIRECTORY, ...args], {
      ...(place.account && { uid: place.account.uid, gid: place.account.gid }),
      cwd: '/',
      env: { LC_ALL: 'C', TZ: 'UTC', PATH: '/usr/bin:/bin' },
      stdio: descriptor === undefined ? stdio : [...stdio, descriptor],
      detached: program === 'postgres', // a terminal's Ctrl-C is for us; we stop the server after our own last query
    });
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** False when there is none yet. Throws when it is not one that these programs can run. */
export function clusterExists({ root }: { root: string }, major: number): boolean {
  const data = join(root, 'pg');
  if (!statSync(data, { throwIfNoEntry: false }) || readdirSync(data).length === 0) return false;
  const found = versionOf(data);
  if (found === major) return true;
  if (found === undefined) {
    throw new EmbeddedError('start_failed', `${data} is not a PostgreSQL data directory.`, 'Move it away, or restore it from a backup.');
  }
  if (found > major) {
    const hint = 'Start the newer Carillon that wrote it, or choose another data directory.';
    throw new EmbeddedError('newer_version', `${data} was written by PostgreSQL ${found}, and this Carillon brings ${major}.`, hint);
  }
  const hint = `Dump it with the Carillon that wrote it (pg_dumpall), move ${data} away, start this one and load the dump.`;
  throw new EmbeddedError(
    'start_failed',
    `${data} was written by PostgreSQL ${found}; this Carillon brings ${major}, which can't read it.`,
    hint,
  );
}

function versionOf(data: string): number | undefined {
  try {
    const version = Number.parseInt(readFileSync(join(data, 'PG_VERSION'), 'utf8'), 10);
    return Number.isNaN(version) ? undefined : version;
  } catch {
    return undefined;
  }
}

const INITDB =
  '-U postgres -A trust -E UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C --no-sync --no-instructions'.split(' ');
const SYNC = ['--sync-only', '--sync-method=syncfs'];
const BUILDING = 'pg.creating-';

/** Made beside and renamed when it is whole and on disk: a kill at any moment leaves all of it or nothing. */
export async function createCluster(place: Place): Promise<void> {
  removeUnfinished(place.root);
  const building = mkdtempSync(join(place.root, BUILDING));
  try {
    if (place.account) chownSync(building, place.account.uid, place.account.gid);
    await initdb(place, building, INITDB);
    await initdb(place, building, SYNC);
    renameSync(building, place.data);
    syncDirectory(place.root);
  } catch (error) {
    rmSync(building, { recursive: true, force: true, maxRetries: 3 });
    throw error;
  }
}

function removeUnfinished(root: string): void {
  for (const name of readdirSync(root)) {
    if (name.startsWith(BUILDING)) rmSync(join(root, name), { recursive: true, force: true, maxRetries: 3 });
  }
}

async function initdb(place: Place, directory: string, args: readonly string[]): Promise<void> {
  const child = startProgram(place, { program: 'initdb', directory, args, output: 'pipe' });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const [status] = (await once(child, 'close')) as [number | null]; // rejects when it could not be started
  if (status === 0) return;
  const error = failure(place, 'The database could not be created', output);
  if (error.code !== 'disk_full') appendFileSync(place.log, output, { mode: 0o600 });
  throw error;
}

function syncDirectory(path: string): void {
  const descriptor = openSync(path, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
}

const NOTHING_LEFT_BYTES = 1024 * 1024;

/** On a full disk there may be no room for the complaint, so the disk is asked too. */
export function failure(place: Place, what: string, output: string): EmbeddedError {
  const { bavail, bsize } = statfsSync(place.root);
  return bavail * bsize < NOTHING_LEFT_BYTES ? diskFull(place.root, output) : failureFrom(what, output, place);
}

/** An existing data directory gets what a restore as root, or an older version, may have left different. */
export function adjustCluster(place: Place): void {
  giveTree(place.data, place.account);
}
