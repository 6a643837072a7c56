import { expect, test } from 'vitest';
import { evictHung, finished, free, makeLanes, next, push, reserve, saturated, unreserve, type Lanes } from './limits.ts';

const settings = { slots: 8, laneLimitOf: () => 4, held: 100 };

function started(lanes: Lanes<string>, nowMs = 0): string[] {
  const jobs: string[] = [];
  for (let job = next(lanes, nowMs); job !== undefined; job = next(lanes, nowMs)) jobs.push(job);
  return jobs;
}

test('lanes take turns, and none passes its limit', () => {
  const lanes = makeLanes<string>(settings);
  for (const n of [1, 2, 3]) for (const lane of ['a', 'b']) push(lanes, lane, `${lane}${n}`, false);
  expect(started(lanes)).toEqual(['a1', 'b1', 'a2', 'b2']);
  finished(lanes, 'a', true, 1);
  expect(started(lanes, 1)).toEqual(['a3']);
});

test('answers earn concurrency up to the limit; a hang costs all of it', () => {
  const lanes = makeLanes<string>(settings);
  for (let n = 0; n < 30; n++) push(lanes, 'a', `a${n}`, false);
  expect(started(lanes)).toHaveLength(2);
  for (let n = 0; n < 10; n++) {
    finished(lanes, 'a', true, 1);
    started(lanes, 1);
  }
  expect(lanes.inFlight).toBe(4);
  for (let n = 0; n < 4; n++) finished(lanes, 'a', false, 2);
  expect(started(lanes, 2)).toHaveLength(1);
});

test('hung lanes together get a quarter of the slots, and give back what waited in memory', () => {
  const lanes = makeLanes<string>(settings);
  for (const lane of ['x', 'y', 'z']) for (const n of [1, 2, 3]) push(lanes, lane, `${lane}${n}`, false);
  expect(started(lanes)).toHaveLength(6);
  expect(evictHung(lanes, 999)).toEqual([]);
  expect(evictHung(lanes, 1_000).sort()).toEqual(['x3', 'y3', 'z3']);
  expect(saturated(lanes).sort()).toEqual(['x', 'y', 'z']);
  expect(reserve(lanes, 'x')).toBe(false);

  for (const lane of ['x', 'y', 'z']) for (let n = 0; n < 2; n++) finished(lanes, lane, false, 1_001);
  for (const lane of ['x', 'y', 'z']) push(lanes, lane, `${lane}4`, false);
  expect(started(lanes, 1_001)).toHaveLength(2);
  push(lanes, 'healthy', 'h', false);
  expect(started(lanes, 1_001)).toEqual(['h']);
});

test('what is held is bounded, and every place comes back', () => {
  const lanes = makeLanes<string>({ slots: 8, laneLimitOf: () => 4, held: 3 });
  expect(['a', 'b', 'c', 'd'].map((lane) => reserve(lanes, lane))).toEqual([true, true, true, false]);
  unreserve(lanes, 'a');
  push(lanes, 'b', 'b1', true);
  expect(free(lanes)).toBe(1);
  started(lanes);
  finished(lanes, 'b', true, 1);
  unreserve(lanes, 'c');
  expect(free(lanes)).toBe(3);
});

test('while hung lanes use up their share, what other hung lanes have in memory goes back, and nothing more of them is claimed', () => {
  const lanes = makeLanes<string>(settings);
  for (const lane of ['x', 'y', 'z']) push(lanes, lane, `${lane}1`, false);
  started(lanes);
  for (const lane of ['x', 'y', 'z']) finished(lanes, lane, false, 1);
  for (const lane of ['x', 'y', 'z']) for (const n of [2, 3]) push(lanes, lane, `${lane}${n}`, false);
  expect(started(lanes, 2)).toEqual(['x2', 'y2']);
  expect(evictHung(lanes, 3)).toEqual(['z2', 'z3']);
  expect(saturated(lanes)).toEqual(['x', 'y', 'z']);
  expect(evictHung(lanes, 252).sort()).toEqual(['x3', 'y3']);
  expect(free(lanes)).toBe(98);

  finished(lanes, 'x', true, 253);
  expect(saturated(lanes)).toEqual(['y']);
});

test('what was not sent says nothing about the far end', () => {
  const lanes = makeLanes<string>(settings);
  for (let n = 0; n < 9; n++) push(lanes, 'a', `a${n}`, false);
  expect(started(lanes)).toEqual(['a0', 'a1']);
  finished(lanes, 'a', null, 1);
  expect(started(lanes, 1)).toEqual(['a2']);
  finished(lanes, 'a', false, 2);
  finished(lanes, 'a', null, 3);
  expect(started(lanes, 3)).toEqual(['a3']);
  expect(lanes.suspectInFlight).toBe(1);
});
