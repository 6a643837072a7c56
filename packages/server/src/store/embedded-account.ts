/** Who runs the embedded PostgreSQL. It refuses to run as root, so root hands it to an unprivileged account. */
import {
  chmodSync,
  chownSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  type Stats,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { codeOf, EmbeddedError } from './embedded-error.ts';

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

const UNPRIVILEGED = ['postgres', 'nobody']; // initdb looks its account up, so it needs a passwd entry

/** The real path of the data directory, made when absent. Throws `foreign_owner` when it is not ours to use. */
export function prepareRoot(dataDir: string): string {
  const asRoot = process.getuid?.() === 0;
  const created = mkdirSync(resolve(dataDir), { recursive: true, mode: asRoot ? 0o711 : 0o700 });
  // Root's account must pass through to its own part, whatever the umask; what lies here is closed by itself.
  if (created !== undefined && asRoot) chmodSync(dataDir, 0o711);
  const root = realpathSync(dataDir);
  for (const path of [root, join(root, 'pg')]) assertOurs(path);
  return root;
}

function assertOurs(path: string): void {
  const owner = statSync(path, { throwIfNoEntry: false })?.uid;
  const me = process.getuid?.();
  if (owner === undefined || owner === me) return;
  const known = accounts();
  if (me === 0 && known.some((account) => account.uid === owner && UNPRIVILEGED.includes(account.name))) return;
  const name = (uid?: number): string => known.find((account) => account.uid === uid)?.name ?? `uid ${uid ?? '?'}`;
  const hint = `Run Carillon as ${name(owner)}, or give the directory to ${name(me)} (chown -R), or choose another data directory.`;
  throw new EmbeddedError('foreign_owner', `${path} belongs to ${name(owner)}, and Carillon runs as ${name(me)}.`, hint);
}

/** Undefined unless we are root. The owner of an existing database stays its account. */
export function unprivilegedAccount(data: string): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const known = accounts().filter(({ name, uid }) => UNPRIVILEGED.includes(name) && uid !== 0);
  const owner = statSync(data, { throwIfNoEntry: false })?.uid;
  const account =
    known.find(({ uid }) => uid === owner) ?? UNPRIVILEGED.map((name) => known.find((one) => one.name === name)).find((one) => one);
  if (account) return account;
  const hint = 'Create an account named postgres, or start Carillon as an ordinary user, or set DATABASE_URL.';
  throw new EmbeddedError(
    'start_failed',
    'PostgreSQL does not run as root, and this system has neither an account postgres nor nobody.',
    hint,
  );
}

function accounts(): Account[] {
  const lines = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  return lines.map(([name = '', , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }));
}

/** Whether the account can reach what lies in `path`, by the mode bits of it and everything above. */
export function canTraverse(path: string, account: Account | undefined): boolean {
  if (!account) return true;
  const open = (stats: Stats): boolean => {
    if (stats.uid === account.uid) return (stats.mode & 0o100) !== 0;
    return (stats.mode & (stats.gid === account.gid ? 0o010 : 0o001)) !== 0;
  };
  for (let at = path; ; at = dirname(at)) {
    if (!open(statSync(at))) return false;
    if (at === dirname(at)) return true;
  }
}

/** A database that root restored from a backup belongs to root: everything in it goes to the account. */
export function giveTree(path: string, account: Account | undefined): void {
  if (!account || statSync(path).uid === account.uid) return;
  for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
    lchownSync(join(entry.parentPath, entry.name), account.uid, account.gid);
  }
  chownSync(path, account.uid, account.gid); // last: until then the next start does it again
}

/** A directory only the account can enter. Throws when something else already has the name: anyone may write to the parent. */
export function privateDirectory(path: string, account: Account | undefined): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  }
  const found = lstatSync(path);
  if (!found.isDirectory() || ![process.getuid?.(), account?.uid].includes(found.uid)) {
    throw new EmbeddedError(
      'foreign_owner',
      `${path} should be a directory of our own, and belongs to somebody else.`,
      'Remove it, and start again.',
    );
  }
  chmodSync(path, 0o700);
  if (account) chownSync(path, account.uid, account.gid);
}
