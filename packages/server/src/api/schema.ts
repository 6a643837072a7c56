/** Pieces that several routes' schemas are made of. Snake case, as on the wire. */
import { z } from 'zod';
import { CarillonError } from '../domain/error.ts';
import { parseId, type IdPrefix } from '../lib/id.ts';

const MAX_ID_BYTES = 256;
/** Control characters, and what is not assigned to be seen: line separators, private use is fine. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;

function isCallerId(text: string): boolean {
  return text.length > 0 && Buffer.byteLength(text) <= MAX_ID_BYTES && !UNPRINTABLE.test(text);
}

/** An id that the caller chose: of a user, a type, an item's key. Compared by bytes. */
export const callerId = z
  .string()
  .refine(isCallerId, { error: '1 to 256 bytes of printable characters.', params: { code: 'invalid_id' } })
  .meta({ minLength: 1, maxLength: MAX_ID_BYTES });

/** For `params`: what can't be an id is not found. */
export const callerIdParams = z.strictObject({ id: callerId });

/** A TypeID in a path, as the UUID it stands for. */
export function idParams(prefix: IdPrefix) {
  const id = z.string().transform((text, context) => {
    const uuid = parseId(prefix, text);
    if (uuid !== undefined) return uuid;
    context.addIssue({ code: 'custom', message: 'Not an id of this kind.' });
    return z.NEVER;
  });
  return z.strictObject({ id: id.meta({ pattern: `^${prefix}_[0-7][0-9a-hjkmnp-tv-z]{25}$` }) });
}

/** RFC 3339 with any offset; a Date inside. */
export const timestamp = z.iso
  .datetime({ offset: true, error: 'An RFC 3339 time, for example 2030-01-31T12:00:00Z.' })
  .transform((text) => new Date(text));

/** A time in an answer. */
export const wireTime = z.string().meta({ format: 'date-time' });

export function toWire(time: Date): string;
export function toWire(time: Date | null): string | null;
export function toWire(time: Date | null): string | null {
  return time === null ? null : time.toISOString();
}

/** Query values are text: `z.coerce` would take `''` for 0 and `'false'` for true. */
export function queryInteger(min: number, max: number) {
  return z
    .string()
    .regex(/^\d{1,15}$/, 'A whole number.')
    .transform(Number)
    .refine((value) => value >= min && value <= max, { error: `From ${min} to ${max}.`, params: { code: 'out_of_range' } })
    .meta({ type: 'integer', minimum: min, maximum: max });
}

/** `?tag=a&tag=b`, or once. */
export function queryList<T extends z.ZodType<unknown, string>>(item: T) {
  return z.union([item.transform((one) => [one]), z.array(item).max(100)]);
}

const DEFAULT_LIMIT = 25;

/** Of every list with a cursor. */
export const pageQuery = {
  limit: queryInteger(1, 100).default(DEFAULT_LIMIT),
  after: z.string().max(1_024).optional().describe('`next_cursor` of the page before.'),
};

export function page<T extends z.ZodType>(item: T) {
  return z.object({ data: z.array(item), has_more: z.boolean(), next_cursor: z.string().nullable() });
}

/** Opaque to callers, so that what a list is sorted by may change. */
export function toCursor(parts: readonly string[]): string {
  return Buffer.from(JSON.stringify(parts)).toString('base64url');
}

const cursorParts = z.array(z.string().refine((part) => !part.includes('\0')));

/** Throws `invalid` for what `toCursor` can't have made of `count` parts. */
export function readCursor(text: string, count: number, pointer = '/after'): string[] {
  const parts = cursorParts.length(count).safeParse(parseCursor(text));
  if (parts.success) return parts.data;
  const errors = [{ pointer, code: 'invalid_cursor', detail: 'Pass `next_cursor` of an earlier answer as it is.' }];
  throw new CarillonError('invalid', 'The cursor is not valid.', { errors });
}

function parseCursor(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch {
    return undefined;
  }
}

/** What a list of `limit + 1` rows answers: the surplus row only says that there is more. */
export function toPage<Row, Item>(rows: readonly Row[], limit: number, item: (row: Row) => Item, cursor: (last: Row) => readonly string[]) {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const hasMore = rows.length > limit;
  return { data: shown.map(item), has_more: hasMore, next_cursor: hasMore && last !== undefined ? toCursor(cursor(last)) : null };
}

/** RFC 9457, as every error is answered. */
export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  instance: z.string().describe('The id of the request.'),
  code: z.string(),
  hint: z.string(),
  retryable: z.boolean(),
  errors: z.array(z.object({ pointer: z.string().describe('RFC 6901'), code: z.string(), detail: z.string() })).optional(),
});
