/** What can go wrong with the embedded PostgreSQL, said so that a person knows what to do. */

export type EmbeddedErrorCode =
  | 'unsupported_platform'
  | 'disk_full'
  | 'foreign_owner'
  | 'newer_version'
  | 'directory_in_use'
  | 'start_failed';

/** `message` is the problem followed by the hint; `hint` alone is what to do. */
export class EmbeddedError extends Error {
  readonly code: EmbeddedErrorCode;
  readonly hint: string;

  constructor(code: EmbeddedErrorCode, problem: string, hint: string, cause?: unknown) {
    super(`${problem} ${hint}`, { cause });
    this.name = 'EmbeddedError';
    this.code = code;
    this.hint = hint;
  }
}

const FULL = /No space left on device|Disk quota exceeded|database or disk is full|ENOSPC|EDQUOT/;
const NO_PASSWD_ENTRY = /could not look up effective user ID/;
const WRONG_LIBC = /GLIBC_[\d.]+' not found|cannot execute|Exec format error/;

export function diskFull(root: string, cause?: unknown): EmbeddedError {
  return new EmbeddedError(
    'disk_full',
    `The disk that holds ${root} is full.`,
    'Free some space (a new database needs about 100 MB) and start again.',
    cause,
  );
}

export function unsupported(platform: string, cause?: unknown): EmbeddedError {
  const hint =
    'Set DATABASE_URL to a PostgreSQL 15 or newer, or run on Linux with glibc (x64, arm64) and install with optional dependencies.';
  return new EmbeddedError('unsupported_platform', `There is no embedded PostgreSQL for ${platform} here.`, hint, cause);
}

/** `output` is what initdb or the server said before it gave up. */
export function failureFrom(what: string, output: string, place: { root: string; log: string }): EmbeddedError {
  if (FULL.test(output)) return diskFull(place.root);
  if (WRONG_LIBC.test(output)) return unsupported(`${process.platform}-${process.arch}`, output);
  const said = output.split('\n').filter((line) => /FATAL|PANIC|ERROR|error|HINT|DETAIL/.test(line));
  const last = (said.length > 0 ? said : output.trim().split('\n')).slice(-4).join(' | ');
  const hint = NO_PASSWD_ENTRY.test(output)
    ? 'Run Carillon as a user that the system knows by name (an entry in /etc/passwd), or set DATABASE_URL.'
    : `See ${place.log}, or set DATABASE_URL.`;
  return new EmbeddedError('start_failed', `${what}: ${last || 'it said nothing'}.`, hint);
}

/** The `code` of an error of Node, of the file system or of PostgreSQL; else empty. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** Errors of the file system and of spawn, translated; an EmbeddedError stays as it is. */
export function asEmbeddedError(error: unknown, root: string): EmbeddedError {
  if (error instanceof EmbeddedError) return error;
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  if (FULL.test(`${code} ${message}`)) return diskFull(root, error);
  // The program is there, so it is its loader that is missing: another libc.
  if (code === 'ENOENT' && message.startsWith('spawn')) return unsupported(`${process.platform}-${process.arch}`, error);
  if (code === 'EACCES' || code === 'EPERM') {
    const hint = `Give ${root} to the user that runs Carillon (chown -R), or choose another data directory; programs must be allowed on its file system (no noexec).`;
    return new EmbeddedError('foreign_owner', `Access was refused: ${message}.`, hint, error);
  }
  return new EmbeddedError(
    'start_failed',
    `The embedded PostgreSQL could not be started: ${message}.`,
    `Look at ${root}, or set DATABASE_URL.`,
    error,
  );
}
