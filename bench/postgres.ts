/** The one PostgreSQL that references and Carillon share: an embedded one with fsync on, or the server in DATABASE_URL. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import pg from 'pg';
import { startEmbedded } from '../packages/server/src/store/embedded.ts';
import { rolesSql } from '../packages/server/src/store/migrate.ts';
import { statOf } from './processes.ts';

export interface Postgres {
  readonly version: string;
  /** `on` unless somebody's server says otherwise. */
  readonly durability: string;
  /** Undefined on another machine. */
  readonly pid: number | undefined;
  /** An empty one; resolves with its URL, as superuser. */
  readonly createDatabase: (name: string) => Promise<string>;
  /** One for Carillon, used as in production: by a role that row-level security applies to. */
  readonly createProductDatabase: (name: string) => Promise<ProductDatabase>;
  /** So that nobody pays for what the one before has written. */
  readonly settle: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

export interface ProductDatabase {
  readonly url: string;
  readonly superuserUrl: string;
}

export async function startPostgres(directory: string, url: string | undefined): Promise<Postgres> {
  if (url !== undefined)
    return onServer(
      (database) => withDatabase(url, database),
      () => Promise.resolve(),
    );
  const embedded = await startEmbedded({ dataDir: join(directory, 'postgres'), log: () => undefined });
  const { host, port, user } = embedded.connection;
  const urlOf = (database: string): string => `postgres://${user}@localhost:${port}/${database}?host=${encodeURIComponent(host)}`;
  return onServer(urlOf, embedded.stop);
}

function withDatabase(url: string, database: string): string {
  const copy = new URL(url);
  copy.pathname = `/${database}`;
  return copy.href;
}

async function onServer(urlOf: (database: string) => string, stopServer: () => Promise<void>): Promise<Postgres> {
  const admin = new pg.Client({ connectionString: urlOf('postgres') });
  admin.on('error', () => undefined); // the query that it broke rejects too
  try {
    await admin.connect();
    const { rows } = await admin.query<{ version: string; fsync: string; synchronous: string; backend: number }>(
      "select current_setting('server_version') as version, current_setting('fsync') as fsync, current_setting('synchronous_commit') as synchronous, pg_backend_pid() as backend",
    );
    const { version = '', fsync = '', synchronous = '', backend = 0 } = rows[0] ?? {};
    const { createDatabase, createProductDatabase, drop } = makeDatabases(admin, urlOf);
    return {
      version,
      durability: `fsync ${fsync}, synchronous_commit ${synchronous}`,
      pid: postmasterOf(backend),
      createDatabase,
      createProductDatabase,
      settle: async () => {
        await admin.query('checkpoint');
      },
      stop: async () => {
        await drop();
        await admin.end();
        await stopServer();
      },
    };
  } catch (error) {
    await admin.end().catch(() => undefined); // the first error says why
    await stopServer();
    throw error;
  }
}

function makeDatabases(admin: pg.Client, urlOf: (database: string) => string) {
  const prefix = `carillon_bench_${randomBytes(3).toString('hex')}`;
  const password = randomBytes(16).toString('hex');
  const created: string[] = [];
  let role: string | undefined;

  const createDatabase = async (name: string): Promise<string> => {
    const database = `${prefix}_${name}`;
    await admin.query(`create database ${database}`);
    created.push(database);
    return urlOf(database);
  };
  const createProductDatabase = async (name: string): Promise<ProductDatabase> => {
    const superuserUrl = await createDatabase(name);
    if (role === undefined) await admin.query(`create role ${prefix} login password '${password}'`);
    role = prefix;
    await runIn(superuserUrl, rolesSql(prefix));
    const url = new URL(superuserUrl);
    url.username = prefix;
    url.password = password;
    return { url: url.href, superuserUrl };
  };
  const drop = async (): Promise<void> => {
    for (const database of created) await admin.query(`drop database if exists ${database} with (force)`);
    if (role !== undefined) await admin.query(`drop role ${role}`);
  };
  return { createDatabase, createProductDatabase, drop };
}

async function runIn(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(sql).finally(() => client.end());
}

/** A backend's process id is of the server's machine: only a postgres here that has a postgres for a parent will do. */
function postmasterOf(backend: number): number | undefined {
  const parent = statOf(backend)?.parent;
  return parent !== undefined && parent > 1 ? parent : undefined;
}
