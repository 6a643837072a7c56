/** UUIDv7 (RFC 9562) inside; TypeIDs (prefix and base32) at the edges. */
import { hash, randomFillSync } from 'node:crypto';
import { fromString, fromUUID, toUUID } from 'typeid-js';
import { v7 } from 'uuid';

export type IdPrefix = 'evt' | 'ntf' | 'dlv' | 'att' | 'key' | 'dst' | 'rec' | 'dgs';

export function newId(at: Date): string {
  return v7({ msecs: at.getTime(), rng: nextRandom });
}

/** Random bytes are fetched for many ids at a time: one by one they cost more than the id. */
const pool = new Uint8Array(16 * 512);
let used = pool.length;

function nextRandom(): Uint8Array {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += 16;
  return pool.subarray(used - 16, used);
}

/** The same time and parts always give the same id, in any process, after any crash: the primary key then refuses a second row. */
export function derivedId(at: Date, ...parts: readonly string[]): string {
  const random = hash('sha256', parts.join('\0'), 'buffer');
  return v7({ msecs: at.getTime(), random, seq: random.readUInt32BE(16) });
}

/** The smallest id of that millisecond: a bound for ranges. */
export function firstIdAt(at: Date): string {
  const hex = at.getTime().toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

/** When the id was made, with the precision of a millisecond. */
export function timeOf(id: string): Date {
  return new Date(Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16));
}

export function publicId(prefix: IdPrefix, uuid: string): string {
  return fromUUID(uuid, prefix);
}

/** Undefined for whatever is not an id of that kind: a malformed and an unknown id answer alike. */
export function parseId(prefix: IdPrefix, text: string): string | undefined {
  try {
    return toUUID(fromString(text, prefix));
  } catch {
    return undefined;
  }
}
