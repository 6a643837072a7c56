/** The product as real processes, for tests that kill, stop and continue them. Everything is on the loopback interface. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { identify, postgresIn, signalTo } from '../../src/store/embedded-process.ts';

const CARILLON = join(import.meta.dirname, '../../bin/carillon.mjs');
const OWNER = join(import.meta.dirname, '../integration/fixtures/embedded-owner.ts');
export const KEY = 'cn_live_of_the_chaos_tests';

/** One line of a process's log. */
export type LogLine = { readonly event: string } & Readonly<Record<string, unknown>>;

export interface Carillon {
  readonly url: string;
  readonly pid: number;
  /** What it has logged. The last 200 ms before a SIGKILL are not in it. */
  readonly logged: readonly LogLine[];
  readonly stderr: () => string;
  readonly signal: (signal: NodeJS.Signals) => void;
  /** Resolves with the exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  /** Resolves when it listens; rejects with its standard error when it ends before. */
  readonly ready: Promise<void>;
}

/** Settings by environment name. `CARILLON_PORT` must be one that is free: the address is the same after a restart. */
export function spawnCarillon(settings: Readonly<Record<string, string>>): Carillon {
  const env = { PATH: process.env.PATH, CARILLON_BOOTSTRAP_KEY: KEY, ...settings };
  const child = spawn(process.execPath, [CARILLON, 'serve'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  cleanups.push(() => child.kill('SIGKILL'));
  const logged: LogLine[] = [];
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  const ready = new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('{')) logged.push(JSON.parse(line) as LogLine);
      else if (line.startsWith('Carillon listens')) resolve();
    });
    void ended.then((how) => {
      reject(new Error(`carillon ended with ${how} before it was ready: ${stderr}`));
    });
  });
  ready.catch(() => undefined); // the caller may be about to kill it
  const url = `http://127.0.0.1:${settings.CARILLON_PORT!}`;
  return { url, pid: child.pid!, logged, stderr: () => stderr, signal: (signal) => child.kill(signal), ended, ready };
}

const cleanups: (() => unknown)[] = [];

/** For afterAll: ends whatever was started here. */
export async function endProcesses(): Promise<void> {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A data directory that does not exist yet; what runs in it ends with the tests. */
export function freshDataDir(): string {
  const home = mkdtempSync(join(tmpdir(), 'carillon-chaos-'));
  chmodSync(home, 0o755);
  const dataDir = join(home, 'data');
  cleanups.push(() => {
    const socketDir = postmasterFile(dataDir)[4];
    signalPostgres(dataDir, 'SIGKILL');
    if (socketDir) rmSync(socketDir, { recursive: true, force: true });
    rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  });
  return dataDir;
}

/** Undefined while none runs. */
export function postmasterOf(dataDir: string): number | undefined {
  return identify(Number(postmasterFile(dataDir)[0]))?.pid;
}

/** First the pid, fifth the directory of its socket; empty when there is none. */
function postmasterFile(dataDir: string): string[] {
  try {
    return readFileSync(join(dataDir, 'pg/postmaster.pid'), 'utf8').split('\n');
  } catch {
    return [];
  }
}

/** All PostgreSQL processes of a directory, backends included. Returns how many there were. */
function signalPostgres(dataDir: string, signal: NodeJS.Signals): number {
  if (!statSync(join(dataDir, 'pg'), { throwIfNoEntry: false })) return 0;
  const found = postgresIn(join(dataDir, 'pg'));
  for (const identity of found) signalTo(identity, signal);
  return found.length;
}

/** A PostgreSQL that Carillon knows by its URL only: another process holds it, as it would be on another machine. */
export interface OutsidePostgres {
  readonly createDatabase: (
    name: string,
  ) => Promise<{ readonly url: string; readonly query: <Row extends pg.QueryResultRow>(text: string) => Promise<Row[]> }>;
  /** Gone until `comeBack`: connections break, and nobody answers. */
  readonly goAway: () => void;
  readonly comeBack: () => Promise<void>;
  /** Still there, and silent: as behind a network that swallows everything. */
  readonly freeze: () => void;
  readonly thaw: () => void;
  readonly postmaster: () => number | undefined;
}

export async function startOutsidePostgres(): Promise<OutsidePostgres> {
  const dataDir = freshDataDir();
  const owner = spawn(process.execPath, [OWNER, dataDir], { stdio: ['ignore', 'pipe', 'inherit'] });
  cleanups.push(() => owner.kill('SIGKILL'));
  const { connection } = await ready(owner);
  const admin = { ...connection, database: 'postgres', ssl: false };
  cleanups.push(() => {
    rmSync(connection.host, { recursive: true, force: true });
  });
  return {
    createDatabase: async (name) => {
      await statement(admin, `create database ${name}`);
      const url = `postgres:///${name}?user=${connection.user}&host=${encodeURIComponent(connection.host)}&port=${connection.port}`;
      return { url, query: (text) => statement({ ...admin, database: name }, text) };
    },
    goAway: () => {
      owner.kill('SIGSTOP'); // it would start it again
      signalPostgres(dataDir, 'SIGKILL');
    },
    comeBack: async () => {
      owner.kill('SIGCONT');
      await answering(admin);
    },
    freeze: () => {
      signalPostgres(dataDir, 'SIGSTOP');
    },
    thaw: () => {
      signalPostgres(dataDir, 'SIGCONT');
    },
    postmaster: () => postmasterOf(dataDir),
  };
}

interface Connection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
}

async function ready(owner: ChildProcess): Promise<{ connection: Connection }> {
  const lines = createInterface({ input: owner.stdout! });
  return new Promise((resolve, reject) => {
    lines.on('line', (line) => {
      const said = JSON.parse(line) as { event: string; message?: string; connection: Connection };
      if (said.event === 'ready') resolve(said);
      if (said.event === 'failed') reject(new Error(said.message));
    });
    owner.once('exit', () => {
      reject(new Error('the outside PostgreSQL ended before it was ready'));
    });
  });
}

async function answering(connection: pg.ClientConfig): Promise<void> {
  for (;;) {
    try {
      await statement(connection, 'select 1');
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

async function statement<Row extends pg.QueryResultRow>(connection: pg.ClientConfig, text: string): Promise<Row[]> {
  const client = new pg.Client(connection);
  client.on('error', () => undefined); // the call that it broke rejects too
  await client.connect();
  return client
    .query<Row>(text)
    .then(({ rows }) => rows)
    .finally(() => client.end().catch(() => undefined));
}
