import { describe, expect, test } from 'vitest';
import type { SendResult } from '../domain/channel.ts';
import { outcomeOf, type OutcomeContext } from './outcome.ts';

const NOW = new Date('2026-01-02T03:04:05.000Z');
const HOUR = 3_600_000;
const DELAYS = [5_000, 300_000, 1_800_000];
const FAR = new Date(NOW.getTime() + 100 * 24 * HOUR);

const outcome = (result: SendResult, context: Partial<OutcomeContext> = {}) =>
  outcomeOf(result, {
    attempt: 1,
    maxAttempts: null,
    policy: { delaysMs: DELAYS },
    movesOn: false,
    until: FAR,
    now: NOW,
    random: 0.5,
    ...context,
  });
const transient = (retryAfterMs?: number, reason: 'provider_error' | 'rate_limited' = 'provider_error'): SendResult => ({
  kind: 'transient',
  reason,
  detail: 'HTTP 503',
  retryAfterMs,
});
const waitMs = (result: SendResult, context: Partial<OutcomeContext> = {}) => {
  const { state, ...rest } = outcome(result, context);
  return state === 'pending' && 'dueAt' in rest ? rest.dueAt.getTime() - NOW.getTime() : state;
};

test('what was accepted is delivered, whichever attempt it was', () => {
  for (const attempt of [1, 4, 40]) expect(outcome({ kind: 'accepted' }, { attempt })).toEqual({ state: 'delivered', reason: 'sent' });
});

test('what is refused for good has failed at once; only an address that is gone is not used again', () => {
  const refused = (reason: 'address_gone' | 'address_rejected' | 'egress_blocked') => outcome({ kind: 'permanent', reason, detail: '' });
  expect(refused('address_gone')).toEqual({ state: 'failed', reason: 'address_gone', suppress: true });
  expect(refused('address_rejected')).toEqual({ state: 'failed', reason: 'address_rejected', suppress: false });
  expect(refused('egress_blocked')).toEqual({ state: 'failed', reason: 'egress_blocked', suppress: false });
});

describe('what may succeed later', () => {
  const unknown: SendResult = { kind: 'unknown', reason: 'timeout', detail: '' };

  test.each([
    [1, 5_000],
    [2, 300_000],
    [3, 1_800_000],
    [4, 'failed'],
    [5, 'failed'],
  ])('attempt %i: wait %s', (attempt, want) => {
    expect(waitMs(transient(), { attempt })).toBe(want);
    expect(waitMs(unknown, { attempt })).toBe(want);
  });

  test('an own number of attempts counts instead; beyond the policy its last wait repeats', () => {
    expect(waitMs(transient(), { attempt: 1, maxAttempts: 1 })).toBe('failed');
    expect(waitMs(transient(), { attempt: 2, maxAttempts: 2 })).toBe('failed');
    expect(waitMs(transient(), { attempt: 9, maxAttempts: 10 })).toBe(1_800_000);
    expect(outcome(transient(), { attempt: 10, maxAttempts: 10 })).toEqual({
      state: 'failed',
      reason: 'retries_exhausted',
      suppress: false,
    });
  });

  test('a policy without waits is one attempt, or at once again with a larger number', () => {
    expect(waitMs(transient(), { policy: { delaysMs: [] } })).toBe('failed');
    expect(waitMs(transient(), { policy: { delaysMs: [] }, maxAttempts: 2 })).toBe(0);
  });

  test('chance moves the wait by a fifth, up or down', () => {
    expect(waitMs(transient(), { random: 0 })).toBe(4_000);
    expect(waitMs(transient(), { random: 0.999_999 })).toBe(6_000);
  });
});

describe('Retry-After', () => {
  test.each<[string, SendResult, number]>([
    ['counts when it is longer', transient(20_000), 20_000],
    ['does not shorten the policy', transient(1), 5_000],
    ['is cut at an hour', transient(5 * HOUR), HOUR],
    ['with 429 holds for longer', transient(5 * HOUR, 'rate_limited'), 5 * HOUR],
    ['with 429 is cut at a day', transient(99 * HOUR, 'rate_limited'), 24 * HOUR],
  ])('%s', (_, result, ms) => {
    expect(waitMs(result)).toBe(ms);
  });
});

test('what could only be tried at or after the end has expired; an exhausted one has failed all the same', () => {
  const at = (ms: number) => ({ until: new Date(NOW.getTime() + ms) });
  expect(outcome(transient(), at(5_000))).toEqual({ state: 'expired', reason: 'expired' });
  expect(waitMs(transient(), at(5_001))).toBe(5_000);
  expect(waitMs(transient(HOUR), at(HOUR - 1))).toBe('expired');
  expect(waitMs(transient(), { ...at(1), attempt: 4 })).toBe('failed');
  expect(outcome({ kind: 'accepted' }, at(-1))).toMatchObject({ state: 'delivered' });
});

test('when another provider may take it, there is no wait, but no more attempts either', () => {
  expect(waitMs(transient(), { movesOn: true })).toBe(0);
  expect(waitMs({ kind: 'transient', reason: 'rate_limited', detail: '', retryAfterMs: 60_000 }, { movesOn: true })).toBe(0);
  expect(waitMs({ kind: 'permanent', reason: 'unauthorized', detail: '' }, { movesOn: true })).toBe(0);
  expect(waitMs(transient(), { movesOn: true, attempt: DELAYS.length + 1 })).toBe('failed');
});
