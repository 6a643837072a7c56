import { describe, expect, test } from 'vitest';
import type { RecipientRule } from '../domain/event.ts';
import { addressed } from './recipients.ts';

const named = (rules: RecipientRule[]) => [...addressed(rules).named];

describe('named users', () => {
  test('keep their order, each once', () => {
    expect(named(['bob', 'ada', { user_id: 'bob' }, 'ada', 'eve']).map(([id]) => id)).toEqual(['bob', 'ada', 'eve']);
    expect(addressed(['bob']).audience).toBeNull();
  });

  test('the first address per channel wins, also when it comes after the bare id', () => {
    expect(
      named([
        'ada',
        { user_id: 'ada', email: 'first@example.org' },
        'ada',
        { user_id: 'ada', email: 'second@example.org', webhook_url: 'https://example.org/first' },
        { user_id: 'ada', webhook_url: 'https://example.org/second', phone: '+4915112345678' },
      ]),
    ).toEqual([['ada', { user_id: 'ada', email: 'first@example.org', webhook_url: 'https://example.org/first', phone: '+4915112345678' }]]);
  });

  test('a user without addresses has none', () => {
    expect(named(['ada'])).toEqual([['ada', undefined]]);
  });
});

describe('sets of users', () => {
  test('roles add up; named users stay named', () => {
    const { named: who, audience } = addressed([{ role: 'owner' }, 'ada', { role: 'admin' }]);
    expect(audience).toEqual({ roles: ['owner', 'admin'], topics: [], all: false, activeWithinMs: null });
    expect([...who.keys()]).toEqual(['ada']);
  });

  test('topics, each once', () => {
    const { audience } = addressed([{ topic: 'b' }, { topic: 'a' }, { topic: 'b' }]);
    expect(audience).toEqual({ roles: [], topics: ['b', 'a'], all: false, activeWithinMs: null });
  });

  test('everybody', () => {
    expect(addressed([{ all: true }]).audience).toEqual({ roles: [], topics: [], all: true, activeWithinMs: null });
  });

  test.each([
    ['45s', 45_000],
    ['90m', 5_400_000],
    ['12h', 43_200_000],
    ['30d', 2_592_000_000],
  ])('seen within %s; of several the longest', (text, ms) => {
    expect(addressed([{ active_within: text }]).audience?.activeWithinMs).toBe(ms);
    expect(addressed([{ active_within: '1s' }, { active_within: text }, { active_within: '2s' }]).audience?.activeWithinMs).toBe(ms);
  });
});
