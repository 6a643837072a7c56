/** What a path or a filter names, or the one answer for all that is not there. */
import { CarillonError } from '../domain/error.ts';
import type { Tx } from '../domain/event.ts';
import { parseId } from '../lib/id.ts';
import { findEvent, idsOfEvent, type IdRange } from '../store/timeline.ts';

/** Throws `not_found`: alike for what is unknown, malformed, and another tenant's. */
export function found<T>(value: T | undefined): T {
  if (value === undefined) throw new CarillonError('not_found', 'There is nothing with this id.');
  return value;
}

/** The event of a filter, with the bounds of what belongs to it. */
export async function eventNamed(tx: Tx, tenantId: string, publicEventId: string): Promise<{ id: string; range: IdRange }> {
  const event = found(await findEvent(tx, { tenantId, id: found(parseId('evt', publicEventId)) }));
  return { id: event.id, range: idsOfEvent(event) };
}
