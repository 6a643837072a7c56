/** One postmaster: started, waited for, or taken over from a process that was killed. */
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { privateDirectory } from './embedded-account.ts';
import { treeParents } from './embedded-binaries.ts';
import { dataArgument, failure, PORT, startProgram, type Place } from './embedded-cluster.ts';
import { codeOf, EmbeddedError } from './embedded-error.ts';
import { identify, isAlive, parentOf, postgresIn, signalTo, terminate, type Identity, type PostgresProcess } from './embedded-process.ts';

export interface Server extends Identity {
  /** Resolves when it has ended, with what is known about the end. */
  readonly gone: Promise<{ status: number | null; signal: NodeJS.Signals | null }>;
}

export type Settings = Readonly<Record<string, string>>;

const DATABASE = 'carillon';
const READY_MS = 300_000; // a recovery after a kill replays up to max_wal_size
const POLL_MS = 10;
const LINGER_MS = 10_000; // what a killed postmaster leaves ends by itself within milliseconds
const LOG_BYTES = 10 * 1024 * 1024;

const SETTINGS: Settings = {
  listen_addresses: '',
  port: String(PORT),
  cluster_name: 'carillon',
  max_connections: '50',
  shared_buffers: '32MB',
  huge_pages: 'off', // of no use at this size, and a container's limit on them kills the server
  io_method: 'sync', // three processes fewer
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  wal_level: 'minimal',
  max_wal_senders: '0',
  max_logical_replication_workers: '0',
  wal_compression: 'on', // pglz: the binaries have no lz4
  max_wal_size: '1GB',
  checkpoint_timeout: '15min',
  jit: 'off',
  autovacuum: 'on',
  autovacuum_naptime: '30s',
  log_min_messages: 'warning',
};

function serverArgs(place: Place, extra: Settings): string[] {
  const settings = { ...SETTINGS, ...extra, unix_socket_directories: place.socketDir };
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

export function connectionOf({ socketDir }: Place): { host: string; port: number; user: string; database: string } {
  return { host: socketDir, port: PORT, user: 'postgres', database: DATABASE };
}

/** Ready for queries when it resolves. Rejects with an EmbeddedError, or with the reason of `signal`; then nothing runs. */
export async function launch(place: Place, settings: Settings, signal: AbortSignal): Promise<Server> {
  const end = performance.now() + LINGER_MS;
  for (;;) {
    await clearRemains(place);
    try {
      return await launchOnce(place, settings, signal);
    } catch (error) {
      const lingering =
        error instanceof EmbeddedError && /lock file .* already exists|pre-existing shared memory block/.test(error.message);
      if (!lingering || performance.now() > end) throw error;
    }
    await sleep(100, undefined, { signal });
  }
}

async function launchOnce(place: Place, settings: Settings, signal: AbortSignal): Promise<Server> {
  const { descriptor, from } = openLog(place.log);
  const child = startProgram(place, { program: 'postgres', directory: place.data, args: serverArgs(place, settings), output: descriptor });
  closeSync(descriptor);
  const { pid } = child;
  if (pid === undefined) throw (await once(child, 'error'))[0];
  const gone = new Promise<Awaited<Server['gone']>>((resolve) => child.once('exit', (status, how) => resolve({ status, signal: how })));
  child.unref(); // a server must not keep a process alive that has nothing else to do
  const server = { ...(identify(pid) ?? { pid, startedAt: '' }), gone };
  try {
    if (await becomesReady(place, server, signal)) return server;
  } catch (error) {
    await terminate(server);
    throw error;
  }
  await terminate(server);
  throw failure(place, 'PostgreSQL did not start', readFileSync(place.log).subarray(from).toString());
}

/** Appends; `from` is where the next server's lines begin. */
function openLog(path: string): { descriptor: number; from: number } {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > LOG_BYTES) renameSync(path, `${path}.1`);
  return { descriptor: openSync(path, 'a', 0o600), from: size > LOG_BYTES ? 0 : size };
}

/** False when it ended, or did not get ready in time. */
async function becomesReady(place: Place, server: Identity, signal: AbortSignal): Promise<boolean> {
  const end = performance.now() + READY_MS;
  while (isAlive(server) && performance.now() < end) {
    signal.throwIfAborted();
    if (await answers(place, server)) return true;
    await sleep(POLL_MS);
  }
  return false;
}

const NOT_YET = ['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE', '57P03', '57P01', '53300']; // 5…: starting, stopping, no connection free

const WHO = {
  text: `select current_setting('data_directory') as data, pg_backend_pid() as backend,
           exists (select from pg_database where datname = $1) as complete`,
  values: [DATABASE],
};

/** Whether this very process serves our data directory. Makes the database when it is missing. */
async function answers(place: Place, server: Identity): Promise<boolean> {
  if (!saysReady(place)) return false; // asked any earlier, it would fill its log with refusals
  const client = new pg.Client({ ...connectionOf(place), database: 'postgres', ssl: false, connectionTimeoutMillis: 5_000 }); // whatever PGSSLMODE says
  client.on('error', () => undefined); // the call that it broke rejects too
  try {
    await client.connect();
    const { rows } = await client.query<{ data: string; backend: number; complete: boolean }>(WHO);
    const [row] = rows;
    if (row?.data !== dataArgument(place) || parentOf(row.backend) !== server.pid) return false;
    if (!row.complete) await client.query(`create database ${DATABASE}`);
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code !== '' && !NOT_YET.includes(code)) throw error;
    return false; // without a code: the connection ended in the middle of its start
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Line 8 of postmaster.pid is the server's state. */
function saysReady({ data }: Place): boolean {
  return postmasterFile(data)[7]?.trim() === 'ready';
}

function postmasterFile(data: string): string[] {
  try {
    return readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n');
  } catch {
    return []; // none was running, or it has only begun
  }
}

/** A server left by a killed process: ours and as we would start it, it is taken over; else it is ended. */
export async function takeOver(place: Place, settings: Settings, signal: AbortSignal): Promise<Server | undefined> {
  const left = leftPostmaster(place);
  if (!left) return undefined;
  const home = treeParents(place.root, place.account).find((parent) => left.exe.startsWith(parent + sep));
  if (home === undefined) {
    const problem = `Another PostgreSQL (process ${left.pid}, ${left.exe}) runs on ${place.data}.`;
    throw new EmbeddedError('directory_in_use', problem, 'Stop it, then start again.');
  }
  const wanted = ['-D', dataArgument(place), ...serverArgs(place, settings)];
  const same = left.exe === join(place.tree, 'bin', 'postgres') && left.args.join('\0') === wanted.join('\0');
  if (same && (await becomesReady(place, left, signal))) return { ...left, gone: watch(left) };
  await terminate(left);
  return undefined;
}

/** `-D` tells a postmaster that has not written its file yet from a backend, which has overwritten its arguments. */
function leftPostmaster({ data }: Place): PostgresProcess | undefined {
  const found = postgresIn(data);
  const recorded = Number(postmasterFile(data)[0]);
  return found.find(({ pid }) => pid === recorded) ?? found.find(({ args }) => args[0] === '-D');
}

async function watch(server: Identity): Promise<Awaited<Server['gone']>> {
  while (isAlive(server)) await sleep(100, undefined, { ref: false });
  return { status: null, signal: null }; // not our child: nobody tells us
}

/**
 * What a dead postmaster left. Its file names a pid that a zombie or a stranger may hold, and PostgreSQL would refuse to
 * start for either; it is removed only once no PostgreSQL process works in the directory any more.
 */
async function clearRemains({ data, socketDir, account }: Place): Promise<void> {
  const end = performance.now() + LINGER_MS;
  for (let left = postgresIn(data); left.length > 0; left = postgresIn(data)) {
    if (performance.now() > end) for (const orphan of left) signalTo(orphan, 'SIGKILL');
    await sleep(POLL_MS);
  }
  rmSync(join(data, 'postmaster.pid'), { force: true });
  privateDirectory(socketDir, account); // a cleaner of temporary files may have taken it
  for (const name of readdirSync(socketDir)) rmSync(join(socketDir, name), { force: true });
}
