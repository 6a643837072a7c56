import { expect, test } from 'vitest';
import { parseRetryAfter } from './retry-after.ts';

const now = new Date('2026-01-01T00:00:00Z');
const wishes: [string | string[] | undefined, number | undefined][] = [
  ['120', 120_000],
  [' 7 ', 7_000],
  ['0', 0],
  ['9999999999', 9_999_999_999_000],
  ['Thu, 01 Jan 2026 00:01:00 GMT', 60_000],
  ['Thursday, 01-Jan-26 00:01:00 GMT', 60_000],
  ['Wed, 31 Dec 2025 23:00:00 GMT', 0],
  ['Thu, 99 Foo 2026 00:01:00 GMT', undefined],
  ['-5', undefined],
  ['1.5', undefined],
  ['1e3', undefined],
  ['0x10', undefined],
  ['99999999999999999999', undefined],
  ['Infinity', undefined],
  ['soon', undefined],
  ['2026-01-01', undefined],
  ['', undefined],
  [['1', '2'], undefined],
  [undefined, undefined],
];
test.each(wishes)('Retry-After %j is %j ms', (header, wanted) => {
  expect(parseRetryAfter(header, now)).toBe(wanted);
});
