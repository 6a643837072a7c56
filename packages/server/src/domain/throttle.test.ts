import { describe, expect, test } from 'vitest';
import type { CarillonEvent, EventRequest, EventThrottle } from './event.ts';
import { limitOf, type ThrottlePer } from './throttle.ts';

const AT = new Date('2026-01-02T03:04:05Z');
const event = (more: Partial<CarillonEvent> = {}, request: Partial<EventRequest> = {}): CarillonEvent => ({
  ...{ id: '1', tenantId: 'acme', type: 'disk.full', severity: 'high', tags: [], acceptedAt: AT, dueAt: AT },
  ...{ scheduledFor: null, expiresAt: null, correlationId: null, traceparent: null, cursor: null, version: null },
  request: { to: ['ada'], data: {}, ...request },
  ...more,
});

const general = (per: ThrottlePer) => ({ max_per_window: 5, window_seconds: 60, per });

test('counts by severity, by type, or by the key that the request gives', () => {
  const bucketOf = (given: CarillonEvent, per: ThrottlePer) => limitOf(given, general(per))?.bucket;
  expect(bucketOf(event(), 'severity')).toBe('severity high');
  expect(bucketOf(event(), 'type')).toBe('type disk.full');
  expect(bucketOf(event({}, { throttle_key: 'disk 7' }), 'key')).toBe('key disk 7');
  expect(bucketOf(event({}, { throttle_key: 'disk 7' }), 'type')).toBe('type disk.full');
  expect(bucketOf(event(), 'key')).toBe('type disk.full');
  expect(limitOf(event(), { ...general('type'), max_per_window: 0 })).toBeUndefined();
  expect(limitOf(event(), undefined)).toBeUndefined();
});

test("the type's own throttle goes before the tenant's, in buckets of its own", () => {
  const own = (...per: EventThrottle['per']) =>
    limitOf(event({}, { throttle_key: 'disk 7', throttle: { max_per_window: 1, window_seconds: 3_600, per } }), general('severity'));
  expect(own('severity')).toMatchObject({ bucket: 'severity high, 1 in 3600 s', max_per_window: 1, window_seconds: 3_600 });
  expect(own('event_type', 'severity')?.bucket).toBe('severity high, type disk.full, 1 in 3600 s');
  expect(own('key')?.bucket).toBe('key disk 7, 1 in 3600 s');
  expect(own()?.bucket).toBe('1 in 3600 s');
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
    expect(limitOf(given, general('type')) === undefined).toBe(want);
  });
});
