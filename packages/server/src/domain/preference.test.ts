import { describe, expect, test } from 'vitest';
import { ownAddress, verdictOf, type About, type Person, type Preferences } from './preference.ts';

const MORNING = new Date('2026-01-02T07:00:00Z');
const NIGHT = { enabled: true, start: '22:00', end: '07:00' };

const about = (more: Partial<About> = {}): About => ({
  channel: 'email',
  type: 'bill.due',
  category: 'billing',
  severity: 'medium',
  tags: ['money', 'q1'],
  address: 'ada@example.org',
  critical: false,
  ...more,
});

interface Case {
  readonly preferences?: Partial<Preferences>;
  readonly defaults?: Partial<Preferences>;
  readonly more?: Partial<About>;
  readonly person?: Partial<Person>;
  /** The zones in which the hours were asked for. */
  readonly zones?: string[];
}

/** `kind reason layer` */
function verdict({ preferences = {}, defaults, more, person, zones = [] }: Case): string {
  const quietUntil = (_: unknown, zone: string) => (zones.push(zone), MORNING);
  const whole: Person = { active: true, timeZone: null, preferences: { channels: {}, ...preferences }, suppressed: {}, ...person };
  const said = verdictOf(whole, about(more), { defaults: defaults && { channels: {}, ...defaults }, quietUntil });
  return [said.kind, 'reason' in said ? said.reason : undefined, said.layer].filter((word) => word != null).join(' ');
}

const only = (preference: NonNullable<Preferences['channels']['email']>): Case => ({ preferences: { channels: { email: preference } } });
const off = { email: { enabled: false } };
const on = { email: { enabled: true } };

describe('filters of one channel', () => {
  test.each<[string, Case, string]>([
    ['nothing is said', {}, 'open'],
    ['it is off', only({ enabled: false }), 'stop opted_out channel'],
    ['another channel is off', { preferences: { channels: { webhook: { enabled: false } } } }, 'open'],
    ['the severity is among those wanted', only({ severities: ['low', 'medium'] }), 'open'],
    ['the severity is not', only({ severities: ['high', 'urgent'] }), 'stop severity_filtered channel'],
    ['no severity is named', only({ severities: [] }), 'open'],
    ['one of the tags is wanted', only({ include_tags: ['q1', 'q2'] }), 'open'],
    ['none of the tags is', only({ include_tags: ['q2'] }), 'stop tag_not_included channel'],
    ['no tag is named', only({ include_tags: [], exclude_tags: [] }), 'open'],
    ['a tag is unwanted', only({ exclude_tags: ['q1'] }), 'stop tag_excluded channel'],
    ['a tag is wanted and another unwanted', only({ include_tags: ['q1'], exclude_tags: ['money'] }), 'stop tag_excluded channel'],
    ['the person is not active', { ...only({ enabled: true }), person: { active: false } }, 'stop user_inactive'],
    ['the address was refused', { person: { suppressed: { email: 'ada@example.org' } } }, 'stop suppressed'],
  ])('%s', (_, given, want) => {
    expect(verdict(given)).toBe(want);
  });
});

describe('the layer that is heard first decides, field by field', () => {
  test.each<[string, Case, string]>([
    ['type over category', { preferences: { event_types: { 'bill.due': on }, categories: { billing: off } } }, 'open event_type'],
    ['category over channel', { preferences: { categories: { billing: off }, channels: on } }, 'stop opted_out category'],
    ['another type is another matter', { preferences: { event_types: { 'bill.paid': off }, channels: on } }, 'open channel'],
    ['without a category there is none', { preferences: { categories: { billing: off } }, more: { category: null } }, 'open'],
    ['channel over the tenant', { preferences: { channels: on }, defaults: { event_types: { 'bill.due': off } } }, 'open channel'],
    ['the tenant, by type', { defaults: { event_types: { 'bill.due': off }, channels: on } }, 'stop opted_out defaults.event_type'],
    ['the tenant, by category', { defaults: { categories: { billing: off }, channels: on } }, 'stop opted_out defaults.category'],
    ['the tenant, by channel', { defaults: { channels: off } }, 'stop opted_out defaults.channel'],
    [
      'what a layer leaves open the next one says',
      { preferences: { event_types: { 'bill.due': on }, channels: { email: { exclude_tags: ['q1'] } } } },
      'stop tag_excluded channel',
    ],
    [
      'an empty list is a word: no filter',
      { preferences: { event_types: { 'bill.due': { email: { severities: [] } } }, channels: { email: { severities: ['high'] } } } },
      'open',
    ],
    [
      'names are the callers’',
      { preferences: { event_types: {}, categories: {} }, more: { type: 'constructor', category: 'toString' } },
      'open',
    ],
  ])('%s', (_, given, want) => {
    expect(verdict(given)).toBe(want);
  });
});

describe('quiet hours', () => {
  const asleep = { preferences: { quiet_hours: NIGHT } };
  test.each<[string, Case, string]>([
    ['hold', asleep, 'hold user'],
    [
      'of the channel go first',
      { preferences: { ...asleep.preferences, channels: { email: { quiet_hours: { ...NIGHT, enabled: false } } } } },
      'open',
    ],
    ['of the tenant go last', { defaults: { quiet_hours: NIGHT } }, 'hold defaults'],
    [
      'switched off by the user, whatever the tenant says',
      { preferences: { quiet_hours: { ...NIGHT, enabled: false } }, defaults: { quiet_hours: NIGHT } },
      'open',
    ],
    ['never hold the inbox', { ...asleep, more: { channel: 'in_app', address: null } }, 'open'],
    ['let urgent pass', { ...asleep, more: { severity: 'urgent' } }, 'open'],
    ['let pass what they name', { preferences: { quiet_hours: { ...NIGHT, let_through: ['medium'] } } }, 'open'],
    ['and nothing else then', { preferences: { quiet_hours: { ...NIGHT, let_through: [] } }, more: { severity: 'urgent' } }, 'hold user'],
    ['do not revive what is filtered', { preferences: { quiet_hours: NIGHT, channels: off } }, 'stop opted_out channel'],
    ['nor what is suppressed', { ...asleep, person: { suppressed: { email: 'ada@example.org' } } }, 'stop suppressed'],
  ])('%s', (_, given, want) => {
    expect(verdict(given)).toBe(want);
  });

  test('are those of their own zone, else of the user’s, else UTC', () => {
    const zones: string[] = [];
    verdict({ ...asleep, zones });
    verdict({ ...asleep, zones, person: { timeZone: 'Asia/Tokyo' } });
    verdict({ preferences: { quiet_hours: { ...NIGHT, time_zone: 'Europe/Berlin' } }, zones, person: { timeZone: 'Asia/Tokyo' } });
    expect(zones).toEqual(['UTC', 'Asia/Tokyo', 'Europe/Berlin']);
  });
});

test.each<[string, Case]>([
  ['an opt-out', only({ enabled: false })],
  ['a severity', only({ severities: ['high'] })],
  ['tags', only({ include_tags: ['x'], exclude_tags: ['q1'] })],
  ['quiet hours', { preferences: { quiet_hours: NIGHT } }],
  ['the tenant', { defaults: { channels: off } }],
])('what is critical passes %s, and never a suppressed address', (_, given) => {
  expect(verdict({ ...given, more: { critical: true } })).toBe('open');
  expect(verdict({ ...given, more: { critical: true }, person: { suppressed: { email: 'ada@example.org' } } })).toBe('stop suppressed');
});

test('the address is the one of the layer that is heard first', () => {
  const preferences: Preferences = {
    channels: { slack: { webhook_url: 'of the channel' } },
    categories: { billing: { slack: { webhook_url: 'of the category' } } },
    event_types: { 'bill.due': { slack: { webhook_url: 'of the type' } } },
  };
  const of = (type: string, category: string | null) => ownAddress(preferences, { channel: 'slack', type, category }, 'webhook_url');
  expect(of('bill.due', 'billing')).toBe('of the type');
  expect(of('bill.paid', 'billing')).toBe('of the category');
  expect(of('bill.paid', null)).toBe('of the channel');
  expect(ownAddress(preferences, about(), 'email')).toBeNull();
});
