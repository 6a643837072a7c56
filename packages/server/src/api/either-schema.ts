/** A body of POST /v1/events or of POST /v1/notifications, where a route takes both. */
import type { z } from 'zod';
import { eventSchemas, type AddressChecks, type ChannelChecks, type EventWire } from './event-schema.ts';

export function eitherShape(checks: AddressChecks & ChannelChecks) {
  const { event, notification } = eventSchemas(checks);
  return { ...notification.shape, ...event.shape, type: event.shape.type.optional() };
}

export function eitherOf<T extends EventWire>(schema: z.ZodType<T>): z.ZodType<T> {
  return schema
    .refine(({ type, subject, body }) => type !== undefined || subject !== undefined || body !== undefined, {
      path: ['type'],
      error: '`type`, or `subject` or `body`, is needed.',
      params: { code: 'required' },
    })
    .refine(({ type, data, subject, body }) => (type === undefined ? data === undefined : subject === undefined && body === undefined), {
      path: ['type'],
      error: 'Either `type` with its `data`, or words of your own in `subject` and `body`.',
      params: { code: 'invalid_combination' },
    });
}
