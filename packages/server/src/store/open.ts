/** Opens the database that the settings name, brought to this program's schema and checked. */
import pg from 'pg';
import { MAX_SKEW_MS, type Clock } from '../lib/clock.ts';
import { connect, type Database } from './database.ts';
import { returnAllLeases } from './deliveries.ts';
import { startEmbedded } from './embedded.ts';
import { raiseFloors } from './inbox-changes.ts';
import { migrate } from './migrate.ts';
import { maintainPartitions } from './partitions.ts';

type Log = (event: string, fields: Record<string, unknown>) => void;

export interface OpenOptions {
  /** An outside server; undefined: an embedded one in `dataDir`. */
  readonly url: string | undefined;
  readonly dataDir: string;
  readonly production: boolean;
  readonly retentionDays: number;
  readonly connections: { readonly engine: number; readonly api: number };
  readonly clock: Clock;
  readonly log: Log;
}

export interface Opened {
  readonly database: Database;
  /** Nobody else can be using it: the directory is locked. */
  readonly exclusive: boolean;
  /** Makes partitions ahead, and drops what is older than the retention. */
  readonly maintain: () => Promise<void>;
  /** Follows the database's clock. */
  readonly followClock: () => Promise<void>;
  readonly close: () => Promise<void>;
}

/** The server works, and must not be used as it is. The message says what to do. */
export class UnfitDatabase extends Error {}

/** Throws with what to do when the server, its settings or its schema are not fit. Then nothing is left running. */
export async function openDatabase(options: OpenOptions): Promise<Opened> {
  const { connection, exclusive, stopServer } = await bringUp(options);
  const { clock, connections, log } = options;
  const database = connect({ connection, engineConnections: connections.engine, apiConnections: connections.api, log });
  const close = async () => {
    await database.close();
    await stopServer();
  };
  const maintain = () => maintained(connection, options);
  const followClock = () => follow(database, clock);
  try {
    await followClock();
    await maintain();
    if (exclusive) await returnAllLeases(database.engine);
    return { database, exclusive, maintain, followClock, close };
  } catch (error) {
    await close();
    throw error;
  }
}

interface Server {
  readonly connection: pg.ClientConfig;
  readonly exclusive: boolean;
  readonly stopServer: () => Promise<void>;
}

async function bringUp({ url, dataDir, production, log }: OpenOptions): Promise<Server> {
  if (url !== undefined) {
    const connection = { connectionString: url };
    await inspect(connection, production, log);
    await migrate(connection);
    return { connection, exclusive: false, stopServer: () => Promise.resolve() };
  }
  const server = await startEmbedded({ dataDir, log });
  try {
    await migrate(server.connection);
    await letEngineIn(server.connection);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return { connection: { ...server.connection, user: 'carillon_engine' }, exclusive: true, stopServer: server.stop };
}

/** A superuser passes by every policy: the embedded server is used as the engine's own role. */
async function letEngineIn(connection: pg.ClientConfig): Promise<void> {
  await withClient(connection, (client) => client.query('alter role carillon_engine login; grant carillon_api to carillon_engine'));
}

const DURABILITY = ['fsync', 'full_page_writes', 'synchronous_commit'] as const;

/** An outside server may be set up to lose what it has confirmed, or to pass by the policies. */
async function inspect(connection: pg.ClientConfig, production: boolean, log: Log): Promise<void> {
  await withClient(connection, async (client) => {
    const { rows } = await client.query<{ name: string; setting: string }>('select name, setting from pg_settings where name = any($1)', [
      DURABILITY,
    ]);
    const off = rows.filter((row) => row.setting === 'off').map((row) => row.name);
    if (off.length > 0 && production)
      throw new UnfitDatabase(`the database server loses confirmed transactions when it fails: set ${off.join(', ')} to on`);
    if (off.length > 0) log('database.not-durable', { settings: off });
    const { rows: roles } = await client.query<{ rolsuper: boolean }>('select rolsuper from pg_roles where rolname = current_user');
    if (roles[0]?.rolsuper)
      log('database.superuser', { hint: 'A superuser passes by row-level security in the engine; use a role of its own.' });
  });
}

async function maintained(connection: pg.ClientConfig, { retentionDays, log }: OpenOptions): Promise<void> {
  const { made, dropped, postponed } = await maintainPartitions(connection, { retentionDays, beforeDrop: raiseFloors });
  if (made.length + dropped.length + postponed.length > 0) log('database.partitions', { made: made.length, dropped, postponed });
}

async function follow(database: Database, clock: Clock): Promise<void> {
  const { rows } = await database.engine.query<{ now: Date; real: Date }>({
    name: 'clock',
    text: 'select carillon.now() as now, clock_timestamp() as real',
    values: [],
  });
  const [row] = rows;
  if (!row) throw new Error('the database gave no time');
  const skewMs = Math.abs(row.real.getTime() - clock.machine().getTime());
  if (skewMs > MAX_SKEW_MS)
    throw new UnfitDatabase(`this machine's clock and the database's are ${Math.round(skewMs / 1_000)} s apart: set them by NTP`);
  clock.follow(row.now);
}

async function withClient<T>(connection: pg.ClientConfig, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ ...connection, application_name: 'carillon-start' });
  client.on('error', () => undefined); // the statement that it broke rejects too
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
