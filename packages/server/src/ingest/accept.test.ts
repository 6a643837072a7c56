/** When the database stalls: who waits, and who is told at once to come again. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { AcceptRequest, CarillonEvent, Tx } from '../domain/event.ts';
import { makeAcceptor, type Acceptor } from './accept.ts';

let nowMs: number;
/** Transactions that the database has not answered. */
let begun: { readonly succeed: () => void; readonly fail: (error: Error) => void }[];
let acceptor: Acceptor;

class Away extends Error {}

beforeEach(() => {
  nowMs = 0;
  begun = [];
  acceptor = makeAcceptor<null>({
    inTransaction: async (work) => {
      await new Promise<void>((succeed, fail) => {
        begun.push({ succeed, fail });
      });
      return work({} as Tx);
    },
    seal: () => undefined,
    claimNewKeys: async () => undefined,
    isKnownKey: () => false,
    claimKeys: async () => [],
    recallKey: async () => undefined,
    storeAnswer: async () => undefined,
    insertEvents: async () => undefined,
    mentionUsers: async () => undefined,
    routeNow: null,
    places: () => ({ reserve: () => false, giveBack: () => undefined }),
    handOver: () => undefined,
    queued: () => undefined,
    counted: () => undefined,
    isUnavailable: (error) => error instanceof Away,
    isLockTimeout: () => false,
    keyTtlMs: 60_000,
    monotonicMs: () => nowMs,
    log: () => undefined,
  });
});

function request(text = ''): AcceptRequest {
  const event: CarillonEvent = {
    id: 'an id',
    tenantId: 'acme',
    type: 'x',
    severity: 'medium',
    tags: [],
    acceptedAt: new Date(0),
    dueAt: new Date(0),
    scheduledFor: null,
    expiresAt: null,
    correlationId: null,
    traceparent: null,
    version: null,
    request: { to: ['ada'], data: { text } },
    cursor: null,
  };
  return { tenantId: 'acme', requestKey: null, items: [{ event, itemKey: null }], compose: (results) => results };
}

const BUSY = { code: 'unavailable', retryAfterS: 1 };
const settled = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

/** Both writers wait for the database, each with one request. */
async function stalled(): Promise<Promise<unknown>[]> {
  const waiting: Promise<unknown>[] = [];
  for (const writer of [1, 2]) {
    waiting.push(acceptor.accept(request()));
    await settled();
    expect(begun).toHaveLength(writer);
  }
  for (const one of waiting) one.catch(() => undefined);
  return waiting;
}

describe('while the database does not answer', () => {
  test('requests wait for a while, and then are refused at once', async () => {
    const [first] = await stalled();
    nowMs = 2_999;
    const patient = acceptor.accept(request());
    nowMs = 3_001;
    await expect(acceptor.accept(request())).rejects.toMatchObject(BUSY);
    for (const { succeed } of begun) succeed();
    await expect(first).resolves.toMatchObject({ kind: 'accepted' });
    await expect.poll(() => begun.length).toBe(3);
    begun[2]!.succeed();
    await expect(patient).resolves.toMatchObject({ kind: 'accepted' });
    const later = acceptor.accept(request());
    await expect.poll(() => begun.length).toBe(4);
    begun[3]!.succeed();
    await expect(later).resolves.toMatchObject({ kind: 'accepted' });
  });

  test('its refusal is told to all that have waited for as long, and not only to those that it was about', async () => {
    const [first] = await stalled();
    const stale = acceptor.accept(request());
    stale.catch(() => undefined);
    nowMs = 2_000;
    const fresh = acceptor.accept(request());
    nowMs = 4_000;
    begun[0]!.fail(new Away('no answer'));
    await expect(first).rejects.toMatchObject(BUSY);
    await expect(stale).rejects.toMatchObject(BUSY);
    await expect.poll(() => begun.length).toBe(3);
    begun[2]!.succeed();
    await expect(fresh).resolves.toMatchObject({ kind: 'accepted' });
  });

  test('no more than 64 MiB wait', async () => {
    expect(await stalled()).toHaveLength(2);
    const large = request('x'.repeat(1024 * 1024));
    const waiting = Array.from({ length: 64 }, () => acceptor.accept(large));
    for (const one of waiting) one.catch(() => undefined);
    await expect(acceptor.accept(large)).rejects.toMatchObject(BUSY);
  });
});

describe('requests that come while a batch is written', () => {
  const accept = (count: number) => Array.from({ length: count }, () => acceptor.accept(request()));

  test('do not wait for it while there are few', async () => {
    const all = accept(8);
    await settled();
    all.push(...accept(1));
    await settled();
    expect(begun).toHaveLength(2);
    for (const { succeed } of begun) succeed();
    await Promise.all(all);
  });

  test('share the next one when there are more, and so the disk writes once for all of them', async () => {
    const first = accept(9);
    await settled();
    const others = accept(99);
    await settled();
    expect(begun).toHaveLength(1);
    begun[0]!.succeed();
    await Promise.all(first);
    expect(begun).toHaveLength(2);
    begun[1]!.succeed();
    await Promise.all(others);
  });

  test.each([
    ['they make a batch of their own', 100, 0],
    ['it takes long', 1, 21],
  ])('are written beside it when %s', async (_when, count, ms) => {
    const all = accept(9);
    await settled();
    nowMs = ms;
    all.push(...accept(count));
    await settled();
    expect(begun).toHaveLength(2);
    for (const { succeed } of begun) succeed();
    await Promise.all(all);
  });
});
