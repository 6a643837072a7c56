/** The inbox side on a database of its own: routes, feed and tokens, wired as in the product, and a client that reads streams. */
import { createHash, createSecretKey } from 'node:crypto';
import { get, type ClientRequest, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buildApp, type App } from '../../src/api/app.ts';
import { makeAuth } from '../../src/api/auth.ts';
import { inboxRoutes } from '../../src/api/routes/inbox.ts';
import { makeUserTokens, type UserTokens } from '../../src/api/user-token.ts';
import type { Severity } from '../../src/domain/event.ts';
import type { InboxChange, NewNotification } from '../../src/domain/notification.ts';
import { newId } from '../../src/lib/id.ts';
import { makeFeed, type Feed } from '../../src/realtime/feed.ts';
import { changesSince, inboxSequences } from '../../src/store/inbox.ts';
import { insertNotifications } from '../../src/store/notifications.ts';
import { freshDatabase, type TestDatabase } from './database.ts';
import { preferenceDeps } from './preferences.ts';

export const KEY = 'a-key-of-acme';
export const MAX_STALL_MS = 5_000;
export const ORIGIN = 'https://app.example.org';

export interface InboxServer {
  readonly db: TestDatabase;
  readonly app: App;
  readonly feed: Feed;
  readonly tokens: UserTokens;
  readonly port: number;
  readonly logged: { event: string; fields: Record<string, unknown> }[];
  /** Moves the time that tokens, feed and connections see. */
  readonly moveTime: (ms: number) => void;
  /** What tokens and feed ask the database for is refused, as when it is down. */
  readonly setAway: (away: boolean) => void;
  /** Inserts and publishes, as the router does. */
  readonly tell: (userId: string, count: number, content?: Partial<NewNotification>) => Promise<InboxChange>;
  readonly tokenOf: (userId: string, tenantId?: string) => Promise<string>;
  readonly close: () => Promise<void>;
}

export async function inboxServer(settings: { createUsers?: boolean; maxStreams?: number } = {}): Promise<InboxServer> {
  const db = await freshDatabase();
  await db.query("insert into carillon.tenants (id) values ('acme'), ('other')");
  let shiftMs = 0;
  let isAway = false;
  const reach = () => {
    if (isAway) throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  };
  const now = () => new Date(Date.now() + shiftMs);
  const monotonicMs = () => performance.now() + shiftMs;
  const logged: InboxServer['logged'] = [];
  const log = (event: string, fields: Record<string, unknown>) => {
    logged.push({ event, fields });
  };

  const tokens = makeUserTokens({ tokenSecret: async (tenantId) => (reach(), secretOf(tenantId)), now });
  const feed = makeFeed({
    changesSince: async (wanted) => (reach(), db.database.asTenant(wanted.tenantId, (tx) => changesSince(tx, wanted))),
    sequences: (owners) => inboxSequences(db.database.engine, owners),
    now,
    random: Math.random,
    log,
    maxStreams: settings.maxStreams ?? 1_000,
  });
  const auth = makeAuth({
    hashKey: (key) => Buffer.from(key),
    findKey: async (hash) =>
      hash.toString() === KEY
        ? {
            tenantId: 'acme',
            keyId: newId(now()),
            client: 'backend',
            scopes: ['users:write'],
            keyLimit: null,
            tenantLimit: null,
            expiresInMs: null,
          }
        : undefined,
    verifyUserToken: tokens.verify,
    isAccountAdmin: async () => false,
    touchKeys: async () => undefined,
    now,
    monotonicMs,
    log,
  });
  const inTransaction = db.database.asTenant;
  const app = buildApp({ auth, log, observe: () => undefined, logsSuccess: true }, (to) =>
    inboxRoutes(to, {
      database: db.database,
      once: { inTransaction, ttlMs: 86_400_000 },
      preferences: preferenceDeps(db),
      tokens,
      feed,
      published: feed.publish,
      sse: { monotonicMs, log, heartbeatMs: 20_000, maxUnsent: 256 * 1024, maxStallMs: MAX_STALL_MS, cut: () => undefined },
      random: Math.random,
      log,
      corsOrigins: [ORIGIN],
      createUsers: settings.createUsers ?? true,
    }),
  );
  await app.listen({ host: '127.0.0.1', port: 0 });

  return {
    db,
    app,
    feed,
    tokens,
    logged,
    port: (app.server.address() as AddressInfo).port,
    setAway: (away) => {
      isAway = away;
    },
    moveTime: (ms) => {
      shiftMs += ms;
    },
    tell: async (userId, count, content) => {
      const [change] = await db.database.transaction((tx) =>
        insertNotifications(
          tx,
          Array.from({ length: count }, () => notificationFor(userId, content)),
        ),
      );
      feed.publish([change!]);
      return change!;
    },
    tokenOf: async (userId, tenantId = 'acme') => (await tokens.mint({ tenantId, userId, ttlSeconds: 3_600 })).token,
    close: async () => {
      await feed.drain();
      await app.close();
      await auth.close();
      await db.drop();
    },
  };
}

function secretOf(tenantId: string): Uint8Array | undefined {
  return ['acme', 'other'].includes(tenantId) ? createSecretKey(createHash('sha256').update(tenantId).digest()).export() : undefined;
}

export function notificationFor(userId: string, content: Partial<NewNotification> = {}): NewNotification {
  const createdAt = content.createdAt ?? new Date();
  const severity: Severity = 'medium';
  return {
    id: newId(createdAt),
    tenantId: 'acme',
    eventId: newId(createdAt),
    userId,
    type: 'inline',
    subject: 'Disk almost full',
    body: '92 % used',
    actionUrl: null,
    severity,
    tags: [],
    metadata: {},
    createdAt,
    inApp: true,
    ...content,
  };
}

export interface Frame {
  readonly event?: string;
  readonly id?: string;
  readonly retry?: string;
  readonly data?: any; // eslint-disable-line @typescript-eslint/no-explicit-any -- whatever JSON came
}

export interface StreamReader {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly frames: Frame[];
  readonly text: () => string;
  readonly ended: () => boolean;
  readonly response: IncomingMessage;
  readonly cut: () => void;
}

/** Resolves with the answer's head. Frames collect as they come in; half of one is no frame. */
export function readStream(
  port: number,
  {
    path = '/v1/inbox/stream',
    headers = {},
    cutAfter = Infinity,
    read = true,
  }: { path?: string; headers?: Record<string, string>; cutAfter?: number; read?: boolean } = {},
): Promise<StreamReader> {
  return new Promise((resolve, reject) => {
    const request: ClientRequest = get({ host: '127.0.0.1', port, path, headers, agent: false }, (response) => {
      const frames: Frame[] = [];
      let text = '';
      let rest = '';
      let bytes = 0;
      let ended = false;
      const take = (chunk: Buffer) => {
        const part = chunk.subarray(0, Math.max(0, cutAfter - bytes)).toString('latin1');
        bytes += chunk.length;
        text += part;
        const blocks = (rest + part).split('\n\n');
        rest = blocks.pop()!;
        frames.push(...blocks.map(parseFrame));
        if (bytes >= cutAfter) request.destroy();
      };
      if (read) response.on('data', take);
      response.on('error', () => undefined);
      response.on('close', () => {
        ended = true;
      });
      resolve({
        status: response.statusCode!,
        headers: response.headers,
        frames,
        text: () => text,
        ended: () => ended,
        response,
        cut: () => request.destroy(),
      });
    });
    request.on('error', reject);
  });
}

function parseFrame(block: string): Frame {
  const fields = Object.fromEntries(
    block
      .split('\n')
      .filter((line) => !line.startsWith(':'))
      .map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]),
  );
  return { ...fields, ...(fields.data === undefined ? {} : { data: JSON.parse(fields.data) }) };
}

/** Numbers of the items that came, in their order. */
export function itemIds(frames: readonly Frame[]): number[] {
  return frames.filter(({ event }) => event === 'notification' || event === 'update').map(({ id }) => Number(id));
}

/** The last number that a reader would come back with. */
export function lastId(frames: readonly Frame[]): string {
  return frames.findLast(({ id }) => id !== undefined)?.id ?? '';
}
