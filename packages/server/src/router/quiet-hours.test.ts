import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DAYS, longestQuiet, MAX_QUIET_DAYS, type Day, type QuietHours } from '../domain/quiet-hours.ts';
import { addDays, instantsOf, localOf } from '../lib/zone.ts';
import { quietUntil } from './quiet-hours.ts';

const ZONES = { localOf, instantsOf, addDays };
const MINUTE = 60_000;
const DAY = 1_440 * MINUTE;

const hours = (start: string, end: string, ...days: Day[]): QuietHours => ({ enabled: true, start, end, days });
const until = (quiet: QuietHours, zone: string, at: string) => quietUntil(ZONES, quiet, { zone, at: new Date(at) })?.toISOString() ?? null;

describe('an ordinary night', () => {
  const night = hours('22:00', '07:00');
  test.each([
    ['a minute before', '2026-01-14T20:59:00Z', null],
    ['its first moment', '2026-01-14T21:00:00Z', '2026-01-15T06:00:00.000Z'],
    ['midnight', '2026-01-14T23:00:00Z', '2026-01-15T06:00:00.000Z'],
    ['its last moment', '2026-01-15T05:59:59.999Z', '2026-01-15T06:00:00.000Z'],
    ['the first moment after', '2026-01-15T06:00:00Z', null],
    ['noon', '2026-01-15T11:00:00Z', null],
  ])('%s', (_, at, want) => {
    expect(until(night, 'Europe/Berlin', at)).toBe(want);
  });

  test('in another zone is another time', () => {
    expect(until(night, 'America/New_York', '2026-01-14T23:00:00Z')).toBeNull();
    expect(until(night, 'America/New_York', '2026-01-15T04:00:00Z')).toBe('2026-01-15T12:00:00.000Z');
    expect(until(night, 'Asia/Kathmandu', '2026-01-14T16:15:00Z')).toBe('2026-01-15T01:15:00.000Z');
  });
});

describe('a window belongs to the day on which it begins', () => {
  const friday = hours('22:00', '07:00', 'fri');
  test.each([
    ['on Friday evening', '2026-01-16T22:00:00Z', '2026-01-17T07:00:00.000Z'],
    ['on Saturday morning still', '2026-01-17T06:59:00Z', '2026-01-17T07:00:00.000Z'],
    ['not on Friday morning', '2026-01-16T06:00:00Z', null],
    ['not on Saturday evening', '2026-01-17T22:00:00Z', null],
  ])('%s', (_, at, want) => {
    expect(until(friday, 'UTC', at)).toBe(want);
  });

  test('no day named is every day', () => {
    expect(until(hours('22:00', '07:00'), 'UTC', '2026-01-18T23:00:00Z')).toBe('2026-01-19T07:00:00.000Z');
  });
});

describe('start and end alike are 24 hours', () => {
  test.each([
    ['a whole weekend', hours('00:00', '00:00', 'sat', 'sun'), '2026-01-17T09:00:00Z', '2026-01-19T00:00:00.000Z'],
    ['its Sunday', hours('00:00', '00:00', 'sat', 'sun'), '2026-01-18T23:59:00Z', '2026-01-19T00:00:00.000Z'],
    ['not its Monday', hours('00:00', '00:00', 'sat', 'sun'), '2026-01-19T00:00:00Z', null],
    ['from evening to evening', hours('18:00', '18:00', 'fri'), '2026-01-17T17:59:00Z', '2026-01-17T18:00:00.000Z'],
    ['three days', hours('18:00', '18:00', 'fri', 'sat', 'sun'), '2026-01-16T18:00:00Z', '2026-01-19T18:00:00.000Z'],
  ])('%s', (_, quiet, at, want) => {
    expect(until(quiet, 'UTC', at)).toBe(want);
  });
});

describe('the night that is an hour shorter (Berlin, 29 March 2026, 02:00 → 03:00)', () => {
  test.each([
    ['ends by the new time', hours('22:00', '07:00'), '2026-03-28T23:00:00Z', '2026-03-29T05:00:00.000Z'],
    ['ends at the jump when its end is left out', hours('22:00', '02:30'), '2026-03-29T00:59:00Z', '2026-03-29T01:00:00.000Z'],
    ['is over after it', hours('22:00', '02:30'), '2026-03-29T01:00:00Z', null],
    ['begins at the jump when its start is left out', hours('02:30', '04:00'), '2026-03-29T01:00:00Z', '2026-03-29T02:00:00.000Z'],
    ['and not before', hours('02:30', '04:00'), '2026-03-29T00:59:00Z', null],
    ['is nothing when all of it is left out', hours('02:10', '02:50'), '2026-03-29T01:00:00Z', null],
  ])('%s', (_, quiet, at, want) => {
    expect(until(quiet, 'Europe/Berlin', at)).toBe(want);
  });
});

describe('the night that is an hour longer (Berlin, 25 October 2026, 03:00 → 02:00)', () => {
  test.each([
    ['ends by the new time', hours('22:00', '07:00'), '2026-10-24T22:00:00Z', '2026-10-25T06:00:00.000Z'],
    ['ends the second time its end is shown', hours('22:00', '02:30'), '2026-10-25T00:29:00Z', '2026-10-25T01:30:00.000Z'],
    ['does not end the first time', hours('22:00', '02:30'), '2026-10-25T00:45:00Z', '2026-10-25T01:30:00.000Z'],
    [
      'ends the first time when the clock is set back to its end',
      hours('22:00', '02:00'),
      '2026-10-24T23:59:00Z',
      '2026-10-25T00:00:00.000Z',
    ],
    ['is over until the clock is set back', hours('22:00', '02:00'), '2026-10-25T00:30:00Z', null],
    ['and is over after it', hours('22:00', '02:00'), '2026-10-25T01:00:00Z', null],
    ['begins the first time its start is shown', hours('02:30', '05:00'), '2026-10-25T00:30:00Z', '2026-10-25T04:00:00.000Z'],
    ['and goes on when the clock is set back before it', hours('02:30', '05:00'), '2026-10-25T01:10:00Z', '2026-10-25T04:00:00.000Z'],
  ])('%s', (_, quiet, at, want) => {
    expect(until(quiet, 'Europe/Berlin', at)).toBe(want);
  });
});

describe('clocks that change at midnight, and by half an hour', () => {
  test.each<[title: string, zone: string, quiet: QuietHours, times: [at: string, want: string | null]]>([
    [
      'a midnight that is left out ends it at the jump',
      'America/Havana',
      hours('22:00', '00:00'),
      ['2026-03-08T04:00:00Z', '2026-03-08T05:00:00.000Z'],
    ],
    ['and begins it there', 'America/Havana', hours('00:00', '06:00'), ['2026-03-08T05:00:00Z', '2026-03-08T10:00:00.000Z']],
    [
      'a midnight that is shown twice ends it the first time',
      'America/Havana',
      hours('22:00', '00:00'),
      ['2026-11-01T03:59:00Z', '2026-11-01T04:00:00.000Z'],
    ],
    ['half an hour back, to its end', 'Australia/Lord_Howe', hours('00:00', '01:30'), ['2026-04-04T14:29:00Z', '2026-04-04T14:30:00.000Z']],
    ['and it is over', 'Australia/Lord_Howe', hours('00:00', '01:30'), ['2026-04-04T14:59:00Z', null]],
    [
      'half an hour back, past its end',
      'Australia/Lord_Howe',
      hours('00:00', '01:45'),
      ['2026-04-04T14:50:00Z', '2026-04-04T15:15:00.000Z'],
    ],
    [
      'half an hour forward, over its end',
      'Australia/Lord_Howe',
      hours('22:00', '02:15'),
      ['2026-10-03T15:00:00Z', '2026-10-03T15:30:00.000Z'],
    ],
  ])('%s', (_, zone, quiet, [at, want]) => {
    expect(until(quiet, zone, at)).toBe(want);
  });
});

test.each([
  [hours('22:00', '07:00'), 9 / 24],
  [hours('07:00', '06:59'), 1_439 / 1_440],
  [hours('00:00', '00:00', 'sat', 'sun'), 2],
  [hours('18:00', '18:00', 'sun', 'mon', 'fri', 'sat'), 4],
  [hours('18:00', '18:00', 'mon', 'wed'), 1],
  [hours('00:00', '00:00'), Infinity],
])('the longest of %o is %d days', (quiet, want) => {
  expect(longestQuiet(quiet)).toBeCloseTo(want, 10);
});

/** What a clock on the wall shows, by another library than the one that is tested. */
function makeWall(zone: string): (at: number) => { day: number; minute: number } {
  const format = new Intl.DateTimeFormat('en-GB', {
    ...{ timeZone: zone, hourCycle: 'h23', year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric' },
  });
  return (at) => {
    const parts = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
    return { day: Date.UTC(parts.year!, parts.month! - 1, parts.day) / DAY, minute: parts.hour! * 60 + parts.minute! };
  };
}

/** The day of the window that the clock is in. */
function begunOn({ start, end }: QuietHours, { day, minute }: { day: number; minute: number }): number | null {
  const minuteOf = (text: string) => Number(text.slice(0, 2)) * 60 + Number(text.slice(3));
  if (end > start) return minute >= minuteOf(start) && minute < minuteOf(end) ? day : null;
  if (minute >= minuteOf(start)) return day;
  return minute < minuteOf(end) ? day - 1 : null;
}

/** Quarter by quarter: the window that the clock is in, each from its first to its last quarter. */
function windowsAround(quiet: QuietHours, zone: string, at: number): { from: number; to: number }[] {
  const wall = makeWall(zone);
  const windows = new Map<number, { from: number; to: number }>();
  for (let time = at - 2 * DAY; time < at + 5 * DAY; time += 15 * MINUTE) {
    const begun = begunOn(quiet, wall(time));
    // 1 January 1970 was a Thursday.
    if (begun === null || (quiet.days!.length > 0 && !quiet.days!.includes(DAYS[(begun + 3) % 7]!))) continue;
    const known = windows.get(begun);
    windows.set(begun, { from: known?.from ?? time, to: time + 15 * MINUTE });
  }
  return [...windows.values()];
}

const ZONE_NAMES = [
  'Europe/Berlin',
  'America/New_York',
  'America/Havana',
  'America/Nuuk',
  'Australia/Lord_Howe',
  'Asia/Kolkata',
  'Africa/Cairo',
  'UTC',
  'Pacific/Auckland',
];
const quarter = fc.integer({ min: 0, max: 95 });
const clock = quarter.map((n) => `${String(n >> 2).padStart(2, '0')}:${String((n & 3) * 15).padStart(2, '0')}`);
const YEAR = Date.UTC(2026, 0, 1);
/** Any time of the year, and more often than not one near a change of some clock. */
const CHANGES = [
  '2026-03-08T07:00Z',
  '2026-03-29T01:00Z',
  '2026-10-25T01:00Z',
  '2026-11-01T06:00Z',
  '2026-03-08T05:00Z',
  '2026-04-04T15:00Z',
  '2026-10-03T15:30Z',
  '2026-04-23T22:00Z',
  '2026-10-29T21:00Z',
  '2026-09-26T14:00Z',
];
const instant = fc.oneof(
  fc.integer({ min: 0, max: 365 * 1_440 }).map((minute) => YEAR + minute * MINUTE),
  fc
    .tuple(fc.constantFrom(...CHANGES), fc.integer({ min: -1_500, max: 1_500 }))
    .map(([change, minute]) => Date.parse(change) + minute * MINUTE),
);

test('over a year of zones: never inside a window, and released at the first moment after', () => {
  const days = fc.subarray([...DAYS]);
  fc.assert(
    fc.property(fc.constantFrom(...ZONE_NAMES), fc.tuple(clock, clock), days, instant, (zone, [start, end], on, at) => {
      const quiet = hours(start, end, ...on);
      fc.pre(longestQuiet(quiet) <= MAX_QUIET_DAYS);
      const windows = windowsAround(quiet, zone, Math.floor(at / (15 * MINUTE)) * 15 * MINUTE);
      const inside = (time: number) => windows.find(({ from, to }) => from <= time && time < to);
      let expected: number | null = null;
      for (let time = at, found = inside(time); found; found = inside(time)) expected = time = found.to;
      expect(quietUntil(ZONES, quiet, { zone, at: new Date(at) })?.getTime() ?? null).toBe(expected);
    }),
    { numRuns: 120, examples: [['Australia/Lord_Howe', ['00:00', '01:30'], [], Date.parse('2026-04-04T14:59:00Z')]] },
  );
});
