import { expect, test } from 'vitest';
import type { SendResult } from '../domain/channel.ts';
import type { Completion, DeliveryJob } from '../domain/delivery.ts';
import type { Recipient } from '../domain/user.ts';
import { makeWorker, type WorkerDeps } from './worker.ts';

const now = new Date('2026-01-01T00:00:00Z');
const optedOut: Recipient = {
  id: 'ada',
  email: null,
  phone: null,
  webhookUrl: null,
  timeZone: null,
  active: true,
  preferences: { channels: { webhook: { enabled: false } } },
  suppressed: {},
};

function job(id: string): DeliveryJob {
  const content = { subject: 's', body: 'b', actionUrl: null, severity: 'medium', tags: [], metadata: {} } as const;
  const event = { type: 'inline', category: null, acceptedAt: now, data: {} };
  const ids = { id, tenantId: 't', eventId: 'e', notificationId: 'n', userId: 'ada', token: 'token', lane: `webhook t ${id}` };
  const limits = {
    attempt: 1,
    maxAttempts: null,
    last: null,
    critical: false,
    createdAt: now,
    expiresAt: null,
    recipient: null,
    destinationId: null,
    destination: null,
    eventCancelled: false,
    cancelled: false,
  };
  return { ...ids, ...limits, channel: 'webhook', address: `https://example.org/${id}`, event, content };
}

test('what a user wants is asked again while a delivery waits in memory', async () => {
  let elapsedMs = 0;
  let answer: (result: SendResult) => void = () => undefined;
  const completed: Completion[] = [];
  let renewals = 0;
  const sending = new Promise<SendResult>((resolve) => (answer = resolve));
  const deps: WorkerDeps = {
    claim: async () => ({ jobs: [], locked: 0, firstDue: null, leaseEndsAtMs: 0 }),
    nextDueMs: async () => null,
    prepare: async () => ({
      provider: { id: 'fake', send: () => sending, close: () => Promise.resolve() },
      providers: [],
      message: { deliveryId: 'dlv_1', address: { url: '', secret: Buffer.alloc(0) }, content: { body: '' } },
    }),
    complete: async (rows) => (completed.push(...rows), rows.map((row) => row.id)),
    renew: async (jobs) => {
      renewals++;
      return jobs.map((one) => ({ ...one, recipient: optedOut }));
    },
    release: async () => undefined,
    suppress: async () => undefined,
    policyOf: () => ({ delaysMs: [1_000] }),
    until: () => new Date('2026-02-01T00:00:00Z'),
    defaultsOf: () => undefined,
    quietUntil: () => null,
    observe: () => undefined,
    leaseLost: () => undefined,
    isUnavailable: () => false,
    now: () => now,
    monotonicMs: () => elapsedMs,
    sendTimeoutMs: 1_000,
    random: () => 0.5,
    log: () => undefined,
  };
  const worker = makeWorker(deps, { slots: 1, laneLimitOf: () => 1, held: 10, leaseMs: 20_000, totalTimeoutMs: 15_000 });
  const stop = new AbortController();
  const running = worker.run(stop.signal, new AbortController().signal);
  await expect.poll(() => worker.places().reserve('webhook t first')).toBe(true); // the first claim has found nothing
  expect(worker.places().reserve('webhook t second')).toBe(true);
  worker.take([job('first'), job('second')], 20_000);

  elapsedMs = 5_000; // leases are renewed, and `second` still waits for the only slot
  await expect.poll(() => renewals).toBeGreaterThan(0);
  answer({ kind: 'accepted' });
  await expect
    .poll(() => completed.map(({ id, state, reason }) => [id, state, reason]))
    .toEqual([
      ['first', 'delivered', 'sent'],
      ['second', 'skipped', 'opted_out'],
    ]);
  stop.abort();
  await running;
});
