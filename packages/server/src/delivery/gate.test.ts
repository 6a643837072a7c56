import { expect, test } from 'vitest';
import type { DeliveryJob } from '../domain/delivery.ts';
import { NO_PREFERENCES, type Recipient } from '../domain/user.ts';
import { gate } from './gate.ts';

const NOW = new Date('2026-01-02T03:04:05.000Z');
const recipient: Recipient = {
  id: 'ada',
  email: null,
  phone: null,
  webhookUrl: 'https://example.org/',
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
  channel: 'webhook',
  address: 'https://example.org/',
  lane: 'webhook acme https://example.org/',
  token: '4',
  attempt: 2,
  maxAttempts: null,
  critical: false,
  createdAt: NOW,
  expiresAt: null,
  event: { type: 'disk.full', acceptedAt: NOW, data: {} },
  content: { subject: '', body: '', actionUrl: null, severity: 'medium', tags: [], metadata: {} },
  recipient,
  cancelled: false,
};
const off = { channels: { webhook: { enabled: false } } };
const gone = { webhook: 'https://example.org/' };
const later = new Date(NOW.getTime() + 1);

test.each<[string, Partial<DeliveryJob>, string]>([
  ['nothing has changed', {}, 'open'],
  ['it expires later', { expiresAt: later }, 'open'],
  ['it expires now', { expiresAt: NOW }, 'expired expired'],
  ['it was cancelled', { cancelled: true }, 'cancelled cancelled'],
  ['it was cancelled and has expired', { cancelled: true, expiresAt: NOW }, 'cancelled cancelled'],
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
])('%s', (_, more, want) => {
  const answer = gate({ ...job, ...more }, NOW);
  expect('reason' in answer ? `${answer.state} ${answer.reason}` : answer.state).toBe(want);
});
