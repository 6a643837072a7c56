import { expect, test } from 'vitest';
import { renderWebhook } from './render.ts';

const event = {
  type: 'invoice.paid',
  acceptedAt: new Date('2026-01-01T00:00:00.120Z'),
  eventId: 'evt_1',
  notificationId: 'ntf_1',
  userId: 'ada',
  subject: 'Invoice 7',
  body: 'It is paid.',
  severity: 'medium' as const,
  tags: ['billing'],
  actionUrl: '/invoices/7',
  metadata: { a: 1 },
  data: { invoice: { number: 7 } },
};

test('the webhook body has its shape, in its order', () => {
  expect(renderWebhook(event)).toBe(
    '{"type":"invoice.paid","timestamp":"2026-01-01T00:00:00.120Z","data":{"event_id":"evt_1","notification_id":"ntf_1","user_id":"ada",' +
      '"subject":"Invoice 7","body":"It is paid.","severity":"medium","tags":["billing"],"action_url":"/invoices/7","metadata":{"a":1},' +
      '"data":{"invoice":{"number":7}}}}',
  );
});

test('what is absent is null, and the bytes are the same every time', () => {
  const bare = { ...event, notificationId: null, userId: null, actionUrl: null };
  expect(JSON.parse(renderWebhook(bare))).toMatchObject({
    data: { notification_id: null, user_id: null, action_url: null },
  });
  expect(renderWebhook(bare)).toBe(renderWebhook(bare));
});
