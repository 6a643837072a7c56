import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CarillonError } from '../domain/error.ts';
import { newId } from '../lib/id.ts';
import { checkMailbox } from '../lib/mailbox.ts';
import { eventSchemas, readTraceparent, toEvent, toItem } from './event-schema.ts';
import { invalid } from './validation.ts';

const { event, notification } = eventSchemas({
  channelNames: ['in_app', 'email', 'webhook'],
  checkMailbox,
  checkUrl: (text) => (URL.canParse(text) ? { ok: true } : { ok: false, reason: 'it is no URL' }),
});
const now = new Date('2026-11-21T10:00:00.000Z');
const context = { tenantId: 'acme', now, id: newId(now), traceparent: null, maxScheduleDays: 25, filled: null };
const after = (ms: number) => new Date(now.getTime() + ms).toISOString();
const DAY = 86_400_000;

/** What the item would be answered: its pointers with their codes, or nothing. */
function refusals(item: object, schema: typeof event | typeof notification = event): [string, string][] {
  const parsed = schema.safeParse(item);
  try {
    if (!parsed.success) throw invalid(parsed.error);
    toEvent(parsed.data, context);
    return [];
  } catch (error) {
    if (error instanceof CarillonError) return error.errors.map(({ pointer, code }) => [pointer, code]);
    throw error;
  }
}

const base = { type: 'execution.failed', to: ['ada'] };

describe('what is refused, and where', () => {
  const cases: [name: string, change: object, want: [string, string][]][] = [
    ['an unknown field', { surprise: 1 }, [['/surprise', 'unknown_field']]],
    ['no recipients', { to: undefined }, [['/to', 'required']]],
    ['an empty list, which counts as not given', { to: [] }, [['/to', 'required']]],
    ['1,001 recipients', { to: Array(1_001).fill('ada') }, [['/to', 'too_big']]],
    ['an empty user id', { to: [''] }, [['/to/0', 'invalid_id']]],
    ['a user id of 257 bytes', { to: ['ä'.repeat(128) + 'x'] }, [['/to/0', 'invalid_id']]],
    ['a line break in a user id', { to: ['a\nb'] }, [['/to/0', 'invalid_id']]],
    ['a typing error in an inline user', { to: ['ada', { user_id: 'bob', emial: 'x' }] }, [['/to/1/emial', 'unknown_field']]],
    ['a wrong address', { to: [{ user_id: 'bob', email: 'Bob <bob@example.org>' }] }, [['/to/0/email', 'invalid_mailbox']]],
    ['a wrong URL', { to: [{ user_id: 'bob', webhook_url: 'nonsense' }] }, [['/to/0/webhook_url', 'invalid_url']]],
    ['a wrong phone number', { to: [{ user_id: 'bob', phone: '0151' }] }, [['/to/0/phone', 'invalid_format']]],
    ['a topic without a name', { to: [{ topic: '' }] }, [['/to/0/topic', 'invalid_id']]],
    ['all: false', { to: [{ all: false }] }, [['/to/0/all', 'invalid_value']]],
    ['a span without a unit', { to: [{ active_within: '30' }] }, [['/to/0/active_within', 'invalid_format']]],
    ['the reserved type', { type: 'inline' }, [['/type', 'reserved']]],
    ['no type', { type: undefined }, [['/type', 'required']]],
    ['33 tags', { tags: Array(33).fill('t') }, [['/tags', 'too_big']]],
    ['a tag of 129 bytes', { tags: ['t'.repeat(129)] }, [['/tags/0', 'invalid_tag']]],
    ['an unknown channel', { channels: ['pigeon'] }, [['/channels/0', 'invalid_value']]],
    ['no channel at all', { channels: [] }, [['/channels', 'too_small']]],
    ['an unknown severity', { severity: 'meh' }, [['/severity', 'invalid_value']]],
    ['21 retries', { max_retries: 21 }, [['/max_retries', 'too_big']]],
    ['data that is no object', { data: [] }, [['/data', 'invalid_type']]],
    ['a schedule that is no time', { scheduled_for: 'tomorrow' }, [['/scheduled_for', 'invalid_format']]],
    ['a schedule for now', { scheduled_for: after(0) }, [['/scheduled_for', 'schedule_invalid']]],
    ['a schedule past 25 days', { scheduled_for: after(25 * DAY + 1) }, [['/scheduled_for', 'schedule_invalid']]],
    ['an expiry that has passed', { expires_at: after(0) }, [['/expires_at', 'schedule_invalid']]],
    ['an expiry before the schedule', { scheduled_for: after(2_000), expires_at: after(2_000) }, [['/expires_at', 'schedule_invalid']]],
    ['a script as link', { action_url: 'javascript:alert(1)' }, [['/action_url', 'invalid_link']]],
    ['another host as path', { action_url: '//evil.example' }, [['/action_url', 'invalid_link']]],
    ['another host as path, the other way', { action_url: '/\\evil.example' }, [['/action_url', 'invalid_link']]],
    ['a path of 501 characters', { action_url: `/${'x'.repeat(500)}` }, [['/action_url', 'invalid_link']]],
  ];
  test.each(cases)('%s', (_name, change, want) => {
    expect(refusals({ ...base, ...change })).toEqual(want);
  });

  const inline: [name: string, item: object, want: [string, string][]][] = [
    ['neither subject nor body', { to: ['ada'] }, [['/subject', 'required']]],
    ['a line break in the subject', { to: ['ada'], subject: 'a\r\nbcc: eve@example.org' }, [['/subject', 'invalid_subject']]],
    ['a body over 64 KiB', { to: ['ada'], body: 'ä'.repeat(32_769) }, [['/body', 'too_big']]],
    ['a type', { to: ['ada'], subject: 's', type: 'x' }, [['/type', 'unknown_field']]],
  ];
  test.each(inline)('inline: %s', (_name, item, want) => {
    expect(refusals(item, notification)).toEqual(want);
  });
});

describe('what is accepted', () => {
  const cases: [name: string, change: object][] = [
    ['exactly 25 days', { scheduled_for: after(25 * DAY) }],
    ['an expiry after the schedule', { scheduled_for: after(1_000), expires_at: after(2_000) }],
    [
      'each kind of recipient',
      {
        to: [
          'ada',
          { user_id: 'bob', email: 'bob@example.org', phone: '+4915112345678', webhook_url: 'https://example.org' },
          { role: 'owner' },
          { all: true },
          { active_within: '30d' },
        ],
      },
    ],
    ['1,000 recipients', { to: Array.from({ length: 1_000 }, (_, n) => `u${n}`) }],
    ['a long signed link', { action_url: `https://example.org/?signature=${'x'.repeat(1_500)}` }],
    ['a path, and a mail link', { action_url: '/pilot/7' }],
    ['a mail link', { action_url: 'mailto:ops@example.org' }],
    ['an id of 256 bytes', { to: ['ä'.repeat(128)] }],
  ];
  test.each(cases)('%s', (_name, change) => {
    expect(refusals({ ...base, ...change })).toEqual([]);
  });
});

test('an event holds what the caller said, and defaults for the rest', () => {
  const wire = event.parse({
    ...base,
    data: { execution_id: '7f3' },
    channels: ['email', 'email', 'in_app'],
    max_retries: 2,
    scheduled_for: '2026-11-21T12:00:00+01:00',
  });
  expect(toEvent(wire, context)).toEqual({
    id: context.id,
    tenantId: 'acme',
    type: 'execution.failed',
    severity: 'medium',
    tags: [],
    acceptedAt: now,
    dueAt: new Date('2026-11-21T11:00:00Z'),
    scheduledFor: new Date('2026-11-21T11:00:00Z'),
    expiresAt: null,
    correlationId: null,
    traceparent: null,
    version: null,
    cursor: null,
    request: { to: ['ada'], channels: ['email', 'in_app'], data: { execution_id: '7f3' }, max_retries: 2 },
  });
  expect(toEvent(notification.parse({ to: ['ada'], body: 'b' }), context)).toMatchObject({
    type: 'inline',
    dueAt: now,
    request: { body: 'b', data: {} },
  });
});

test("an item's key covers what it says, not in which order", () => {
  const hashOf = (item: object) => Buffer.from(toItem(event.parse(item), context).itemKey!.hash).toString('hex');
  const keyed = { ...base, idempotency_key: 'k', severity: 'high' };
  expect(hashOf(keyed)).toBe(hashOf(Object.fromEntries(Object.entries(keyed).toReversed())));
  expect(hashOf(keyed)).not.toBe(hashOf({ ...keyed, severity: 'low' }));
  expect(toItem(event.parse(base), context).itemKey).toBeNull();
});

test('a traceparent is kept when it is one', () => {
  const valid = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  expect(readTraceparent(valid)).toBe(valid);
  for (const wrong of [
    undefined,
    '',
    [valid],
    valid.toUpperCase(),
    `ff${valid.slice(2)}`,
    valid.replace(/-4b\w+-/, `-${'0'.repeat(32)}-`),
    `${valid}-x`,
  ])
    expect(readTraceparent(wrong)).toBeNull();
});

test('whatever comes is accepted or refused with pointers, and never throws anything else', () => {
  fc.assert(
    fc.property(
      fc.record(
        { type: fc.anything(), to: fc.anything(), data: fc.anything(), tags: fc.anything(), scheduled_for: fc.anything() },
        { requiredKeys: [] },
      ),
      (item) => {
        const parsed = event.safeParse(item);
        if (!parsed.success) expect(invalid(parsed.error).errors.length).toBeGreaterThan(0);
      },
    ),
  );
});
