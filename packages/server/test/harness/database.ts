/** A database of its own for each test file (or test), copied from the run's migrated template. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { connect, type Database } from '../../src/store/database.ts';

export interface TestDatabase {
  readonly connection: {
    readonly host: string;
    readonly port: number;
    readonly user: string;
    readonly password?: string;
    readonly database: string;
  };
  /** For child processes: `DATABASE_URL`. */
  readonly url: string;
  readonly database: Database;
  /** A superuser's statement, for looking at what is stored. */
  readonly query: <Row extends pg.QueryResultRow>(text: string, values?: unknown[]) => Promise<Row[]>;
  /** Moves `carillon.now()` forward, for every process on this database. */
  readonly moveClock: (ms: number) => Promise<void>;
  readonly drop: () => Promise<void>;
}

export async function freshDatabase(): Promise<TestDatabase> {
  const { connection: server, template } = inject('server');
  const name = `carillon_${randomBytes(6).toString('hex')}`;
  await once({ ...server, database: 'postgres' }, `create database ${name} template ${template}`);
  const connection = { ...server, database: name };
  const database = connect({ connection, engineConnections: 8, apiConnections: 4, log: () => undefined });
  const looking = new pg.Pool({ ...connection, max: 3 });
  looking.on('error', () => undefined); // `drop … with (force)` ends connections that are still closing
  return {
    connection,
    url: urlOf(connection),
    database,
    query: async (text, values) => (await looking.query(text, values)).rows,
    moveClock: async (ms) => {
      await looking.query('update carillon.test_clock set shift = shift + make_interval(secs => $1::float8 / 1000)', [ms]);
    },
    drop: async () => {
      await database.close();
      await looking.end();
      await once({ ...server, database: 'postgres' }, `drop database ${name} with (force)`);
    },
  };
}

async function once(connection: pg.ClientConfig, text: string): Promise<void> {
  const client = new pg.Client(connection);
  await client.connect();
  await client.query(text).finally(() => client.end());
}

function urlOf({ host, port, user, password, database }: TestDatabase['connection']): string {
  const credentials = password ? `${encodeURIComponent(user)}:${encodeURIComponent(password)}` : encodeURIComponent(user);
  // A socket directory travels in the query: a URL's host cannot hold slashes.
  return host.startsWith('/')
    ? `postgres://${credentials}@/${database}?host=${encodeURIComponent(host)}&port=${port}`
    : `postgres://${credentials}@${host}:${port}/${database}`;
}
