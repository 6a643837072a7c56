import { expect, test } from 'vitest';
import { derivedId, firstIdAt, newId, parseId, publicId, timeOf } from './id.ts';

const at = new Date('2026-11-21T10:00:00.123Z');

test('an id keeps its time, and lies inside the bounds of its millisecond', () => {
  for (const id of [newId(at), derivedId(at, 'event', 'ada')]) {
    expect(timeOf(id)).toEqual(at);
    expect(id >= firstIdAt(at) && id < firstIdAt(new Date(at.getTime() + 1))).toBe(true);
    expect(id[14]).toBe('7');
  }
});

test('derived ids repeat for the same parts and differ for others', () => {
  expect(derivedId(at, 'e', 'ada')).toBe(derivedId(at, 'e', 'ada'));
  const others = [
    ['e', 'bob'],
    ['e', 'ada', 'email'],
    ['ea', 'da'],
    ['e\0', 'ada'],
  ].map((parts) => derivedId(at, ...parts));
  expect(new Set([...others, derivedId(at, 'e', 'ada')]).size).toBe(5);
});

test('a public id reads back, and nothing else does', () => {
  const id = newId(at);
  expect(parseId('evt', publicId('evt', id))).toBe(id);
  for (const wrong of [publicId('ntf', id), 'evt_', 'evt_zzz', id, '', `${publicId('evt', id)}x`, publicId('evt', id).toUpperCase()])
    expect(parseId('evt', wrong)).toBeUndefined();
});
