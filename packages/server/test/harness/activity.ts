/** The sender's side on a database of its own: the routes, with real accepting and without routing. What routing would write is written by `told`. */
import { randomUUID } from 'node:crypto';
import { buildApp, type App } from '../../src/api/app.ts';
import { makeAuth, SCOPES } from '../../src/api/auth.ts';
import { deliveryRoutes } from '../../src/api/routes/deliveries.ts';
import { developmentRoutes } from '../../src/api/routes/development.ts';
import { eventRoutes } from '../../src/api/routes/events.ts';
import { notificationRoutes } from '../../src/api/routes/notifications.ts';
import { preferenceRoutes } from '../../src/api/routes/preferences.ts';
import { userRoutes } from '../../src/api/routes/users.ts';
import { DELIVERY_STATES, ENTRY_KINDS, OUTCOMES, type DeliveryState } from '../../src/domain/delivery.ts';
import type { CarillonEvent, EventRequest } from '../../src/domain/event.ts';
import type { InboxChange } from '../../src/domain/notification.ts';
import { REASONS, type ReasonCode } from '../../src/domain/reason.ts';
import { makeAcceptor, type Acceptor } from '../../src/ingest/accept.ts';
import { checkUrl } from '../../src/lib/egress-url.ts';
import { derivedId, newId } from '../../src/lib/id.ts';
import { checkMailbox } from '../../src/lib/mailbox.ts';
import { isUnavailable, seal } from '../../src/store/database.ts';
import { insertEvents } from '../../src/store/events.ts';
import { claimKeys, claimNewKeys, isKnownKey, recallKeys, storeAnswer } from '../../src/store/idempotency.ts';
import { insertNotifications } from '../../src/store/notifications.ts';
import { insertMentioned } from '../../src/store/recipients.ts';
import { knownChannels } from './channels.ts';
import { freshDatabase, type TestDatabase } from './database.ts';
import { preferenceDeps } from './preferences.ts';

const KEY = 'a-key-of-acme';
export const OTHER_KEY = 'a-key-of-other';
export const ATTEMPTS = { in_app: 3, email: 8, webhook: 10 } as const;
const DAY_MS = 86_400_000;

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';
export interface CallOptions {
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly key?: string;
}

export interface ActivityServer {
  readonly db: TestDatabase;
  readonly app: App;
  readonly published: InboxChange[];
  readonly looked: string[];
  readonly wakes: () => number;
  /** Moves the time that the door sees. */
  readonly moveTime: (ms: number) => void;
  readonly call: (
    method: Method,
    url: string,
    options?: CallOptions,
  ) => Promise<{ status: number; headers: Record<string, unknown>; json: any; text: string }>; // eslint-disable-line @typescript-eslint/no-explicit-any -- whatever JSON came
  readonly close: () => Promise<void>;
}

export async function activityServer(): Promise<ActivityServer> {
  const db = await freshDatabase();
  await db.query("insert into carillon.tenants (id) values ('acme'), ('other')");
  let shiftMs = 0;
  let wakes = 0;
  const now = () => new Date(Date.now() + shiftMs);
  const published: InboxChange[] = [];
  const looked: string[] = [];
  const log = () => undefined;
  const tenants: Record<string, string> = { [KEY]: 'acme', [OTHER_KEY]: 'other' };
  const auth = makeAuth({
    hashKey: (key) => Buffer.from(key),
    findKey: async (hash) => {
      const tenantId = tenants[hash.toString()];
      return tenantId === undefined
        ? undefined
        : { tenantId, keyId: newId(now()), client: 'backend', scopes: SCOPES, keyLimit: null, tenantLimit: null, expiresInMs: null };
    },
    verifyUserToken: async () => undefined,
    isAccountAdmin: async () => false,
    touchKeys: async () => undefined,
    now,
    monotonicMs: () => performance.now(),
    log,
  });
  const { accept, recall, idle } = acceptor(db);
  const once = { inTransaction: db.database.asTenant, ttlMs: DAY_MS };
  const door = {
    accept,
    recall,
    accepted: () => undefined,
    now,
    eventType: () => null,
    maxScheduleDays: 25,
    checkMailbox,
    checkUrl: (text: string) => checkUrl(text, { allowLoopback: false, allowRanges: [] }),
  };
  const shared = { ...door, channelNames: [...knownChannels().keys()], database: db.database, once };
  const app = buildApp({ auth, log, observe: () => undefined, logsSuccess: true }, (to) => {
    eventRoutes(to, shared);
    notificationRoutes(to, { ...shared, published: (changes) => void published.push(...changes) });
    deliveryRoutes(to, {
      ...shared,
      attemptsOf: ATTEMPTS,
      wakeWorker: () => {
        wakes += 1;
      },
    });
    preferenceRoutes(to, preferenceDeps(db));
    userRoutes(to, {
      ...shared,
      wake: () => undefined,
      look: (tenantId, userId) => void looked.push(`${tenantId} ${userId}`),
    });
    developmentRoutes(to, { database: db.database, now, renderMail: ({ subject, body }) => ({ html: `<h1>${subject}</h1>`, text: body }) });
  });
  await app.ready();
  return {
    db,
    app,
    published,
    looked,
    wakes: () => wakes,
    moveTime: (ms) => {
      shiftMs += ms;
    },
    call: async (method, url, { body, headers = {}, key = KEY } = {}) => {
      const payload =
        body === undefined
          ? {}
          : { payload: JSON.stringify(body), headers: { 'content-type': 'application/json', authorization: `Bearer ${key}`, ...headers } };
      const answer = await app.inject({ method, url, headers: { authorization: `Bearer ${key}`, ...headers }, ...payload });
      const isJson = String(answer.headers['content-type']).includes('json') && answer.body !== '';
      return { status: answer.statusCode, headers: answer.headers, json: isJson ? answer.json() : undefined, text: answer.body };
    },
    close: async () => {
      await idle();
      await app.close();
      await auth.close();
      await db.drop();
    },
  };
}

/** Accepting alone, as in a process that does not route. */
function acceptor({ database }: TestDatabase): Acceptor {
  return makeAcceptor<null>({
    inTransaction: database.transaction,
    seal,
    claimKeys,
    claimNewKeys,
    isKnownKey,
    recallKey: async (tenantId, key) => (await recallKeys(database.engine, [{ ...key, tenantId }]))[0],
    storeAnswer,
    insertEvents,
    mentionUsers: async (tx, events) => {
      await insertMentioned(
        tx,
        events.flatMap(({ tenantId, request }) =>
          request.to.flatMap((rule) => (typeof rule === 'string' ? [{ tenantId, userId: rule }] : [])),
        ),
      );
    },
    routeNow: null,
    places: () => ({ reserve: () => false, giveBack: () => undefined }),
    handOver: () => undefined,
    queued: () => undefined,
    counted: () => undefined,
    isUnavailable,
    isLockTimeout: (error) => error instanceof Error && 'code' in error && error.code === '55P03',
    keyTtlMs: DAY_MS,
    monotonicMs: () => performance.now(),
    log: () => undefined,
  });
}

export interface DeliveryFixture {
  readonly channel: string;
  readonly state: DeliveryState;
  readonly reason?: ReasonCode;
  readonly address?: string | null;
  /** Attempts that failed before what `state` says. */
  readonly failures?: number;
}

export interface Told {
  readonly eventId: string;
  readonly notificationId: string;
  readonly deliveryIds: readonly string[];
}

/** One event for one user as routing and delivery would have left it. An in-app delivery that is delivered is in the inbox. */
export async function told(
  db: TestDatabase,
  userId: string,
  deliveries: readonly DeliveryFixture[],
  {
    tenantId = 'acme',
    at = new Date(),
    request = {},
    tags = ['system'],
  }: { tenantId?: string; at?: Date; request?: Partial<EventRequest>; tags?: string[] } = {},
): Promise<Told> {
  const eventId = newId(at);
  const event: CarillonEvent = {
    id: eventId,
    tenantId,
    type: 'inline',
    severity: 'medium',
    tags,
    acceptedAt: at,
    dueAt: at,
    scheduledFor: null,
    expiresAt: null,
    correlationId: null,
    traceparent: null,
    version: null,
    cursor: null,
    request: { to: [userId], data: {}, subject: 'Disk almost full', body: '92 % used', ...request },
  };
  const notificationId = derivedId(at, eventId, userId);
  const deliveryIds = deliveries.map(({ channel, address }) => derivedId(at, eventId, userId, channel, address ?? ''));
  await db.database.transaction(async (tx) => {
    await insertEvents(tx, [{ event, requestJson: JSON.stringify(event.request), state: 'routed' }]);
    await insertMentioned(tx, [{ tenantId, userId }]);
    const inApp = deliveries.some(({ channel, state }) => channel === 'in_app' && state === 'delivered');
    await insertNotifications(tx, [
      {
        id: notificationId,
        tenantId,
        eventId,
        userId,
        type: 'inline',
        subject: 'Disk almost full',
        body: '92 % used',
        actionUrl: null,
        severity: 'medium',
        tags,
        metadata: {},
        createdAt: at,
        inApp,
      },
    ]);
  });
  const whose = { eventId, notificationId, userId, tenantId, at };
  for (const [index, delivery] of deliveries.entries()) {
    await insertDelivery(db, { ...whose, id: deliveryIds[index]! }, delivery);
    await insertFailures(db, { ...whose, id: deliveryIds[index]! }, delivery.failures ?? 0);
  }
  return { eventId, notificationId, deliveryIds };
}

interface Whose {
  readonly id: string;
  readonly eventId: string;
  readonly notificationId: string;
  readonly userId: string;
  readonly tenantId: string;
  readonly at: Date;
}

async function insertDelivery(
  db: TestDatabase,
  { id, eventId, notificationId, userId, tenantId, at }: Whose,
  { channel, state, reason = 'queued', address = null, failures = 0 }: DeliveryFixture,
): Promise<void> {
  const attempts = failures + Number(state === 'sending' || (state === 'delivered' && channel !== 'in_app'));
  await db.query(
    `insert into carillon.deliveries (id, tenant_id, event_id, notification_id, user_id, channel, address, lane, status, reason, due_at, created_at, sent_at, finished_at, attempt_count, entry_count, lease_token, last_error)
     select $1::uuid, $2, $3::uuid, $4::uuid, $5, $6, $7::text, $2::text || ' ' || $7, $8::smallint, $9::smallint, case when $10::text in ('pending', 'held', 'sending') then $11::timestamptz + interval '5 s' end, $11,
            case when $12::smallint > 0 then $11 end, case when $10 not in ('pending', 'held', 'sending') then $11 + (10 + $13) * interval '1 ms' end, $12, $13,
            case when $10 = 'sending' then $14::uuid end, case when $13::smallint > 0 then 'it said 503' end`,
    [
      id,
      tenantId,
      eventId,
      notificationId,
      userId,
      channel,
      address,
      DELIVERY_STATES[state],
      REASONS[reason].number,
      state,
      at,
      attempts,
      failures,
      randomUUID(),
    ],
  );
}

async function insertFailures(db: TestDatabase, { id, tenantId, at }: Whose, failures: number): Promise<void> {
  await db.query(
    `insert into carillon.attempts (delivery_id, number, tenant_id, kind, at, duration_ms, provider, outcome, reason, status, detail, response, next_attempt_at)
     select $1::uuid, number, $2::text, $3::smallint, $4::timestamptz + number * interval '1 ms', 12, 'webhook.http', $5::smallint, $6::smallint, 503, 'it said 503', 'try later', $4 + interval '5 s' from generate_series(1, $7::integer) as number`,
    [id, tenantId, ENTRY_KINDS.attempt, at, OUTCOMES.transient, REASONS.provider_error.number, failures],
  );
}
