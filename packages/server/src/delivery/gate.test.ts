import { expect, test } from 'vitest';
import type { DeliveryJob } from '../domain/delivery.ts';
import { NO_PREFERENCES, type ChannelPreference } from '../domain/preference.ts';
import type { Recipient } from '../domain/user.ts';
import { gate } from './gate.ts';

const NOW = new Date('2026-01-02T03:04:05.000Z');
const recipient: Recipient = {
  id: 'ada',
  email: null,
  phone: null,
  webhookUrl: 'https://example.org/',
  timeZone: null,
  active: true,
  preferences: NO_PREFERENCES,
  suppressed: {},
};
const job: DeliveryJob = {
  id: '1',
  tenantId: 'acme',
  eventId: '2',
  notificationId: '3',
  userId: 'ada',
  destinationId: null,
  destination: null,
  channel: 'webhook',
  address: 'https://example.org/',
  lane: 'webhook acme https://example.org/',
  token: '4',
  attempt: 2,
  maxAttempts: null,
  last: null,
  critical: false,
  createdAt: NOW,
  expiresAt: null,
  event: { type: 'disk.full', category: null, acceptedAt: NOW, data: {} },
  content: { subject: '', body: '', actionUrl: null, severity: 'medium', tags: ['system'], metadata: {} },
  recipient,
  cancelled: false,
};
const off = { channels: { webhook: { enabled: false } } };
const gone = { webhook: 'https://example.org/' };
const MORNING = new Date('2026-01-02T07:00:00.000Z');
const NIGHT = { enabled: true, start: '22:00', end: '07:00' };
const only = (preference: ChannelPreference): Recipient => ({ ...recipient, preferences: { channels: { webhook: preference } } });
const later = new Date(NOW.getTime() + 1);
const delay = { until: NOW, onlyIf: 'unread', seen: false } as const;

const digest = (
  ...items: readonly { readonly type?: string; readonly severity?: string; readonly critical?: boolean }[]
): DeliveryJob['event'] => ({
  ...job.event,
  type: 'digest',
  data: { items: items.map((item) => ({ type: 'disk.full', category: null, severity: 'medium', tags: [], critical: false, ...item })) },
});
const noNoise = { ...recipient, preferences: { channels: {}, event_types: { noise: off.channels } } };
const noHigh = only({ quiet_hours: { ...NIGHT, let_through: ['high'] } });

test.each<[string, Partial<DeliveryJob>, string]>([
  ['one item of a digest may be sent', { event: digest({ type: 'noise' }, {}), recipient: noNoise }, 'open'],
  ['no item of a digest may be sent', { event: digest({ type: 'noise' }, { type: 'noise' }), recipient: noNoise }, 'skipped opted_out'],
  ['one item of a digest is critical', { event: digest({}, { critical: true }), recipient: { ...recipient, preferences: off } }, 'open'],
  ['a digest in quiet hours', { event: digest({}, {}), recipient: noHigh }, 'held quiet_hours_held 2026-01-02T07:00:00.000Z'],
  ['one item of a digest passes quiet hours', { event: digest({}, { severity: 'high' }), recipient: noHigh }, 'open'],
  [
    'a digest whose address was refused',
    { event: digest({ critical: true }), recipient: { ...recipient, suppressed: gone } },
    'skipped suppressed',
  ],
  ['nothing has changed', {}, 'open'],
  ['it expires later', { expiresAt: later }, 'open'],
  ['it expires now', { expiresAt: NOW }, 'expired expired'],
  ['it was cancelled', { cancelled: true }, 'cancelled cancelled'],
  ['it was cancelled and has expired', { cancelled: true, expiresAt: NOW }, 'cancelled cancelled'],
  ['its delay is over and nobody has read it', { delay }, 'open'],
  ['its delay is not over: it has had its turn before', { delay: { ...delay, until: later } }, `held delayed ${later.toISOString()}`],
  ['its delay is not over, and it has been read', { delay: { ...delay, until: later, seen: true } }, `held delayed ${later.toISOString()}`],
  ['it was read meanwhile', { delay: { ...delay, seen: true } }, 'skipped read_elsewhere'],
  ['it was read meanwhile, and is sent all the same', { delay: { ...delay, onlyIf: null, seen: true } }, 'open'],
  ['it was read meanwhile, and is critical', { critical: true, delay: { ...delay, seen: true } }, 'skipped read_elsewhere'],
  ['it was read meanwhile, and cancelled', { cancelled: true, delay: { ...delay, seen: true } }, 'cancelled cancelled'],
  ['its delay ends when it expires', { expiresAt: NOW, delay }, 'expired expired'],
  ['its delay is over, and the user opted out', { delay, recipient: { ...recipient, preferences: off } }, 'skipped opted_out'],
  ['the user opted out', { recipient: { ...recipient, preferences: off } }, 'skipped opted_out'],
  [
    'the user opted out of something else',
    { recipient: { ...recipient, preferences: { channels: { email: { enabled: false } } } } },
    'open',
  ],
  ['the user opted out of what is critical', { critical: true, recipient: { ...recipient, preferences: off } }, 'open'],
  ['the address was refused for good', { recipient: { ...recipient, suppressed: gone } }, 'skipped suppressed'],
  ['critical does not help there', { critical: true, recipient: { ...recipient, suppressed: gone } }, 'skipped suppressed'],
  ['another address was refused', { address: 'https://example.org/new', recipient: { ...recipient, suppressed: gone } }, 'open'],
  ['the user is not active any more', { critical: true, recipient: { ...recipient, active: false } }, 'skipped user_inactive'],
  ['its decision was made in the same transaction', { recipient: null }, 'open'],
  ['that does not make it outlive its expiry', { recipient: null, expiresAt: NOW }, 'expired expired'],
  ['a severity that is not wanted', { recipient: only({ severities: ['high'] }) }, 'skipped severity_filtered'],
  ['a tag that is not wanted', { recipient: only({ exclude_tags: ['system'] }) }, 'skipped tag_excluded'],
  ['a tag that is missing', { recipient: only({ include_tags: ['mine'] }) }, 'skipped tag_not_included'],
  ['quiet hours have begun', { recipient: only({ quiet_hours: NIGHT }) }, 'held quiet_hours_held 2026-01-02T07:00:00.000Z'],
  [
    'it expires before they end',
    { recipient: only({ quiet_hours: NIGHT }), expiresAt: later },
    `held quiet_hours_held ${later.toISOString()}`,
  ],
  ['it is critical', { critical: true, recipient: only({ quiet_hours: NIGHT }) }, 'open'],
  ['an expiry that has passed beats the hold', { recipient: only({ quiet_hours: NIGHT }), expiresAt: NOW }, 'expired expired'],
])('%s', (_, more, want) => {
  const given = { ...job, ...more };
  const until = given.expiresAt ?? new Date('2026-02-01T00:00:00Z');
  const answer = gate(given, { now: NOW, until, defaults: undefined, quietUntil: () => MORNING });
  const words = 'reason' in answer ? `${answer.state} ${answer.reason}` : answer.state;
  expect(answer.state === 'held' ? `${words} ${answer.dueAt!.toISOString()}` : words).toBe(want);
});
