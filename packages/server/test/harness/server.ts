/** The whole server in this process, on a database of its own, as `main.ts` starts it. */
import { loadConfig, type Config } from '../../src/config.ts';
import { start, type Running } from '../../src/main.ts';
import { freshDatabase, type TestDatabase } from './database.ts';

export interface Logged {
  readonly event: string;
  readonly fields: Record<string, unknown>;
}

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly body: any; // eslint-disable-line @typescript-eslint/no-explicit-any -- whatever JSON came
}

export interface TestServer {
  /** Empty without the role `api`. */
  readonly url: string;
  readonly key: string;
  readonly db: TestDatabase;
  readonly running: Running;
  readonly logs: readonly Logged[];
  readonly api: (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Reply>;
  /** Moves the database's time forward, and runs here what that has made due. */
  readonly moveClock: (ms: number) => Promise<void>;
  /** Also drops the database, unless it was handed in. */
  readonly stop: () => Promise<void>;
}

const KEY = 'bootstrap-key-of-the-tests';

/** Settings by dotted name, times in milliseconds. With `on` several servers share one database. */
export async function startServer(overrides: Partial<Config> = {}, { on }: { on?: TestDatabase } = {}): Promise<TestServer> {
  const db = on ?? (await freshDatabase());
  const logs: Logged[] = [];
  const running = await start(configOf({ 'database.url': db.url, ...overrides }), (event, fields) => {
    logs.push({ event, fields });
  });
  const url = running.url ?? '';
  let stopping: Promise<void> | undefined;
  return {
    url,
    key: KEY,
    db,
    running,
    logs,
    api: (method, path, body, headers) => call(`${url}${path}`, { method, body, headers }),
    moveClock: async (ms) => {
      await db.moveClock(ms);
      await running.catchUp();
    },
    stop: async () => {
      await (stopping ??= running.stop());
      if (!on) await db.drop();
    },
  };
}

/** As given: tests use leases and timeouts that the settings would not allow, so that nobody waits for long. */
function configOf(overrides: Partial<Config>): Config {
  return { ...loadConfig({}, () => undefined).config, port: 0, bootstrap_key: KEY, ...overrides };
}

interface Call {
  readonly method: string;
  readonly body: unknown;
  readonly headers: Record<string, string> | undefined;
}

async function call(url: string, { method, body, headers }: Call): Promise<Reply> {
  const content = body === undefined ? {} : { 'content-type': 'application/json' };
  const response = await fetch(url, {
    method,
    headers: { authorization: `Bearer ${KEY}`, ...content, ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.includes('json') === true && text !== '';
  return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
}
