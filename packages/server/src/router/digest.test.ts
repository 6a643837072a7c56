import { describe, expect, test } from 'vitest';
import type { WaitingItem } from '../domain/digest.ts';
import type { DigestTimes, EventRequest } from '../domain/event.ts';
import { NO_PREFERENCES, type Layer, type Person, type Preferences, type Subject } from '../domain/preference.ts';
import { nextRun } from '../lib/cron.ts';
import { closing, closingTime, digestOf, versionOf, weightOf, wordsOf } from './digest.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

describe('which digest something goes into', () => {
  const subject: Subject = { type: 'build.failed', category: 'builds', severity: 'medium', tags: [], critical: false };
  const wish = (layer: Layer, value = '15m') => ({ layer, value });
  const ofType: EventRequest['digest'] = { key: 'red', every_ms: HOUR };
  const over = { max_per_window: 1, window_seconds: 60, per: [], over: 'digest' } as const;

  test.each<
    [string, Partial<Subject>, Pick<EventRequest, 'digest' | 'throttle'>, ReturnType<typeof wish> | undefined, [string, DigestTimes] | null]
  >([
    ['nobody says anything', {}, {}, undefined, null],
    ['the type says', {}, { digest: ofType }, undefined, ['key red', { every_ms: HOUR }]],
    ['the type says no key', {}, { digest: { cron: '0 9 * * *' } }, undefined, ['type build.failed', { cron: '0 9 * * *' }]],
    ['the person says, of the channel', {}, {}, wish('channel'), ['channel', { every_ms: 15 * MINUTE }]],
    ['the tenant says, of the channel', {}, {}, wish('defaults.channel'), ['channel', { every_ms: 15 * MINUTE }]],
    ['the person says, of the category', {}, {}, wish('category'), ['category builds', { every_ms: 15 * MINUTE }]],
    ['the person says, of the type', {}, {}, wish('event_type'), ['type build.failed', { every_ms: 15 * MINUTE }]],
    ['both say', {}, { digest: ofType }, wish('channel'), ['key red', { every_ms: 15 * MINUTE }]],
    ['the person wants none', {}, { digest: ofType }, wish('channel', 'off'), null],
    ['it is critical', { critical: true }, { digest: ofType }, wish('channel'), null],
    ['it is urgent', { severity: 'urgent' }, { digest: ofType }, wish('channel'), null],
    ['the digest is for what is over a limit', {}, { digest: ofType, throttle: over }, undefined, null],
    ['it is, and the person says', {}, { digest: ofType, throttle: over }, wish('channel'), ['key red', { every_ms: 15 * MINUTE }]],
  ])('%s', (...[, change, request, said, expected]) => {
    const into = digestOf({ ...subject, ...change }, request, said);
    expect(into && [into.key, { every_ms: into.times.every_ms, cron: into.times.cron }]).toEqual(
      expected && [expected[0], { every_ms: expected[1].every_ms, cron: expected[1].cron }],
    );
  });
});

describe('when it closes', () => {
  test.each<[string, DigestTimes, string | null, string, string]>([
    ['so long after the first item', { every_ms: HOUR }, null, '2026-01-01T10:20:00Z', '2026-01-01T11:20:00Z'],
    ['as long over the hour that is left out', { every_ms: 2 * HOUR }, 'Europe/Berlin', '2026-03-29T00:30:00Z', '2026-03-29T02:30:00Z'],
    ['as long over the hour that comes twice', { every_ms: 2 * HOUR }, 'Europe/Berlin', '2026-10-25T00:30:00Z', '2026-10-25T02:30:00Z'],
    ['at the hour in UTC', { cron: '0 9 * * *' }, null, '2026-01-01T09:00:00Z', '2026-01-02T09:00:00Z'],
    ["at the hour in the user's zone", { cron: '0 9 * * 1-5' }, 'Europe/Berlin', '2026-01-02T07:59:59Z', '2026-01-02T08:00:00Z'],
    [
      'on Monday, after a Friday and a night that is an hour shorter',
      { cron: '0 9 * * 1-5' },
      'Europe/Berlin',
      '2026-03-27T09:00:00Z',
      '2026-03-30T07:00:00Z',
    ],
    [
      'on Monday, after a night that is an hour longer',
      { cron: '0 9 * * 1-5' },
      'America/New_York',
      '2026-10-30T14:00:00Z',
      '2026-11-02T14:00:00Z',
    ],
    ['where the clock jumps over its time', { cron: '30 2 * * *' }, 'Europe/Berlin', '2026-03-28T12:00:00Z', '2026-03-29T01:00:00Z'],
    ['the first of two times', { cron: '30 2 * * *' }, 'Europe/Berlin', '2026-10-24T12:00:00Z', '2026-10-25T00:30:00Z'],
    ['and not at the second', { cron: '30 2 * * *' }, 'Europe/Berlin', '2026-10-25T00:30:00Z', '2026-10-26T01:30:00Z'],
    ['every quarter, in both hours', { cron: '*/15 * * * *' }, 'Europe/Berlin', '2026-10-25T00:46:00Z', '2026-10-25T01:00:00Z'],
    ['after seven days, whatever the pattern', { cron: '0 0 1 1 *' }, null, '2026-02-01T00:00:00Z', '2026-02-08T00:00:00Z'],
  ])('%s', (...[, times, zone, at, expected]) => {
    expect(closingTime(times, { zone, at: new Date(at) }, nextRun).toISOString()).toBe(expected.replace('Z', '.000Z'));
  });
});

const NOW = new Date('2026-01-05T12:00:00Z');
const item = (n: number, more: Partial<WaitingItem> = {}): WaitingItem => ({
  ...{
    deliveryId: `d${n}`,
    digestId: 'g',
    tenantId: 'acme',
    notificationId: `n${n}`,
    eventId: `e${n}`,
    at: new Date(NOW.getTime() - n * MINUTE),
  },
  ...{ expiresAt: null, type: 'build.failed', category: 'builds', version: null, severity: 'medium', tags: [], critical: false },
  ...{ subject: `subject ${n}`, body: `body ${n}`, actionUrl: null, data: {}, onlyIfUnread: false, seen: false },
  ...more,
});

describe('what becomes of its items', () => {
  const NIGHT = { enabled: true, start: '22:00', end: '07:00', let_through: ['high', 'urgent'] as const };
  const MORNING = new Date('2026-01-06T07:00:00Z');
  const person = (preferences: Preferences = NO_PREFERENCES, more: Partial<Person> = {}): Person => ({
    ...{ active: true, timeZone: null, preferences, suppressed: {} },
    ...more,
  });
  function outcome(items: readonly WaitingItem[], who: Person | undefined, quiet = false) {
    const context = { now: NOW, person: who, defaults: undefined, quietUntil: () => (quiet ? MORNING : null) };
    const { dropped, kept, heldUntil } = closing({ channel: 'email', address: 'a@example.org' }, items, context);
    return {
      dropped: dropped.map((one) => `${one.item.deliveryId} ${one.state} ${one.reason}`),
      kept: kept.map(({ deliveryId }) => deliveryId),
      heldUntil,
    };
  }
  const sent = (...kept: string[]) => ({ dropped: [], kept, heldUntil: null });
  const off = { channels: { email: { enabled: false } } };

  test.each<[string, readonly WaitingItem[], Person | undefined, ReturnType<typeof outcome>]>([
    ['nothing stops it', [item(2), item(1)], person(), sent('d2', 'd1')],
    ['there is no item', [], person(), sent()],
    ['the user is gone', [item(1)], undefined, { ...sent(), dropped: ['d1 skipped user_unknown'] }],
    ['the user is not active', [item(1)], person(undefined, { active: false }), { ...sent(), dropped: ['d1 skipped user_inactive'] }],
    ['the channel is off', [item(1)], person(off), { ...sent(), dropped: ['d1 skipped opted_out'] }],
    [
      'the channel is off, and one is critical',
      [item(2), item(1, { critical: true })],
      person(off),
      { ...sent('d1'), dropped: ['d2 skipped opted_out'] },
    ],
    [
      'the address was refused',
      [item(1)],
      person(undefined, { suppressed: { email: 'a@example.org' } }),
      { ...sent(), dropped: ['d1 skipped suppressed'] },
    ],
    ['one has expired', [item(2, { expiresAt: NOW }), item(1)], person(), { ...sent('d1'), dropped: ['d2 expired expired'] }],
    [
      'one was read, where that counts',
      [item(2, { onlyIfUnread: true, seen: true }), item(1, { seen: true })],
      person(),
      { ...sent('d1'), dropped: ['d2 skipped read_elsewhere'] },
    ],
    [
      'one type is not wanted',
      [item(2, { type: 'noise' }), item(1)],
      person({ channels: {}, event_types: { noise: { email: { enabled: false } } } }),
      { ...sent('d1'), dropped: ['d2 skipped opted_out'] },
    ],
  ])('%s', (_what, items, who, expected) => {
    expect(outcome(items, who)).toEqual(expected);
  });

  test('in quiet hours it is held to their end, with what it has; one that may pass takes the others along', () => {
    const quiet = person({ channels: {}, quiet_hours: NIGHT });
    expect(outcome([item(2), item(1, { expiresAt: NOW })], quiet, true)).toEqual({
      dropped: ['d1 expired expired'],
      kept: ['d2'],
      heldUntil: MORNING,
    });
    expect(outcome([item(2), item(1, { severity: 'high' })], quiet, true)).toEqual(sent('d2', 'd1'));
    expect(outcome([item(1, { expiresAt: NOW })], quiet, true).heldUntil).toBeNull();
  });
});

describe('what its message says', () => {
  const clock = (at: Date) => at.toISOString().slice(0, 16).replace('T', ' ');
  const wording = { brief: false, clock, baseUrl: null };

  test('its items in order, each with its time and its link', () => {
    const items = [item(2, { actionUrl: 'https://example.org/2' }), item(1, { actionUrl: '/path', body: '' })];
    expect(wordsOf(items, wording)).toEqual({
      subject: '2 notifications',
      body: '• subject 2\nbody 2\n2026-01-05 11:58 · https://example.org/2\n\n• subject 1\n2026-01-05 11:59',
    });
    expect(wordsOf(items, { ...wording, baseUrl: 'https://app.example.org/' }).body).toContain('11:59 · https://app.example.org/path');
  });

  test('subjects alone where there is little room, and its subject where there is one', () => {
    expect(wordsOf([item(2), item(1, { subject: '' })], { ...wording, brief: true }).body).toBe('• subject 2\n• build.failed');
    expect(wordsOf([item(1)], wording).subject).toBe('subject 1');
  });

  test('it is as heavy as the heaviest of them, and expires with the first', () => {
    const [soon, late] = [new Date(NOW.getTime() + HOUR), new Date(NOW.getTime() + DAY)];
    const items = [item(3, { tags: ['a'], expiresAt: late }), item(2, { severity: 'high', tags: ['b', 'a'], expiresAt: soon }), item(1)];
    expect(weightOf(items)).toEqual({ severity: 'high', tags: ['a', 'b'], expiresAt: soon });
  });

  test("their type's templates say it, by the newest version, when they are of one type", () => {
    expect(versionOf([item(2, { version: 'v1' }), item(1, { version: 'v2' })])).toBe('v2');
    expect(versionOf([item(2, { version: 'v1' }), item(1, { version: 'v2', type: 'other' })])).toBeNull();
    expect(versionOf([item(1)])).toBeNull();
  });
});
