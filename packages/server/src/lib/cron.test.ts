import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cronProblem, latestRun, nextRun, nextRuns } from './cron.ts';

const times = (cron: string, timeZone: string, after: string, count: number) =>
  nextRuns({ cron, timeZone }, new Date(after), count).map((time) => time.toISOString().slice(5, 16));

// Berlin sets its clock from 02:00 to 03:00 on 29 March 2026 (01:00 UTC), and from 03:00 to 02:00 on 25 October (01:00 UTC).
describe('the night with a missing hour', () => {
  test.each<[title: string, cron: string, from: [zone: string, after: string], want: string[]]>([
    [
      'a time that does not exist comes when the clock jumps, once',
      '30 2 * * *',
      ['Europe/Berlin', '2026-03-27T12:00Z'],
      ['03-28T01:30', '03-29T01:00', '03-30T00:30'],
    ],
    ['so does one of a list', '30 2,14 * * *', ['Europe/Berlin', '2026-03-28T20:00Z'], ['03-29T01:00', '03-29T12:30', '03-30T00:30']],
    ['the hour after it is not told twice', '0 3 * * *', ['Europe/Berlin', '2026-03-28T12:00Z'], ['03-29T01:00', '03-30T01:00']],
    ['every hour goes on', '0 * * * *', ['Europe/Berlin', '2026-03-28T23:30Z'], ['03-29T00:00', '03-29T01:00', '03-29T02:00']],
    ['a missing midnight comes at one', '0 0 * * *', ['America/Havana', '2026-03-07T12:00Z'], ['03-08T05:00', '03-09T04:00']],
    [
      'a jump to midnight (Nuuk, 28 March, 23:00)',
      '30 23 * * *',
      ['America/Nuuk', '2026-03-27T12:00Z'],
      ['03-28T01:30', '03-29T01:00', '03-30T00:30'],
    ],
    ['on that weekday alone', '30 23 * * sat', ['America/Nuuk', '2026-03-21T12:00Z'], ['03-22T01:30', '03-29T01:00', '04-05T00:30']],
    ['not twice where midnight is a time too', '0 23,0 * * *', ['America/Nuuk', '2026-03-28T12:00Z'], ['03-29T01:00', '03-30T00:00']],
    ['every hour goes on there', '30 * * * *', ['America/Nuuk', '2026-03-29T00:00Z'], ['03-29T00:30', '03-29T01:30']],
    ['a clock that is set by half an hour', '15 2 * * *', ['Australia/Lord_Howe', '2026-10-03T00:00Z'], ['10-03T15:30', '10-04T15:15']],
  ])('%s', (_, cron, [zone, after], want) => {
    expect(times(cron, zone, after, want.length)).toEqual(want);
  });
});

describe('the night with an hour twice', () => {
  test.each<[title: string, cron: string, from: [zone: string, after: string], want: string[]]>([
    [
      'a time that happens twice comes the first time',
      '30 2 * * *',
      ['Europe/Berlin', '2026-10-23T12:00Z'],
      ['10-24T00:30', '10-25T00:30', '10-26T01:30'],
    ],
    ['so does one of a list', '30 2,14 * * *', ['Europe/Berlin', '2026-10-24T20:00Z'], ['10-25T00:30', '10-25T13:30', '10-26T01:30']],
    [
      'every hour is every hour',
      '0 * * * *',
      ['Europe/Berlin', '2026-10-24T22:30Z'],
      ['10-24T23:00', '10-25T00:00', '10-25T01:00', '10-25T02:00'],
    ],
    ['a step follows the clock', '*/30 * * * *', ['Europe/Berlin', '2026-10-25T00:00Z'], ['10-25T00:30', '10-25T01:00', '10-25T01:30']],
    ['a clock that is set by half an hour', '45 1 * * *', ['Australia/Lord_Howe', '2026-04-04T00:00Z'], ['04-04T14:45', '04-05T15:15']],
  ])('%s', (_, cron, [zone, after], want) => {
    expect(times(cron, zone, after, want.length)).toEqual(want);
  });

  test('asked after the first of the two, the second is not one more', () => {
    expect(nextRun({ cron: '30 2 * * *', timeZone: 'Europe/Berlin' }, new Date('2026-10-25T00:30:00Z'))).toEqual(
      new Date('2026-10-26T01:30:00Z'),
    );
  });
});

test('in another zone the same rule is another time', () => {
  const at = (timeZone: string) => times('0 9 * * mon-fri', timeZone, '2026-03-06T20:00Z', 1);
  expect(['UTC', 'Europe/Berlin', 'America/New_York', 'Pacific/Apia', 'Asia/Kolkata'].map((zone) => at(zone))).toEqual([
    ['03-09T09:00'],
    ['03-09T08:00'],
    ['03-09T13:00'],
    ['03-08T20:00'],
    ['03-09T03:30'],
  ]);
});

describe('clocks that change for good', () => {
  test.each<[title: string, cron: string, from: [zone: string, after: string], want: string[]]>([
    [
      'a day that is left out comes when it is passed over',
      '0 9 30 * *',
      ['Pacific/Apia', '2011-12-01T00:00Z'],
      ['12-30T10:00', '01-29T19:00'],
    ],
    ['an hour back, and no summer', '0 9 * * *', ['Europe/Volgograd', '2020-12-26T00:00Z'], ['12-26T05:00', '12-27T06:00', '12-28T06:00']],
    [
      'half an hour forward, to midnight',
      '45 23 * * *',
      ['Asia/Pyongyang', '2018-05-03T00:00Z'],
      ['05-03T15:15', '05-04T15:00', '05-05T14:45'],
    ],
    ['no summer any more', '0 9 * * *', ['America/Mexico_City', '2022-10-29T00:00Z'], ['10-29T14:00', '10-30T15:00', '10-31T15:00']],
  ])('%s', (_, cron, [zone, after], want) => {
    expect(times(cron, zone, after, want.length)).toEqual(want);
  });
});

test('the latest time is one that is there now, and not one to come', () => {
  const rule = { cron: '0 9 * * *', timeZone: 'Europe/Berlin' };
  const latest = (at: string) => latestRun(rule, new Date(at))?.toISOString();
  expect(latest('2026-03-06T08:00:00.000Z')).toBe('2026-03-06T08:00:00.000Z');
  expect(latest('2026-03-06T08:00:00.001Z')).toBe('2026-03-06T08:00:00.000Z');
  expect(latest('2026-03-06T07:59:59.999Z')).toBe('2026-03-05T08:00:00.000Z');
  expect(latestRun({ cron: '30 23 * * *', timeZone: 'America/Nuuk' }, new Date('2026-03-29T12:00:00Z'))).toEqual(
    new Date('2026-03-29T01:00:00Z'),
  );
  expect(latestRun({ cron: '30 2 * * *', timeZone: 'Europe/Berlin' }, new Date('2026-03-29T06:00:00Z'))).toEqual(
    new Date('2026-03-29T01:00:00Z'),
  );
});

test.each(['0 9 * * mon-fri', '*/5 * * * *', '0 9 1,15 * *', '0 9 L * *', '0 9 * * mon#2', '@daily'])('%s is an expression', (cron) => {
  expect(cronProblem(cron)).toBeUndefined();
});

test.each([
  ['', 'Five fields: minute, hour, day, month, weekday.'],
  ['0 9 * *', 'Five fields: minute, hour, day, month, weekday.'],
  ['0 0 9 * * *', 'Five fields: minute, hour, day, month, weekday.'],
  ['2030-01-31T12:00:00', 'Five fields: minute, hour, day, month, weekday.'],
  ['60 9 * * *', 'Invalid value for minute: 60'],
  ['0 9 * * someday', expect.stringContaining('someday') as string],
  ['@reboot', expect.stringContaining('@reboot') as string],
])('%s is none', (cron, problem) => {
  expect(cronProblem(cron)).toEqual(problem);
});

test('a date that never comes has no time', () => {
  expect(nextRun({ cron: '0 9 31 4 *', timeZone: 'UTC' }, new Date('2026-03-06T00:00:00Z'))).toBeNull();
});

const MINUTE = 60_000;
const DAY = 1_440 * MINUTE;

/** Minutes since 1970 as a clock on the wall counts them, by another library than those that are tested. */
function makeWall(zone: string): (at: number) => number {
  const format = new Intl.DateTimeFormat('en-GB', {
    ...{ timeZone: zone, hourCycle: 'h23', year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric' },
  });
  return (at) => {
    const parts = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
    return Date.UTC(parts.year!, parts.month! - 1, parts.day, parts.hour, parts.minute) / MINUTE;
  };
}

/** Of each day the first moment at which the clock shows the time, or has passed it. */
function expectedRuns(zone: string, minute: number, after: number, until: number): number[] {
  const wall = makeWall(zone);
  const runs: number[] = [];
  let furthest = wall(after - 2 * DAY); // twice shown counts once
  for (let at = after - 2 * DAY; at <= until; at += MINUTE) {
    const now = wall(at);
    const passed = Math.floor((now - minute) / 1_440) > Math.floor((furthest - minute) / 1_440);
    if (passed && at > after) runs.push(at);
    furthest = Math.max(furthest, now);
  }
  return runs;
}

const ZONES = [
  'Europe/Berlin',
  'America/New_York',
  'America/Havana',
  'America/Nuuk',
  'Africa/Cairo',
  'Australia/Lord_Howe',
  'Asia/Kolkata',
];
/** Near which clocks are changed in 2026. */
const CHANGES = ['2026-03-08T06:00Z', '2026-03-29T01:00Z', '2026-04-04T15:00Z', '2026-04-23T22:00Z', '2026-10-03T15:30Z']
  .concat(['2026-10-25T01:00Z', '2026-10-29T21:00Z', '2026-11-01T05:00Z', '2026-06-15T12:00Z'])
  .map((time) => Date.parse(time));

test('over a year of zones: each day has its time once, however the clock is changed', () => {
  const start = fc.tuple(fc.constantFrom(...CHANGES), fc.integer({ min: -1_440, max: 120 })).map(([at, minutes]) => at + minutes * MINUTE);
  fc.assert(
    fc.property(fc.constantFrom(...ZONES), fc.integer({ min: 0, max: 1_439 }), start, (timeZone, minute, after) => {
      const rule = { cron: `${minute % 60} ${Math.floor(minute / 60)} * * *`, timeZone };
      const until = after + 2 * DAY;
      const runs = nextRuns(rule, new Date(after), 4).map((time) => time.getTime());
      const expected = expectedRuns(timeZone, minute, after, until);
      expect(runs.filter((time) => time <= until)).toEqual(expected);
      expect(latestRun(rule, new Date(until))!.getTime()).toBe(expected.at(-1));
    }),
    { numRuns: 40 },
  );
});
