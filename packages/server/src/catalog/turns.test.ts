import { expect, test } from 'vitest';
import { makePatience, makeTurns } from './turns.ts';

test('owners take turns, whoever came first with how many', () => {
  const turns = makeTurns<string>(10);
  for (const job of ['a1', 'a2', 'a3', 'b1', 'a4', 'c1', 'b2']) turns.add(job.slice(0, 1), job);
  expect(Array.from({ length: 8 }, turns.next)).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3', 'a4', undefined]);
});

test('who has too many waiting is refused, and nobody else', () => {
  const turns = makeTurns<number>(2);
  expect([1, 2, 3].map((job) => turns.add('a', job))).toEqual([true, true, false]);
  expect(turns.add('b', 4)).toBe(true);
  turns.next();
  expect(turns.add('a', 5)).toBe(true);
});

test('slowness is borne up to a limit, by name, and forgotten evenly', () => {
  const patience = makePatience(1_500, 60_000);
  patience.spend('a', 1_000, 0);
  expect(patience.isSpent('a', 0)).toBe(false);
  patience.spend('a', 1_000, 0);
  expect([patience.isSpent('a', 0), patience.isSpent('b', 0)]).toEqual([true, false]);
  expect([patience.isSpent('a', 19_000), patience.isSpent('a', 21_000)]).toEqual([true, false]);
  patience.spend('a', 500, 20_000);
  expect([patience.isSpent('a', 39_000), patience.isSpent('a', 41_000)]).toEqual([true, false]);
});
