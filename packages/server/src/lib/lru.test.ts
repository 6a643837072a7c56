import { expect, test } from 'vitest';
import { makeLru } from './lru.ts';

test('what was not asked for the longest goes first, and is handed over', () => {
  const evicted: number[] = [];
  const lru = makeLru<number>(2, (value) => evicted.push(value));
  lru.set('a', 1);
  lru.set('b', 2);
  expect(lru.get('a')).toBe(1);
  lru.set('c', 3);
  expect(evicted).toEqual([2]);
  expect([lru.get('a'), lru.get('b'), lru.get('c')]).toEqual([1, undefined, 3]);
  lru.set('a', 4);
  expect([...lru.values()]).toEqual([3, 4]);
  expect(evicted).toEqual([2]);
});
