import { expect, test } from 'vitest';
import { occurrenceOf, timeAfter, type Timing } from './recurring.ts';

const HOUR = 3_600_000;
const hour = (n: number) => new Date(n * HOUR);
/** Every hour on the hour. */
const RUNS = {
  next: (_: Timing, after: Date) => new Date((Math.floor(after.getTime() / HOUR) + 1) * HOUR),
  latest: (_: Timing, until: Date) => new Date(Math.floor(until.getTime() / HOUR) * HOUR),
};
const timing = (more: Partial<Timing> = {}): Timing => ({ cron: '@hourly', timeZone: 'UTC', startsAt: null, endsAt: null, ...more });

test.each<[string, Partial<Timing>, Date, Date | null]>([
  ['without bounds: the next one', {}, hour(1.5), hour(2)],
  ['the one after, when it stands at one', {}, hour(2), hour(3)],
  ['not before it starts', { startsAt: hour(7.5) }, hour(1), hour(8)],
  ['the start itself is one', { startsAt: hour(7) }, hour(1), hour(7)],
  ['a start that has passed means nothing', { startsAt: hour(7) }, hour(9), hour(10)],
  ['the end itself is one', { endsAt: hour(3) }, hour(2), hour(3)],
  ['none after its end', { endsAt: hour(2.9) }, hour(2), null],
])('the next time: %s', (_, more, after, want) => {
  expect(timeAfter(timing(more), after, RUNS)).toEqual(want);
});

test.each<[string, Partial<Timing>, { dueAt: Date; now: Date }, { at: Date; nextAt: Date | null }]>([
  ['in time', {}, { dueAt: hour(5), now: hour(5) }, { at: hour(5), nextAt: hour(6) }],
  ['a little late', {}, { dueAt: hour(5), now: hour(5.5) }, { at: hour(5), nextAt: hour(6) }],
  ['hours late: the latest one, once', {}, { dueAt: hour(5), now: hour(9.5) }, { at: hour(9), nextAt: hour(10) }],
  [
    'late, and over meanwhile: the last one there was',
    { endsAt: hour(7) },
    { dueAt: hour(5), now: hour(9.5) },
    { at: hour(7), nextAt: null },
  ],
  ['the last one', { endsAt: hour(5) }, { dueAt: hour(5), now: hour(5) }, { at: hour(5), nextAt: null }],
  ['a clock that is behind: not the same one again', {}, { dueAt: hour(5), now: hour(4.9) }, { at: hour(5), nextAt: hour(6) }],
])('what is due: %s', (_, more, when, want) => {
  expect(occurrenceOf(timing(more), when, RUNS)).toEqual(want);
});
