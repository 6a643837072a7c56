/** Accepting while the database breaks: what a 202 stands for is there, and nothing else is called a success. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { AcceptRequest, CarillonEvent } from '../../src/domain/event.ts';
import { makeAcceptor, type Acceptor } from '../../src/ingest/accept.ts';
import { newId } from '../../src/lib/id.ts';
import { signalTo } from '../../src/store/embedded-process.ts';
import { isLockTimeout, isUnavailable, seal, within } from '../../src/store/database.ts';
import { insertEvents } from '../../src/store/events.ts';
import { claimKeys, claimNewKeys, isKnownKey, recallKeys, storeAnswer } from '../../src/store/idempotency.ts';
import { count, eventState, eventually } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startServer, type Reply, type TestServer } from '../harness/server.ts';
import { cleanUp, freshDirectory, serversIn } from './fixtures/embedded-rig.ts';

const eventFor = (userId: string, type: string) => ({ type, to: [userId], channels: ['in_app'] });
const post = (server: TestServer, body: unknown, key: string) => server.api('POST', '/v1/events', body, { 'idempotency-key': key });

function expectUnavailable(reply: Reply): void {
  expect(reply.status).toBe(503);
  expect(reply.headers.get('content-type')).toContain('application/problem+json');
  expect(Number(reply.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(reply.body).toMatchObject({ code: 'unavailable', retryable: true });
}

/** Sends each key once, 16 at a time, until `enough` says so. */
async function flood(send: (key: string) => Promise<Reply>, enough: (replies: ReadonlyMap<string, Reply>) => Promise<boolean>) {
  const replies = new Map<string, Reply>();
  let next = 0;
  let failed = false;
  const sender = async () => {
    while (!failed && !(await enough(replies))) {
      const key = `key-${next++}`;
      replies.set(key, await send(key));
    }
  };
  await Promise.all(
    Array.from({ length: 16 }, () =>
      sender().catch((error: unknown) => {
        failed = true;
        throw error;
      }),
    ),
  );
  return replies;
}

const withStatus = (replies: ReadonlyMap<string, Reply>, status: number) =>
  [...replies.values()].filter((reply) => reply.status === status);

describe('connections that are cut in the middle', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer();
  });
  afterAll(() => server.stop());

  test('a 202 has its event, the rest are told to come again, and nothing is doubled', async () => {
    const type = randomUUID();
    const send = (key: string) => post(server, eventFor(`user-${key}`, type), key);
    let cutAt = 0;
    const cut = () =>
      server.db.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name in ('carillon', 'carillon-api')",
      );
    const replies = await flood(send, async (so) => {
      if (so.size >= cutAt) {
        cutAt = so.size + 25;
        await cut();
      }
      return withStatus(so, 202).length >= 100 && withStatus(so, 503).length >= 20;
    });

    for (const reply of replies.values()) {
      if (reply.status === 202) expect(await eventState(server.db, reply.body.id)).not.toBe('absent');
      else expectUnavailable(reply);
    }
    for (const [key, first] of replies) {
      const again = await send(key);
      expect(again.status).toBe(202);
      if (first.status === 202) expect(again.body).toEqual({ id: first.body.id, duplicate: true });
    }
    expect(await count(server.db, 'events where type = $1', [type])).toBe(replies.size);
    await eventually(() => count(server.db, "notifications where user_id like 'user-key-%'")).toBe(replies.size);
  });
});

describe('an embedded PostgreSQL that is killed', () => {
  afterEach(cleanUp);

  test('503 until it is back by itself; every 202, before and after, has its event and its notification', async () => {
    const dataDir = freshDirectory();
    const server = await startServer({ 'database.url': undefined, data_dir: dataDir });
    try {
      const send = (key: string) => post(server, eventFor('ada', 'killed'), key);
      let killed = false;
      const replies = await flood(send, async (so) => {
        if (!killed && withStatus(so, 202).length >= 50) {
          killed = true;
          const postgres = serversIn(dataDir);
          expect(postgres.length).toBeGreaterThan(0);
          for (const one of postgres) signalTo(one, 'SIGKILL');
        }
        const last = [...so.values()].slice(-16);
        return withStatus(so, 503).length > 0 && last.every(({ status }) => status === 202);
      });
      const accepted = withStatus(replies, 202);
      expect(accepted.length).toBeGreaterThan(50);
      for (const reply of replies.values()) if (reply.status !== 202) expectUnavailable(reply);
      // Refusals come fast, thousands of them: some stand for all.
      const refused = [...replies].filter(([, { status }]) => status !== 202).slice(0, 100);
      for (const [key, first] of [...replies].filter(([, { status }]) => status === 202).concat(refused)) {
        const again = await send(key);
        expect(again.status).toBe(202);
        if (first.status === 202) expect(again.body.id).toBe(first.body.id);
        const { id } = again.body;
        await eventually(async () => (await server.api('GET', `/v1/events/${id}`)).body.counts?.delivered).toBe(1);
      }
    } finally {
      await server.stop();
    }
  });
});

describe('a statement whose error is swallowed', () => {
  let db: TestDatabase;
  beforeAll(async () => {
    db = await freshDatabase();
    await db.query("insert into carillon.tenants (id) values ('acme')");
  });
  afterAll(() => db.drop());

  test('COMMIT answers ROLLBACK: that is no success, and a neighbour in the same batch is written all the same', async () => {
    const logs: string[] = [];
    const { accept } = swallowing(logs);
    const requests = ['good-1', 'swallowed', 'good-2'].map((type) => requestFor(type));
    const [first, bad, second] = await Promise.allSettled(requests.map((request) => accept(request)));
    expect(first).toMatchObject({ status: 'fulfilled', value: { kind: 'accepted' } });
    expect(second).toMatchObject({ status: 'fulfilled', value: { kind: 'accepted' } });
    expect(bad).toMatchObject({ status: 'rejected', reason: { message: 'COMMIT answered ROLLBACK' } });
    const types = await db.query<{ type: string }>('select type from carillon.events order by type');
    expect(types.map(({ type }) => type)).toEqual(['good-1', 'good-2']);
    expect(await count(db, 'idempotency_keys')).toBe(2);
  });

  /** Accepting with a defect planted: one type's statement fails, and nobody looks. */
  function swallowing(logs: string[]): Acceptor {
    return makeAcceptor<null>({
      inTransaction: db.database.transaction,
      seal,
      claimKeys,
      claimNewKeys,
      isKnownKey,
      recallKey: async (tenantId, key) => (await recallKeys(db.database.engine, [{ ...key, tenantId }]))[0],
      storeAnswer,
      insertEvents: async (tx, rows) => {
        const planted = rows.filter(({ event }) => event.type === 'swallowed');
        const statements = [
          insertEvents(tx, rows),
          ...planted.map(() => within(tx).query({ name: 'planted', text: 'select 1 / 0', values: [] })),
        ];
        await Promise.allSettled(statements);
      },
      mentionUsers: async () => undefined,
      routeNow: null,
      places: () => ({ reserve: () => false, giveBack: () => undefined }),
      handOver: () => undefined,
      queued: () => undefined,
      counted: () => undefined,
      isUnavailable,
      isLockTimeout,
      keyTtlMs: 60_000,
      monotonicMs: () => performance.now(),
      log: (event) => logs.push(event),
    });
  }
});

function requestFor(type: string): AcceptRequest {
  const now = new Date();
  const event: CarillonEvent = {
    id: newId(now),
    tenantId: 'acme',
    type,
    severity: 'medium',
    tags: [],
    acceptedAt: now,
    dueAt: now,
    scheduledFor: null,
    expiresAt: null,
    correlationId: null,
    traceparent: null,
    request: { to: ['ada'], data: {} },
    version: null,
    cursor: null,
  };
  const requestKey = { route: 'POST /v1/events', key: type, hash: Buffer.from(type) };
  return { tenantId: 'acme', requestKey, items: [{ event, itemKey: null }], compose: (results) => results };
}
