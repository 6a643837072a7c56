/** What a module gave, checked: its shape at start, and each of its results. */
import { z } from 'zod';
import type { AddressRule, SendResult } from '../../domain/channel.ts';
import { ATTEMPT_REASONS, type AttemptReason } from '../../domain/reason.ts';
import { parseDuration } from '../../lib/duration.ts';

/** What crosses from the thread: data only. */
export interface Description {
  readonly channel: {
    readonly title: string;
    readonly address: AddressRule;
    readonly lane: 'address' | 'tenant';
    /** Undefined: Carillon's own. */
    readonly delaysMs: readonly number[] | undefined;
  } | null;
  readonly providers: readonly string[];
}

const aFunction = z.custom<(...args: never[]) => unknown>((value) => typeof value === 'function', 'must be a function');
const provider = z.object({ id: z.string().regex(/^[a-z][a-z0-9_.-]{0,63}$/), send: aFunction, close: aFunction });
const wait = z
  .string()
  .transform((text) => parseDuration(text) ?? Number.NaN)
  .refine((ms) => ms >= 1_000 && ms <= 172_800_000, 'must be a time from 1s to 2d');
const pattern = z.string().refine(compiles, 'must be a regular expression');
const channel = z.object({
  title: z.string().min(1).max(64),
  address: z.object({
    field: z.string().regex(/^[a-z][a-z0-9_]{0,31}$/),
    format: z.enum(['mailbox', 'url', 'phone', 'text', 'json']),
    profile: z.enum(['email', 'phone', 'webhook_url']).nullable().default(null),
    pattern: pattern.optional(),
    words: z.string().min(1).max(200),
    secret: z.boolean().default(true),
  }),
  lane: z.enum(['address', 'tenant']).default('address'),
  retry: z.array(wait).max(30).optional(),
  render: aFunction,
  providers: z.array(provider).min(1).max(10),
});

function compiles(source: string): boolean {
  try {
    new RegExp(source, 'u');
    return true;
  } catch {
    return false;
  }
}

/** Throws which part is missing or wrong. */
export function describeChannel(value: unknown): Description {
  const { title, address, lane, retry, providers } = checked(channel, value, 'createChannel');
  return { channel: { title, address, lane, delaysMs: retry }, providers: providers.map(({ id }) => id) };
}

export function describeProvider(value: unknown): Description {
  return { channel: null, providers: [checked(provider, value, 'createProvider').id] };
}

function checked<T>(schema: z.ZodType<T>, value: unknown, from: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => `${path.length === 0 ? 'it' : path.join('.')}: ${message}`);
  throw new Error(`what ${from} gave breaks the contract: ${problems.join('; ')}`);
}

const MAX_DETAIL = 300;
const MAX_RESPONSE = 4_096;
const KINDS = ['transient', 'permanent', 'unknown'] as const;

/** Whatever a module answered, as a result that can be stored. */
export function toSendResult(value: unknown): SendResult {
  const { kind, reason, detail, status, response, retryAfterMs, providerId } = fieldsOf(value);
  const answer = {
    status: Number.isInteger(status) && Math.abs(Number(status)) < 2 ** 31 ? Number(status) : undefined,
    response: text(response, MAX_RESPONSE),
  };
  if (kind === 'accepted') return { kind, ...answer, providerId: text(providerId, MAX_DETAIL) };
  const known = KINDS.find((one) => one === kind);
  if (!known || !isReason(reason))
    return { kind: 'transient', reason: 'internal', detail: 'the module answered something that is no result' };
  const failure = { reason, detail: text(detail, MAX_DETAIL) ?? reason, ...answer };
  if (known !== 'transient') return { kind: known, ...failure };
  return { kind: known, ...failure, retryAfterMs: typeof retryAfterMs === 'number' && retryAfterMs >= 0 ? retryAfterMs : undefined };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function isReason(value: unknown): value is AttemptReason {
  return typeof value === 'string' && (ATTEMPT_REASONS as readonly string[]).includes(value);
}

function text(value: unknown, max: number): string | undefined {
  return typeof value === 'string' ? value.slice(0, max).toWellFormed() : undefined;
}
