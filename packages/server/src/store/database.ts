/** Connections, transactions and who one is in them. Only store/ knows the driver. */
import { Socket } from 'node:net';
import pg from 'pg';
import type { Tx } from '../domain/event.ts';

/** A pool or a transaction: whatever can run one statement. The caller decides which. */
export interface Queryable {
  readonly query: <Row>(statement: Statement) => Promise<{ rows: Row[]; rowCount: number }>;
}

/** Prepared by name: one name, one text. */
export interface Statement {
  readonly name: string;
  readonly text: string;
  readonly values: unknown[];
}

export interface Database {
  /** One statement, committed by itself, as `carillon_engine`: for all tenants. */
  readonly engine: Queryable;
  /** As `carillon_engine`. Statements are pipelined: those issued in one tick travel together. */
  readonly transaction: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;
  /** As `carillon_api`: row-level security shows this one tenant. */
  readonly asTenant: <T>(tenantId: string, work: (tx: Tx) => Promise<T>) => Promise<T>;
  /** A connection of its own that no pooler shares; made again when it breaks. `onUp` is called after each (re)connect. */
  readonly listen: (channel: string, onHint: (payload: string) => void, onUp: () => void) => { close: () => Promise<void> };
  readonly close: () => Promise<void>;
}

/** The database said ROLLBACK to our COMMIT: a statement had failed and its error was swallowed. Nothing was written. */
export class TransactionAborted extends Error {}
/** A statement came after its transaction had ended. */
class TransactionEnded extends Error {}
/** The answer to COMMIT was lost: it may or may not have been written. */
export class CommitUnknown extends Error {}

export interface DatabaseOptions {
  readonly connection: pg.ClientConfig;
  readonly engineConnections: number;
  readonly apiConnections: number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

// Local to the transaction, so that a pooler in between sees no session state. Plans are made once: with 30 partitions planning a
// statement costs more than running it, and what a generic plan must not do is held by test/integration/plans.test.ts. Compiling one
// takes a second: 30 partitions make it look expensive.
const BEGIN_ENGINE =
  "begin; set local lock_timeout = '1s'; set local idle_in_transaction_session_timeout = '5s'; set local plan_cache_mode = 'force_generic_plan'; set local jit = off";
const BEGIN_API = `${BEGIN_ENGINE}; set local role carillon_api`;
const SET_TENANT = { name: 'set-tenant', text: "select set_config('carillon.tenant', $1, true)" };

/** A database that says nothing for so long counts as away: frozen, or behind a network that swallows everything. */
const ANSWER_MS = 10_000;
const UNANSWERED = 'Query read timeout';

/** int8 as a number: sequences and counts stay far below 2^53. */
const types = new pg.TypeOverrides();
types.setTypeParser(pg.types.builtins.INT8, Number);

export function connect({ connection, engineConnections, apiConnections, log }: DatabaseOptions): Database {
  const shared: pg.PoolConfig = {
    ...connection,
    types,
    pipeline: true,
    stream: gatheringSocket,
    connectionTimeoutMillis: 5_000,
    query_timeout: ANSWER_MS,
    keepAlive: true,
  };
  const engine = new pg.Pool({ ...shared, max: engineConnections, application_name: 'carillon' });
  const api = new pg.Pool({ ...shared, max: apiConnections, application_name: 'carillon-api' });
  let closing = false;
  for (const pool of [engine, api]) {
    pool.on('error', (error) => {
      if (!closing) log('database.connection-lost', { error });
    });
    // The pool listens to idle connections only. One that breaks while it is used fails its statements; unheard, it would end the process.
    pool.on('connect', (client) => client.on('error', () => undefined));
  }

  return {
    engine: { query: (statement) => runAlone(engine, statement) },
    transaction: (work) => inTransaction(engine, (client) => client.query(BEGIN_ENGINE), work),
    asTenant: (tenantId, work) =>
      inTransaction(api, (client) => Promise.all([client.query(BEGIN_API), client.query({ ...SET_TENANT, values: [tenantId] })]), work),
    listen: (channel, onHint, onUp) => listen({ ...connection }, { channel, onHint, onUp, log }),
    close: async () => {
      closing = true;
      await Promise.all([engine.end(), api.end()]);
    },
  };
}

/** Statements issued in one tick leave in one system call: begin and what follows it, the inserts of a batch. */
function gatheringSocket(): Socket {
  const socket = new Socket();
  // Not before: connecting puts Node's own `write` back.
  socket.once('connect', () => {
    gatherWrites(socket);
  });
  return socket;
}

function gatherWrites(socket: Socket): void {
  const write = socket.write.bind(socket) as (...values: unknown[]) => boolean;
  let gathering = false;
  const leave = () => {
    gathering = false;
    socket.uncork();
  };
  socket.write = (...values: unknown[]) => {
    if (!gathering) {
      gathering = true;
      socket.cork();
      process.nextTick(leave);
    }
    return write(...values);
  };
}

/** A transaction's statements. Only store/ may look inside a Tx. */
export function within(tx: Tx): Queryable {
  return tx as unknown as Queryable;
}

/** From here on a statement of this transaction that writes is refused. */
export async function readOnly(tx: Tx): Promise<void> {
  await within(tx).query({ name: 'read-only', text: "select set_config('transaction_read_only', 'on', true)", values: [] });
}

/** A transaction of one statement, in one round trip. */
async function runAlone<Row>(pool: pg.Pool, statement: Statement): Promise<{ rows: Row[]; rowCount: number }> {
  const client = await pool.connect();
  const all = [client.query(BEGIN_ENGINE), run<Row>(client, statement), commit(client)] as const;
  const failed = (await Promise.allSettled(all)).find((one) => one.status === 'rejected');
  const error = failed?.reason as Error | undefined;
  // What PostgreSQL refused has been rolled back; what it did not answer leaves the connection in the dark.
  client.release(error !== undefined && isUnavailable(error) ? error : undefined);
  if (error !== undefined) throw error;
  return all[1];
}

async function run<Row>(client: pg.PoolClient, statement: Statement): Promise<{ rows: Row[]; rowCount: number }> {
  const { rows, rowCount } = await client.query(statement);
  return { rows: rows as Row[], rowCount: rowCount ?? 0 };
}

/** A transaction that can be told which statements are its last. */
interface Sealable extends Queryable {
  readonly seal: () => void;
}

/** Nothing follows in this transaction: COMMIT leaves with the statements issued in this tick. If one of them fails, nothing is written. */
export function seal(tx: Tx): void {
  (tx as unknown as Sealable).seal();
}

async function inTransaction<T>(
  pool: pg.Pool,
  begin: (client: pg.PoolClient) => Promise<unknown>,
  work: (tx: Tx) => Promise<T>,
): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  let committing: Promise<void> | undefined;
  // What runs on beside a statement that failed must not reach the connection after its end: there it would be committed.
  const tx = {
    open: true,
    query: (statement: Statement) => (tx.open ? run(client, statement) : Promise.reject(new TransactionEnded())),
    seal: () => {
      tx.open = false;
      committing ??= commit(client);
      committing.catch(() => undefined); // awaited below
    },
  };
  try {
    const begun = begin(client);
    begun.catch(() => undefined); // awaited below; until then the first statement's error speaks for it
    const result = await work(tx as unknown as Tx);
    await begun;
    tx.seal();
    await committing;
    return result;
  } catch (error) {
    tx.open = false;
    const reason = committing ? await reasonAfter(committing, error) : error;
    if (reason instanceof CommitUnknown || isUnanswered(reason)) broken = reason;
    else if (!committing) broken = await rollback(client);
    throw reason;
  } finally {
    client.release(broken);
  }
}

/** Why a transaction failed whose COMMIT has been sent. */
async function reasonAfter(committing: Promise<void>, error: unknown): Promise<unknown> {
  const [commitment] = await Promise.allSettled([committing]);
  if (commitment.status === 'fulfilled') return new CommitUnknown('it was committed, and what came of it is lost', { cause: error });
  return commitment.reason instanceof TransactionAborted ? error : commitment.reason;
}

/** COMMIT of an aborted transaction resolves, with the tag ROLLBACK. */
async function commit(client: pg.PoolClient): Promise<void> {
  let tag: string;
  try {
    tag = (await client.query('commit')).command;
  } catch (error) {
    throw new CommitUnknown('the answer to COMMIT was lost', { cause: error });
  }
  if (tag !== 'COMMIT') throw new TransactionAborted(`COMMIT answered ${tag}`);
}

async function rollback(client: pg.PoolClient): Promise<Error | undefined> {
  try {
    await client.query('rollback');
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

function isUnanswered(error: unknown): error is Error {
  return error instanceof Error && error.message === UNANSWERED;
}

/** Whether a statement failed because the database is away, starting, stopping or out of connections: worth a later try. */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof CommitUnknown || isUnanswered(error)) return true;
  if (!(error instanceof Error)) return false;
  const code = 'code' in error ? String(error.code) : '';
  return (
    /^(08|53|57P)/.test(code) ||
    /^(ECONN|ENOENT|EPIPE|ETIMEDOUT|EAI_AGAIN)/.test(code) ||
    /Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Cannot use a pool/.test(
      error.message,
    )
  );
}

const LOCK_NOT_AVAILABLE = '55P03';

/** Somebody else held a lock for longer than a transaction waits. */
export function isLockTimeout(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === LOCK_NOT_AVAILABLE;
}

interface Listener {
  readonly channel: string;
  readonly onHint: (payload: string) => void;
  readonly onUp: () => void;
  readonly log: DatabaseOptions['log'];
}

const RECONNECT_MS = 1_000;

function listen(connection: pg.ClientConfig, { channel, onHint, onUp, log }: Listener): { close: () => Promise<void> } {
  let closed = false;
  let client: pg.Client | undefined;
  let timer: NodeJS.Timeout | undefined;

  const again = (error: unknown) => {
    client = undefined;
    if (closed || timer) return;
    log('database.listen-lost', { channel, error });
    timer = setTimeout(() => {
      timer = undefined;
      void open();
    }, RECONNECT_MS);
  };
  const open = async () => {
    const opened = new pg.Client({ ...connection, application_name: 'carillon-listen', keepAlive: true });
    opened.on('error', again);
    opened.on('end', () => {
      again(new Error('connection ended'));
    });
    opened.on('notification', ({ payload }) => {
      onHint(payload ?? '');
    });
    try {
      await opened.connect();
      await opened.query(`listen ${pg.escapeIdentifier(channel)}`);
      client = opened;
      onUp();
    } catch (error) {
      await opened.end().catch(() => undefined);
      again(error);
    }
  };
  void open();
  return {
    close: async () => {
      closed = true;
      clearTimeout(timer);
      await client?.end();
    },
  };
}
