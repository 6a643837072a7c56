/** Bench processes: started, asked, stopped, and their CPU time read from /proc. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import type { Reply } from './commands.ts';

export interface Child {
  readonly pid: number;
  /** Rejects with the child's error, when it ends, or after `timeoutMs`. */
  readonly call: <T>(command: string, argument?: unknown, timeoutMs?: number) => Promise<T>;
  readonly stop: () => Promise<void>;
}

const CALL_TIMEOUT_MS = 120_000;

interface Pending {
  readonly resolve: (result: never) => void;
  readonly reject: (error: Error) => void;
}

export function startChild(file: URL): Child {
  const child = fork(file, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [] });
  const pending = new Map<number, Pending>();
  let lastId = 0;

  child.on('message', (message) => {
    const { id, result, error } = message as Reply;
    const waiting = pending.get(id);
    pending.delete(id);
    if (error === undefined) waiting?.resolve(result as never);
    else waiting?.reject(new Error(error));
  });
  child.on('exit', (code, signal) => {
    for (const { reject } of pending.values()) reject(new Error(`${file.pathname} ended: ${String(signal ?? code)}`));
    pending.clear();
  });

  async function call<T>(command: string, argument?: unknown, timeoutMs = CALL_TIMEOUT_MS): Promise<T> {
    const id = ++lastId;
    let timer: NodeJS.Timeout | undefined;
    const answered = new Promise<T>((resolve, reject) => {
      pending.set(id, { resolve, reject });
      timer = setTimeout(() => reject(new Error(`${file.pathname}: no answer to ${command} within ${timeoutMs / 1000} s`)), timeoutMs);
      child.send({ id, command, argument });
    });
    return answered.finally(() => {
      clearTimeout(timer);
      pending.delete(id);
    });
  }

  return { pid: child.pid ?? 0, call, stop: () => terminate(child, 'SIGTERM', 5_000) };
}

/** Resolves when the process is gone; killed when it has not gone after `graceMs`. */
export async function terminate(child: ChildProcess, signal: NodeJS.Signals, graceMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
  child.kill(signal);
  await gone;
  clearTimeout(timer);
}

/** Process ids by the name to show them under; `postgres` is the postmaster and stands for all its children. */
export type Pids = Readonly<Record<string, number>>;

/** Seconds of CPU, user and system, since the call, by name. Empty where there is no /proc. */
export function startCpuMeter(pids: Pids): () => Readonly<Record<string, number>> {
  const before = readAll(pids);
  return () => {
    const after = readAll(pids);
    return Object.fromEntries(Object.keys(before).map((name) => [name, (after[name] ?? 0) - (before[name] ?? 0)]));
  };
}

function readAll(pids: Pids): Record<string, number> {
  const entries = Object.entries(pids).map(
    ([name, pid]) => [name, name === 'postgres' ? treeSeconds(pid) : statOf(pid)?.ownSeconds] as const,
  );
  return Object.fromEntries(entries.filter((entry): entry is [string, number] => entry[1] !== undefined));
}

/** A child that has ended counts in its parent's share of waited-for children. */
function treeSeconds(pid: number): number | undefined {
  const root = statOf(pid);
  if (!root) return undefined;
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => statOf(Number(name)))
    .filter((stat) => stat?.parent === pid);
  return children.reduce((sum, stat) => sum + (stat?.ownSeconds ?? 0), root.ownSeconds + root.waitedSeconds);
}

interface Stat {
  readonly parent: number;
  readonly ownSeconds: number;
  readonly waitedSeconds: number;
}

/** Ticks of /proc are hundredths of a second on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** proc(5): fields after the command's closing parenthesis, which starts at field 3. */
export function statOf(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const seconds = (first: number): number => ((fields[first - 3] ?? 0) + (fields[first - 2] ?? 0)) / TICKS_PER_SECOND;
    return { parent: fields[1] ?? 0, ownSeconds: seconds(14), waitedSeconds: seconds(16) };
  } catch {
    return undefined; // gone, or no /proc
  }
}
