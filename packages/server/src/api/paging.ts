/** Lists by id that are read in both directions. */
import { z } from 'zod';
import { CarillonError } from '../domain/error.ts';
import { REASONS, type ReasonCode } from '../domain/reason.ts';
import { firstIdAt, parseId, type IdPrefix } from '../lib/id.ts';
import { pageQuery, readCursor, timestamp, toCursor } from './schema.ts';

/** Of lists by id. `next_cursor` goes on in the direction that was asked for. */
export const listQuery = {
  ...pageQuery,
  before: z.string().max(1_024).optional().describe('A cursor: what stands before it, nearest page first.'),
};

/** Of lists that may reach over all partitions. */
export const createdQuery = {
  created_from: timestamp.optional(),
  created_to: timestamp.optional().describe('Exclusive.'),
};

interface Cursors {
  readonly after?: string | undefined;
  readonly before?: string | undefined;
}

export interface Direction {
  /** Exclusive. */
  readonly cursor: string | null;
  /** Against the list's order: from the cursor towards its beginning. */
  readonly backward: boolean;
}

/** Throws `invalid` for both at once and for what is not a cursor. */
export function directionOf({ after, before }: Cursors): Direction {
  if (after !== undefined && before !== undefined) {
    throw new CarillonError('invalid', 'Either `after` or `before`.', {
      errors: [{ pointer: '/before', code: 'conflict', detail: 'Not together with `after`.' }],
    });
  }
  if (before !== undefined) return { cursor: idOf(before, '/before'), backward: true };
  return { cursor: after === undefined ? null : idOf(after, '/after'), backward: false };
}

function idOf(text: string, pointer: string): string {
  const [id = ''] = readCursor(text, 1, pointer);
  return id;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The same for lists whose ids are UUIDs. */
export function uuidDirectionOf(cursors: Cursors): Direction {
  const direction = directionOf(cursors);
  if (direction.cursor !== null && !UUID.test(direction.cursor)) readCursor('', 1, direction.backward ? '/before' : '/after');
  return direction;
}

/** The same for lists whose cursors are TypeIDs. */
export function typeIdDirectionOf(prefix: IdPrefix, cursors: Cursors): Direction {
  const { cursor, backward } = directionOf(cursors);
  if (cursor === null) return { cursor, backward };
  return { cursor: parseId(prefix, cursor) ?? readCursor('', 1, backward ? '/before' : '/after').join(), backward };
}

const FIRST_ID = '00000000-0000-0000-0000-000000000000';
const LAST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/** The ids that were made in that time; without bounds, all. */
export function rangeOf({ created_from: from, created_to: to }: { created_from?: Date | undefined; created_to?: Date | undefined }): {
  low: string;
  high: string;
} {
  return { low: from ? firstIdAt(from) : FIRST_ID, high: to ? firstIdAt(to) : LAST_ID };
}

/** Filters that events and notifications share, as the store takes them. */
export function contentOf({
  type,
  tag,
  tag_prefix: tagPrefix,
}: {
  type?: string | undefined;
  tag?: string | undefined;
  tag_prefix?: string | undefined;
}) {
  return { type: type ?? null, tag: tag ?? null, tagPrefix: tagPrefix ?? null };
}

/** Filters by what was decided about a recipient, as the store takes them. */
export function toldOf({
  user,
  channel,
  reason,
}: {
  user?: string | undefined;
  channel?: string | undefined;
  reason?: ReasonCode | undefined;
}) {
  return { userId: user ?? null, channel: channel ?? null, reason: reason === undefined ? null : REASONS[reason].number };
}

/** `rows` as they were read, in the direction asked for, one more than `limit` when there is more. */
export function toDirectedPage<Row, Item>(
  rows: readonly Row[],
  { limit, backward }: { limit: number; backward: boolean },
  item: (row: Row) => Item,
  idOfRow: (row: Row) => string,
) {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const hasMore = rows.length > limit;
  const nextCursor = hasMore && last !== undefined ? toCursor([idOfRow(last)]) : null;
  return { data: (backward ? shown.toReversed() : shown).map(item), has_more: hasMore, next_cursor: nextCursor };
}
