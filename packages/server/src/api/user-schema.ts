/** Users as they are sent and answered. */
import { z } from 'zod';
import type { User } from '../domain/user.ts';
import type { StoredUser } from '../store/users.ts';
import { mailbox, phone, webhookUrl, type AddressChecks } from './event-schema.ts';
import { callerId, timestamp, toWire, wireTime } from './schema.ts';

const MAX_ROLES = 100;
const json = z.record(z.string(), z.unknown());

const ZONES = new Set(Intl.supportedValuesOf('timeZone'));

/** Aliases (`US/Eastern`) are known to the formatter only, which also takes offsets: those are no zones. */
function isTimeZone(name: string): boolean {
  if (ZONES.has(name)) return true;
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

function isLocale(tag: string): boolean {
  try {
    return Intl.getCanonicalLocales(tag).length === 1;
  } catch {
    return false;
  }
}

export const locale = z
  .string()
  .max(35)
  .refine(isLocale, { error: 'A BCP 47 tag, for example de-AT.', params: { code: 'invalid_locale' } });
export const timeZone = z
  .string()
  .max(64)
  .refine(isTimeZone, { error: 'An IANA name, for example Europe/Berlin.', params: { code: 'invalid_time_zone' } });

export function userSchemas(checks: AddressChecks) {
  const fields = {
    email: mailbox(checks).nullable().default(null),
    phone: phone.nullable().default(null),
    webhook_url: webhookUrl(checks).nullable().default(null),
    roles: z.array(callerId).max(MAX_ROLES).default([]),
    locale: locale.nullable().default(null),
    time_zone: timeZone.nullable().default(null),
    active: z.boolean().default(true),
    last_active_at: timestamp.nullable().default(null),
    attributes: json.default({}),
  };
  return { user: z.strictObject(fields), batchItem: z.strictObject({ id: callerId, ...fields }) };
}

export type UserWire = z.output<ReturnType<typeof userSchemas>['user']>;

export function toUser(id: string, wire: UserWire): User {
  return {
    id,
    email: wire.email,
    phone: wire.phone,
    webhookUrl: wire.webhook_url,
    roles: [...new Set(wire.roles)],
    locale: wire.locale,
    timeZone: wire.time_zone,
    active: wire.active,
    lastActiveAt: wire.last_active_at,
    attributes: wire.attributes,
  };
}

export const UserAnswer = z.object({
  id: z.string(),
  email: z.string().nullable(),
  phone: z.string().nullable(),
  webhook_url: z.string().nullable(),
  roles: z.array(z.string()),
  locale: z.string().nullable(),
  time_zone: z.string().nullable(),
  active: z.boolean(),
  last_active_at: wireTime.nullable(),
  attributes: json,
  created_at: wireTime,
  updated_at: wireTime,
});

export function viewUser(user: StoredUser) {
  return {
    id: user.id,
    email: user.email,
    phone: user.phone,
    webhook_url: user.webhookUrl,
    roles: [...user.roles],
    locale: user.locale,
    time_zone: user.timeZone,
    active: user.active,
    last_active_at: toWire(user.lastActiveAt),
    attributes: { ...user.attributes },
    created_at: toWire(user.createdAt),
    updated_at: toWire(user.updatedAt),
  };
}
