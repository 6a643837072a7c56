/** An address, as its channel describes it. */
import { z } from 'zod';
import type { AddressRule } from '../domain/channel.ts';
import { mailbox, phone, webhookUrl, type AddressChecks } from './event-schema.ts';

const MAX_TEXT = 512;
const MAX_JSON = 8_192;

export function addressSchema({ format, pattern, words }: AddressRule, checks: AddressChecks): z.ZodType<string, string> {
  switch (format) {
    case 'mailbox':
      return mailbox(checks);
    case 'url':
      return webhookUrl(checks);
    case 'phone':
      return phone;
    case 'text':
      return z
        .string()
        .min(1)
        .max(MAX_TEXT)
        .regex(pattern === undefined ? /^[^\p{Cc}]+$/u : new RegExp(pattern, 'u'), `It must be ${words}.`);
    case 'json':
      return z
        .string()
        .max(MAX_JSON)
        .refine(isObject, { error: `It must be ${words}, as JSON.`, params: { code: 'invalid_json' } });
  }
}

function isObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
