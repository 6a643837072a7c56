import { expect, test } from 'vitest';
import { DELIVERY_STATES, type DeliveryState } from '../domain/delivery.ts';
import { REASONS } from '../domain/reason.ts';
import { newId } from '../lib/id.ts';
import type { DeliveryRecord, EntryRecord, EventRecord, NotificationRecord } from '../store/timeline.ts';
import { maskAddress, viewDelivery, viewNotification, wordOf } from './event-view.ts';
import { viewTimeline } from './timeline-view.ts';

const at = (ms: number) => new Date(Date.UTC(2026, 10, 21, 10, 0, 0, ms));

const notification: NotificationRecord = {
  id: newId(at(0)),
  eventId: newId(at(0)),
  userId: 'ada',
  type: 'inline',
  subject: 's',
  body: 'b',
  actionUrl: null,
  severity: 3,
  tags: ['system'],
  metadata: {},
  createdAt: at(2),
  inboxAt: null,
  readAt: null,
  clickedAt: null,
  archivedAt: null,
  deletedAt: null,
};

function delivery(state: DeliveryState, change: Partial<DeliveryRecord> = {}): DeliveryRecord {
  return {
    id: newId(at(0)),
    eventId: notification.eventId,
    notificationId: notification.id,
    destinationId: null,
    userId: 'ada',
    channel: 'email',
    address: 'ada@example.org',
    status: DELIVERY_STATES[state],
    reason: REASONS.sent.number,
    critical: false,
    dueAt: null,
    expiresAt: null,
    createdAt: at(2),
    sentAt: null,
    finishedAt: null,
    attemptCount: 0,
    maxAttempts: null,
    cancelRequested: false,
    lastError: null,
    ...change,
  };
}

const addresses: [address: string | null, masked: string | null][] = [
  ['ada@example.org', 'a…@example.org'],
  ['https://user:secret@example.org:8443/hook?token=secret#x', 'https://example.org:8443/…'],
  ['+4915112345678', '…78'],
  [null, null],
];
test.each(addresses)('%s is shown as %s', (address, masked) => {
  expect(maskAddress(address)).toBe(masked);
});

const words: [name: string, marks: Partial<NotificationRecord>, states: DeliveryState[], word: string][] = [
  ['clicked before all', { clickedAt: at(9), readAt: at(8) }, ['failed'], 'clicked'],
  ['read before the deliveries', { readAt: at(8) }, ['pending'], 'read'],
  ['the furthest of several', {}, ['failed', 'delivered', 'pending'], 'delivered'],
  ['held is pending', {}, ['held', 'failed'], 'pending'],
  ['cancelled is skipped', {}, ['cancelled'], 'skipped'],
  ['expired is skipped', {}, ['expired'], 'skipped'],
  ['sending before pending', {}, ['pending', 'sending'], 'sending'],
  ['without any delivery', {}, [], 'skipped'],
];
test.each(words)('one word: %s', (_name, marks, states, word) => {
  expect(
    wordOf(
      { ...notification, ...marks },
      states.map((state) => delivery(state)),
    ),
  ).toBe(word);
});

test('the word comes with its reason, and with what was tried', () => {
  const deliveries = [
    delivery('failed', {
      channel: 'webhook',
      reason: REASONS.retries_exhausted.number,
      attemptCount: 10,
      lastError: 'it said 503',
      finishedAt: at(90),
      sentAt: at(5),
    }),
    delivery('delivered', { attemptCount: 3, sentAt: at(4), finishedAt: at(50) }),
  ];
  expect(viewNotification(notification, deliveries)).toMatchObject({
    status: 'delivered',
    reason: 'sent',
    retry_count: 11,
    error_message: 'it said 503',
    severity: 'high',
    sent_at: at(4).toISOString(),
    delivered_at: at(50).toISOString(),
    failed_at: at(90).toISOString(),
  });
});

test('the end of a lease is not the time of a next attempt', () => {
  expect(viewDelivery(delivery('sending', { dueAt: at(20_000) })).next_attempt_at).toBeNull();
  expect(viewDelivery(delivery('pending', { dueAt: at(20_000) })).next_attempt_at).toBe(at(20_000).toISOString());
});

test('a timeline begins with the event, whatever two clocks say, and goes on in order', () => {
  const done = delivery('delivered', { finishedAt: at(1), attemptCount: 2 });
  const entry = (number: number, change: Partial<EntryRecord>): EntryRecord => ({
    deliveryId: done.id,
    number,
    kind: 1,
    at: at(number),
    durationMs: 12,
    provider: 'email.smtp',
    outcome: 2,
    reason: REASONS.provider_error.number,
    status: 451,
    detail: 'it said 451',
    response: 'try later',
    nextAttemptAt: at(30),
    ...change,
  });
  const event: EventRecord = {
    id: notification.eventId,
    type: 'inline',
    status: 3,
    severity: 3,
    tags: [],
    acceptedAt: at(0),
    scheduledFor: at(1),
    expiresAt: null,
    routedAt: at(2),
    cancelledAt: null,
    correlationId: null,
    traceparent: null,
    version: null,
    audience: null,
    request: { to: ['ada'], data: {} },
  };
  const timeline = viewTimeline({
    event,
    notification: { ...notification, readAt: at(70) },
    deliveries: [{ ...done, finishedAt: at(40) }],
    entries: [entry(2, { at: at(40), outcome: 1, reason: REASONS.sent.number, status: 250, nextAttemptAt: null }), entry(1, { at: at(1) })],
  });
  expect(timeline.map(({ what }) => what)).toEqual(['accepted', 'scheduled', 'routed', 'attempt', 'attempt', 'delivered', 'read']);
  expect(timeline[3]).toMatchObject({
    channel: 'email',
    outcome: 'transient',
    status: 451,
    duration_ms: 12,
    response: 'try later',
    reason: 'provider_error',
    next_attempt_at: at(30).toISOString(),
  });
});
