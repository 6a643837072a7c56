import { describe, expect, test } from 'vitest';
import type { ChannelName } from '../domain/channel.ts';
import type { CarillonEvent, EventRequest } from '../domain/event.ts';
import { NO_PREFERENCES, type Preferences } from '../domain/preference.ts';
import type { Recipient } from '../domain/user.ts';
import { knownChannels } from '../../test/harness/channels.ts';
import { decide, explain, type Addressee, type KnownChannels, type Rules } from './decide.ts';

const EVERYTHING = knownChannels();
const AT = new Date('2026-01-02T03:04:05Z');

const event = (request: Partial<EventRequest> = {}): CarillonEvent => ({
  id: '019b7d0a-0000-7000-8000-000000000000',
  tenantId: 'acme',
  type: 'disk.full',
  severity: 'medium',
  tags: [],
  acceptedAt: AT,
  dueAt: AT,
  scheduledFor: null,
  expiresAt: null,
  correlationId: null,
  traceparent: null,
  version: null,
  cursor: null,
  request: { to: ['ada'], data: {}, ...request },
});
const user = (more: Partial<Recipient> = {}): Recipient => ({
  id: 'ada',
  email: 'ada@example.org',
  phone: null,
  webhookUrl: 'https://example.org/ada',
  timeZone: null,
  active: true,
  preferences: NO_PREFERENCES,
  suppressed: {},
  ...more,
});
const off = (...channels: ChannelName[]): Preferences => ({
  channels: Object.fromEntries(channels.map((name) => [name, { enabled: false }])),
});

const MORNING = new Date('2026-01-02T07:00:00Z');
const NIGHT = { enabled: true, start: '22:00', end: '07:00' };
const rules = (channels: KnownChannels): Rules => ({
  channels,
  defaultsOf: () => undefined,
  quietUntil: () => MORNING,
  closesAt: () => MORNING,
});

/** `channel address` for what is sent, `channel: reason` for what is not. */
function decided(request: Partial<EventRequest>, addressee: Partial<Addressee> = {}, available = EVERYTHING): string[] {
  const whole: Addressee = { userId: 'ada', user: user(), inline: undefined, ...addressee };
  return decide(event(request), whole, rules(available)).map((one) => {
    if (one.kind === 'skip') return `${one.channel}: ${one.reason}`;
    return `${one.channel} ${one.address ?? '-'}${one.kind === 'hold' ? ` until ${one.until.toISOString()}` : ''}`;
  });
}

const inline = { user_id: 'ada', email: 'inline@example.org', webhook_url: 'https://example.org/inline' };
const everyChannel: EventRequest['channels'] = ['in_app', 'email', 'webhook'];

describe('channels that are considered', () => {
  test('without a word of the request: the inbox, and what has an inline address', () => {
    expect(decided({})).toEqual(['in_app -']);
    expect(decided({}, { inline: { user_id: 'ada', email: 'inline@example.org' } })).toEqual(['in_app -', 'email inline@example.org']);
    expect(decided({}, { inline })).toEqual(['in_app -', 'email inline@example.org', 'webhook https://example.org/inline']);
  });

  test('those that the request names, and no others', () => {
    expect(decided({ channels: ['webhook'] }, { inline: { user_id: 'ada', email: 'inline@example.org' } })).toEqual([
      'webhook https://example.org/ada',
    ]);
    expect(decided({ channels: everyChannel })).toEqual(['in_app -', 'email ada@example.org', 'webhook https://example.org/ada']);
  });
});

test("a preference's own address comes before the profile's, and after an inline one", () => {
  const preferences = {
    channels: {
      webhook: { enabled: true, webhook_url: 'https://example.org/own' },
      slack: { enabled: true, webhook_url: 'https://slack' },
    },
  };
  expect(decided({ channels: ['webhook', 'slack'] }, { user: user({ preferences }) })).toEqual([
    'webhook https://example.org/own',
    'slack https://slack',
  ]);
  expect(decided({ channels: ['webhook'] }, { user: user({ preferences }), inline })).toEqual(['webhook https://example.org/inline']);
  expect(decided({ channels: ['slack'] }, { inline })).toEqual(['slack: no_address']);
});

test('what shares a far end shares a lane: the mails of a tenant, and one URL', () => {
  const lanes = decide(event({ channels: everyChannel }), { userId: 'ada', user: user(), inline: undefined }, rules(EVERYTHING)).map(
    (one) => (one.kind === 'deliver' ? one.lane : one.reason),
  );
  expect(lanes).toEqual([null, 'email acme ', 'webhook acme https://example.org/ada']);
});

test('inline addresses come before stored ones', () => {
  expect(decided({ channels: ['email', 'webhook'] }, { inline })).toEqual([
    'email inline@example.org',
    'webhook https://example.org/inline',
  ]);
});

describe('nobody is told', () => {
  test.each<[string, Partial<EventRequest>]>([
    ['plainly', {}],
    ['critically', { critical: true, channels: everyChannel }],
  ])('who is unknown or not active, %s', (_, request) => {
    expect(decided(request, { user: undefined, inline })).toEqual(['*: user_unknown']);
    expect(decided(request, { user: user({ active: false }), inline })).toEqual(['*: user_inactive']);
  });
});

describe('each channel for itself', () => {
  const gone = { email: 'ada@example.org', webhook: 'https://example.org/ada' };
  test.each<[string, Partial<EventRequest>, Partial<Addressee>, string[]]>([
    ['opted out', {}, { user: user({ preferences: off('email') }) }, ['in_app -', 'email: opted_out', 'webhook https://example.org/ada']],
    [
      'opted out of everything, also inline',
      {},
      { user: user({ preferences: off('in_app', 'email', 'webhook') }), inline },
      ['in_app: opted_out', 'email: opted_out', 'webhook: opted_out'],
    ],
    [
      'critical overrides',
      { critical: true },
      { user: user({ preferences: off('in_app', 'email', 'webhook') }) },
      ['in_app -', 'email ada@example.org', 'webhook https://example.org/ada'],
    ],
    ['no address', {}, { user: user({ email: null, webhookUrl: null }) }, ['in_app -', 'email: no_address', 'webhook: no_address']],
    ['suppressed', {}, { user: user({ suppressed: gone }) }, ['in_app -', 'email: suppressed', 'webhook: suppressed']],
    [
      'critical never overrides that',
      { critical: true },
      { user: user({ suppressed: gone }) },
      ['in_app -', 'email: suppressed', 'webhook: suppressed'],
    ],
    [
      'another address is not suppressed',
      {},
      { user: user({ suppressed: gone }), inline },
      ['in_app -', 'email inline@example.org', 'webhook https://example.org/inline'],
    ],
    [
      'nor is the same one on another channel',
      {},
      { user: user({ suppressed: { webhook: 'ada@example.org' } }) },
      ['in_app -', 'email ada@example.org', 'webhook https://example.org/ada'],
    ],
  ])('%s', (_, request, addressee, want) => {
    expect(decided({ channels: everyChannel, ...request }, addressee)).toEqual(want);
  });

  test('a channel that is not set up is skipped, with and without an address; an opt-out says more', () => {
    const inbox = knownChannels({ without: ['email', 'webhook'] });
    expect(decided({ channels: everyChannel }, { user: user({ webhookUrl: null, preferences: off('email') }) }, inbox)).toEqual([
      'in_app -',
      'email: opted_out',
      'webhook: channel_disabled',
    ]);
  });

  test('a name that this process does not know is as one that is not set up: the event was accepted by another', () => {
    expect(decided({ channels: ['pigeon'] })).toEqual(['pigeon: channel_disabled']);
  });
});

describe('quiet hours', () => {
  const asleep = user({ preferences: { channels: {}, quiet_hours: NIGHT } });

  test('hold what would be sent, and never the inbox', () => {
    expect(decided({ channels: everyChannel }, { user: asleep })).toEqual([
      'in_app -',
      'email ada@example.org until 2026-01-02T07:00:00.000Z',
      'webhook https://example.org/ada until 2026-01-02T07:00:00.000Z',
    ]);
    expect(decided({ channels: ['email'], critical: true }, { user: asleep })).toEqual(['email ada@example.org']);
  });

  test('hold nothing that could not be sent either', () => {
    expect(decided({ channels: everyChannel }, { user: { ...asleep, email: null } }, knownChannels({ without: ['webhook'] }))).toEqual([
      'in_app -',
      'email: no_address',
      'webhook: channel_disabled',
    ]);
  });
});

describe('a delay', () => {
  const delays = { email: { ms: 600_000, only_if: 'unread' } } as const;
  const later = 'email ada@example.org until 2026-01-02T03:14:05.000Z';

  test('counts from the time at which the event is due, for its channel alone', () => {
    expect(decided({ channels: everyChannel, delays })).toEqual(['in_app -', later, 'webhook https://example.org/ada']);
  });

  test('comes before quiet hours: they are looked at when it is sent', () => {
    const asleep = user({ preferences: { channels: {}, quiet_hours: NIGHT } });
    expect(decided({ channels: ['email'], delays }, { user: asleep })).toEqual([later]);
  });

  test('does not wait for what could not be sent either', () => {
    expect(decided({ channels: ['email'], delays }, { user: user({ preferences: off('email') }) })).toEqual(['email: opted_out']);
    expect(decided({ channels: ['email'], delays }, { user: user({ email: null }) })).toEqual(['email: no_address']);
  });
});

test('what is explained is what is decided, for every channel that is known', () => {
  const own = user({ preferences: { channels: { email: { enabled: false } }, quiet_hours: NIGHT } });
  const subject = { type: 'disk.full', category: null, severity: 'medium', tags: [], critical: false } as const;
  const names = [...EVERYTHING.keys()];
  const decisions = decide(event({ channels: names }), { userId: 'ada', user: own, inline: undefined }, rules(EVERYTHING));
  expect(explain('acme', subject, own, rules(EVERYTHING))).toEqual(decisions);
  expect(decisions.map(({ layer }) => layer)).toEqual([null, 'channel', 'user', null]);
});
