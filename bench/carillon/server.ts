/** The product as anyone starts it, as a child process on a database of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { USERS, userId } from '../events.ts';
import { freePort } from '../free-port.ts';
import type { Target } from '../load.ts';
import { terminate } from '../processes.ts';
import type { Rig } from '../rig.ts';

export interface Carillon {
  readonly pid: number;
  readonly superuserUrl: string;
  /** What was written, beside all policies. */
  readonly look: (sql: string) => Promise<number>;
  readonly target: (path: string) => Target;
  readonly stop: () => Promise<void>;
}

/** As `npm start` runs it. */
const COMMAND = ['--max-semi-space-size=128', fileURLToPath(new URL('../../packages/server/bin/carillon.mjs', import.meta.url))];
const KEY = 'bench-key-of-the-default-tenant';
const READY_TIMEOUT_MS = 30_000;
const DRAIN_MS = 35_000;

/** Ready, with `USERS` users whose webhooks go to the receiver. `roles`: all when undefined. */
export async function startCarillon(rig: Rig, name: string, roles?: string): Promise<Carillon> {
  const { url, superuserUrl } = await rig.postgres.createProductDatabase(name);
  const port = await freePort();
  const { child, logFile } = spawnServer(rig, { name, databaseUrl: url, port, roles });
  const database = new pg.Client({ connectionString: superuserUrl });
  database.on('error', () => undefined); // the query that it broke rejects too
  const stop = async (): Promise<void> => {
    await terminate(child, 'SIGTERM', DRAIN_MS);
    await database.end();
  };
  try {
    await ready(child, port, logFile);
    await database.connect();
    await createUsers(port, rig.receiverUrl);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    pid: child.pid ?? 0,
    superuserUrl,
    look: async (sql) => Number((await database.query<{ n: string }>(`select (${sql}) as n`)).rows[0]?.n),
    target: (path) => ({ port, path, headers: { authorization: `Bearer ${KEY}` } }),
    stop,
  };
}

interface Spawn {
  readonly name: string;
  readonly databaseUrl: string;
  readonly port: number;
  readonly roles: string | undefined;
}

function spawnServer(rig: Rig, { name, databaseUrl, port, roles }: Spawn): { child: ChildProcess; logFile: string } {
  const folder = join(rig.directory, name); // no carillon.yaml of anyone's
  mkdirSync(folder);
  const logFile = join(folder, 'log');
  const log = openSync(logFile, 'a');
  const profile =
    rig.profileDirectory === undefined
      ? []
      : ['--cpu-prof', `--cpu-prof-dir=${rig.profileDirectory}`, `--cpu-prof-name=${name}.cpuprofile`];
  const child = spawn(process.execPath, [...profile, ...COMMAND, 'serve', ...(roles === undefined ? [] : ['--roles', roles])], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: databaseUrl,
      CARILLON_PORT: String(port),
      CARILLON_BOOTSTRAP_KEY: KEY,
      CARILLON_ENV: 'development', // webhooks may reach loopback
      CARILLON_LOG_LEVEL: 'warn',
    },
    stdio: ['ignore', log, log],
    detached: true, // Ctrl-C is for the bench, which stops it
  });
  closeSync(log);
  return { child, logFile };
}

async function ready(child: ChildProcess, port: number, logFile: string): Promise<void> {
  const endMs = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < endMs && child.exitCode === null) {
    const response = await fetch(`http://127.0.0.1:${port}/health/ready`).catch(() => undefined); // not listening yet
    if (response?.ok === true) return;
    await sleep(50);
  }
  throw new Error(`Carillon did not start:\n${readFileSync(logFile, 'utf8').slice(-4_000)}`);
}

async function createUsers(port: number, receiverUrl: string): Promise<void> {
  const users = Array.from({ length: USERS }, (_, index) => ({ id: userId(index), webhook_url: `${receiverUrl}/hook/${index}` }));
  const response = await fetch(`http://127.0.0.1:${port}/v1/users/batch`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${KEY}` },
    body: JSON.stringify(users),
  });
  const text = await response.text();
  if (!response.ok || text.includes('"error"')) throw new Error(`POST /v1/users/batch answered ${response.status}: ${text.slice(0, 500)}`);
}
