import { expect, test } from 'vitest';
import type { DeliveryJob } from '../domain/delivery.ts';
import { attempt, type AttemptDeps } from './attempt.ts';

const START = new Date('2026-01-01T00:00:00Z');
const END = new Date('2026-01-01T00:00:01Z');

function job(expiresAt: Date | null): DeliveryJob {
  const content = { subject: 's', body: 'b', actionUrl: null, severity: 'medium', tags: [], metadata: {} } as const;
  const ids = { id: 'd', tenantId: 't', eventId: 'e', notificationId: 'n', userId: 'ada', token: 'token', lane: 'webhook t d' };
  const nothing = { maxAttempts: null, last: null, recipient: null, destinationId: null, destination: null, cancelled: false };
  const times = { attempt: 1, critical: false, createdAt: START, expiresAt };
  const event = { type: 'inline', category: null, acceptedAt: START, data: {} };
  return { ...ids, ...nothing, ...times, channel: 'webhook', address: 'https://example.org/', event, content };
}

/** Preparing takes so long; `sent` counts what leaves. */
function slowTo(ready: Date): { deps: AttemptDeps; sent: () => number } {
  let now = START;
  let sent = 0;
  const send = () => {
    sent++;
    return Promise.resolve({ kind: 'accepted' } as const);
  };
  const deps: AttemptDeps = {
    prepare: () => {
      now = ready;
      const message = { deliveryId: 'dlv_1', address: {}, content: {} };
      return Promise.resolve({ provider: { id: 'fake', send, close: () => Promise.resolve() }, providers: [], message });
    },
    suppress: () => Promise.resolve(),
    policyOf: () => ({ delaysMs: [1_000] }),
    until: ({ expiresAt }) => expiresAt ?? new Date('2026-02-01T00:00:00Z'),
    defaultsOf: () => undefined,
    quietUntil: () => null,
    observe: () => undefined,
    sendTimeoutMs: 1_000,
    now: () => now,
    monotonicMs: () => 0,
    random: () => 0.5,
    log: () => undefined,
  };
  return { deps, sent: () => sent };
}

test.each<[string, Date | null, Date, string, number]>([
  ['in time is sent', END, new Date(END.getTime() - 1), 'delivered', 1],
  ['in the moment of its expiry is not', END, END, 'expired', 0],
  ['without an expiry is sent whenever it is', null, new Date(END.getTime() + 60_000), 'delivered', 1],
])('what is ready to be sent %s', async (...row) => {
  const [, expiresAt, ready, state, count] = row;
  const { deps, sent } = slowTo(ready);
  const { completion } = await attempt(deps, job(expiresAt), new AbortController().signal);
  expect(completion).toMatchObject({ state, kind: count > 0 ? 'attempt' : 'gate' });
  expect(sent()).toBe(count);
});
