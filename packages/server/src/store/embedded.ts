/**
 * A PostgreSQL server of our own on a Unix socket, in one directory.
 *
 * It lives as long as this process: a postmaster that dies is started again, `stop` ends it clean, and one that outlived a
 * killed process is taken over by the next. docs/adr/0002-embedded-postgresql.md has the reasons.
 */
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { prepareRoot } from './embedded-account.ts';
import { installedPackage, removeOldTrees, type Package } from './embedded-binaries.ts';
import { adjustCluster, arrange, clusterExists, createCluster, type Place } from './embedded-cluster.ts';
import { asEmbeddedError, unsupported } from './embedded-error.ts';
import { acquireLock } from './embedded-lock.ts';
import { signalTo, terminate } from './embedded-process.ts';
import { connectionOf, launch, takeOver, type Server, type Settings } from './embedded-server.ts';

export { EmbeddedError } from './embedded-error.ts';

export interface EmbeddedOptions {
  readonly dataDir: string;
  readonly now?: never;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  /** Further settings of postgresql.conf; they win over ours. */
  readonly settings?: Settings;
}

export interface Embedded {
  /** For pg: `host` is the directory of a Unix socket. `postgres` is a superuser. */
  readonly connection: { readonly host: string; readonly port: number; readonly user: string; readonly database: string };
  /** Of the postmaster now. */
  readonly pid: () => number;
  /** True when a server left by a killed process was taken over. */
  readonly adopted: boolean;
  /** Disconnects everyone, resolves when the server is gone, and frees the directory. */
  readonly stop: () => Promise<void>;
}

/** Ready for queries when it resolves. Rejects with an EmbeddedError, and then nothing is left running or locked. */
export async function startEmbedded(
  options: EmbeddedOptions,
  findPackage: () => Package | undefined = installedPackage,
): Promise<Embedded> {
  try {
    const source = findPackage();
    if (!source) throw unsupported(`${process.platform}-${process.arch}`);
    return await lockAndStart(options, source);
  } catch (error) {
    throw asEmbeddedError(error, options.dataDir);
  }
}

async function lockAndStart(options: EmbeddedOptions, source: Package): Promise<Embedded> {
  const root = prepareRoot(options.dataDir);
  const lock = acquireLock(root);
  try {
    const exists = clusterExists({ root }, source.major);
    const place = arrange(root, source);
    const { server, adopted } = await bringUp(place, exists, options).catch((error: unknown) => {
      removeSocketDirectory(place);
      throw error;
    });
    removeOldTrees(place.tree, root);
    const { pid, stop } = keepRunning(place, server, options);
    return { connection: connectionOf(place), pid, adopted, stop: once(() => stop().finally(lock.release)) };
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function bringUp(
  place: Place,
  exists: boolean,
  { log, settings = {} }: EmbeddedOptions,
): Promise<{ server: Server; adopted: boolean }> {
  const startedAt = performance.now();
  const never = new AbortController().signal;
  const left = exists ? await takeOver(place, settings, never) : undefined;
  if (exists) adjustCluster(place);
  else await createCluster(place);
  const server = left ?? (await launch(place, settings, never));
  const durationMs = Math.round(performance.now() - startedAt);
  log('postgres.started', { pid: server.pid, created: !exists, adopted: left !== undefined, durationMs });
  return { server, adopted: left !== undefined };
}

const QUICK_DEATH_MS = 10_000;
const LONGEST_PAUSE_MS = 5_000;

/** Starts the server again whenever it ends, until `stop`. */
function keepRunning(place: Place, first: Server, { log, settings = {} }: EmbeddedOptions): Pick<Embedded, 'pid' | 'stop'> {
  const stopping = new AbortController();
  let current = first;
  // The last resort when the process ends without `stop`: the server is told, and ends clean by itself.
  const onExit = (): void => void signalTo(current, 'SIGINT');
  process.on('exit', onExit);

  const stopped = new Promise<'stopped'>((resolve) => stopping.signal.addEventListener('abort', () => resolve('stopped')));
  const supervise = async (): Promise<void> => {
    let failures = 0;
    for (;;) {
      const upSince = performance.now();
      const end = await Promise.race([current.gone, stopped]);
      if (end === 'stopped') return;
      log('postgres.exited', { pid: current.pid, ...end });
      failures = performance.now() - upSince < QUICK_DEATH_MS ? failures + 1 : 0;
      const next = await relaunch(place, settings, { log, failures, signal: stopping.signal });
      if (!next) return;
      current = next;
      log('postgres.restarted', { pid: current.pid });
    }
  };
  const supervising = supervise();

  const stop = async (): Promise<void> => {
    stopping.abort();
    await supervising;
    const signal = await terminate(current);
    process.off('exit', onExit);
    removeSocketDirectory(place);
    log('postgres.stopped', { pid: current.pid, signal });
  };
  return { pid: () => current.pid, stop };
}

interface Relaunch {
  readonly log: EmbeddedOptions['log'];
  /** Ends in a row: the pause before the next try doubles with each. */
  readonly failures: number;
  readonly signal: AbortSignal;
}

/** Tries until it runs; undefined once `signal` says stop. */
async function relaunch(place: Place, settings: Settings, { log, failures, signal }: Relaunch): Promise<Server | undefined> {
  for (let failed = failures; ; failed++) {
    try {
      if (failed > 1) await sleep(Math.min(LONGEST_PAUSE_MS, 50 * 2 ** failed), undefined, { signal });
      return await launch(place, settings, signal);
    } catch (error) {
      if (signal.aborted) return undefined;
      log('postgres.restart-failed', { error });
    }
  }
}

function removeSocketDirectory({ socketDir }: Place): void {
  rmSync(socketDir, { recursive: true, force: true });
}

function once<T>(work: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => (result ??= work());
}
