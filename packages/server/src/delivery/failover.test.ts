import { describe, expect, test } from 'vitest';
import type { Provider, SendResult } from '../domain/channel.ts';
import { OUTCOMES } from '../domain/delivery.ts';
import { movesOn, nextProvider } from './failover.ts';

const provider = (id: string): Provider => ({ id, send: () => Promise.reject(new Error('not asked')), close: () => Promise.resolve() });
const providers = ['a', 'b', 'c'].map(provider);

test.each([
  ['nobody', null, 'a'],
  ['a, which refused', { provider: 'a', outcome: OUTCOMES.transient }, 'b'],
  ['b, which refused', { provider: 'b', outcome: OUTCOMES.transient }, 'c'],
  ['the last one, which refused', { provider: 'c', outcome: OUTCOMES.transient }, 'a'],
  ['a, which may have accepted', { provider: 'a', outcome: OUTCOMES.unknown }, 'a'],
  ['c, which may have accepted', { provider: 'c', outcome: OUTCOMES.unknown }, 'c'],
  ['one that is gone', { provider: 'x', outcome: OUTCOMES.unknown }, 'a'],
])('after %s', (_, last, want) => {
  expect(nextProvider(providers, last)?.id).toBe(want);
});

test('of one provider it is always that one, of none nobody', () => {
  expect(nextProvider(providers.slice(0, 1), { provider: 'a', outcome: OUTCOMES.transient })?.id).toBe('a');
  expect(nextProvider([], null)).toBeUndefined();
});

describe('another is asked at once', () => {
  const refusal = (kind: 'transient' | 'permanent' | 'unknown', reason: 'provider_error' | 'unauthorized'): SendResult => ({
    kind,
    reason,
    detail: '',
  });
  test.each<[string, SendResult, boolean]>([
    ['after a refusal for now', refusal('transient', 'provider_error'), true],
    ['when the credentials of one are refused', refusal('permanent', 'unauthorized'), true],
    ['not when the message is refused', refusal('permanent', 'provider_error'), false],
    ['not when it may have arrived', refusal('unknown', 'provider_error'), false],
    ['not when it was accepted', { kind: 'accepted' }, false],
  ])('%s', (_, result, want) => {
    expect(movesOn(providers, providers[0]!, result)).toBe(want);
    expect(movesOn(providers, providers[2]!, result), 'the last one has nobody after it').toBe(false);
  });
});
