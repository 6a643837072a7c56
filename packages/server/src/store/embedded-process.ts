/** Processes as /proc shows them: a pid alone is not proof, since a zombie keeps it and a stranger may have it next. */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** One process for its whole life. */
export interface Identity {
  readonly pid: number;
  /** Clock ticks after boot, field 22 of /proc/<pid>/stat. */
  readonly startedAt: string;
}

export interface PostgresProcess extends Identity {
  /** Path of the program, also when it was deleted since. */
  readonly exe: string;
  /** The arguments after the program's name. A backend has overwritten its own. */
  readonly args: readonly string[];
}

/** Undefined when there is no such process, or only a zombie. */
export function identify(pid: number): Identity | undefined {
  const fields = statFields(pid);
  return fields && !['Z', 'X'].includes(fields[0] ?? '') ? { pid, startedAt: fields[19] ?? '' } : undefined;
}

export function parentOf(pid: number): number {
  return Number(statFields(pid)?.[1] ?? 0);
}

/** Field 3 (state) onwards: the name in field 2 may contain spaces and parentheses. */
function statFields(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

export function isAlive({ pid, startedAt }: Identity): boolean {
  return identify(pid)?.startedAt === startedAt;
}

/** Every PostgreSQL process that works in this data directory, however it is called and whoever started it. */
export function postgresIn(data: string): PostgresProcess[] {
  const home = statSync(data);
  const pids = readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0);
  return pids.map((pid) => inspect(pid, home)).filter((found) => found !== undefined);
}

function inspect(pid: number, home: { dev: number; ino: number }): PostgresProcess | undefined {
  try {
    const exe = readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, '');
    if (basename(exe) !== 'postgres') return undefined;
    const cwd = statSync(`/proc/${pid}/cwd`);
    const identity = identify(pid);
    if (!identity || cwd.dev !== home.dev || cwd.ino !== home.ino) return undefined;
    const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(1, -1);
    return { ...identity, exe, args };
  } catch {
    return undefined; // gone meanwhile, or of a user whose files we could not touch either
  }
}

/** Whether it was gone within `ms`. */
async function waitGone(identity: Identity, ms: number): Promise<boolean> {
  const end = performance.now() + ms;
  while (isAlive(identity)) {
    if (performance.now() > end) return false;
    await sleep(5);
  }
  return true;
}

// SIGINT disconnects everyone and ends clean; SIGQUIT costs a recovery at the next start; neither loses a commit.
const INSISTENCE: [NodeJS.Signals, number][] = [
  ['SIGINT', 30_000],
  ['SIGQUIT', 5_000],
  ['SIGKILL', 5_000],
];

/** Ends a postmaster; resolves with the signal that it took, or undefined when it was gone already. */
export async function terminate(identity: Identity): Promise<NodeJS.Signals | undefined> {
  for (const [signal, patienceMs] of INSISTENCE) {
    if (!signalTo(identity, signal)) return undefined;
    if (await waitGone(identity, patienceMs)) return signal;
  }
  throw new Error(`process ${identity.pid} does not end`);
}

/** False when it is gone. */
export function signalTo(identity: Identity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    return process.kill(identity.pid, signal);
  } catch {
    return false;
  }
}
