import { describe, expect, test } from 'vitest';
import type { CarillonEvent, EventRequest } from './event.ts';
import { bucketOf, isExempt } from './throttle.ts';

const AT = new Date('2026-01-02T03:04:05Z');
const event = (more: Partial<CarillonEvent> = {}, request: Partial<EventRequest> = {}): CarillonEvent => ({
  ...{ id: '1', tenantId: 'acme', type: 'disk.full', severity: 'high', tags: [], acceptedAt: AT, dueAt: AT },
  ...{ scheduledFor: null, expiresAt: null, correlationId: null, traceparent: null, cursor: null, version: null },
  request: { to: ['ada'], data: {}, ...request },
  ...more,
});

test('counts by severity, by type, or by the key that the request gives', () => {
  expect(bucketOf(event(), 'severity')).toBe('severity high');
  expect(bucketOf(event(), 'type')).toBe('type disk.full');
  expect(bucketOf(event({}, { throttle_key: 'disk 7' }), 'key')).toBe('key disk 7');
  expect(bucketOf(event({}, { throttle_key: 'disk 7' }), 'type')).toBe('type disk.full');
  expect(bucketOf(event(), 'key')).toBe('type disk.full');
});

describe('exempt', () => {
  const system = { tags: ['system'] };
  test.each<[string, CarillonEvent, boolean]>([
    ['not what concerns one user', event(), false],
    ['a system notification that is high', event(system), true],
    ['one that is urgent', event({ ...system, severity: 'urgent' }), true],
    ['not one that is less', event({ ...system, severity: 'medium' }), false],
    ['what goes to a role', event({}, { to: [{ role: 'owner' }] }), true],
    ['what goes to everybody', event({}, { to: ['ada', { all: true }] }), true],
    ['what goes to those seen lately', event({}, { to: [{ active_within: '30d' }] }), true],
    ['not a user with an address of his own', event({}, { to: [{ user_id: 'ada', email: 'a@example.org' }] }), false],
    ['not when the request says no', event(system, { throttle_exempt: false }), false],
    ['when the request says so', event({ severity: 'low' }, { throttle_exempt: true }), true],
    ['not for being critical', event({}, { critical: true }), false],
  ])('%s', (_, given, want) => {
    expect(isExempt(given)).toBe(want);
  });
});
