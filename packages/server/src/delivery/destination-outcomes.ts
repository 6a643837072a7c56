/** What a batch of outcomes says of the destinations in it. Pure. */
import { OUTCOMES, type Completion } from '../domain/delivery.ts';
import type { DestinationOutcome } from '../domain/destination.ts';

const HTTP_GONE = 410;

/** One for each destination that was really asked; in no order. */
export function destinationOutcomes(rows: readonly Completion[]): DestinationOutcome[] {
  const asked = rows.filter(({ destinationId, outcome }) => destinationId !== null && outcome !== null);
  if (asked.length === 0) return [];
  return [...Map.groupBy(asked, ({ destinationId }) => destinationId ?? '')].map(([id, ofOne]) => {
    const failures = ofOne.filter(({ outcome }) => outcome !== OUTCOMES.accepted);
    const delivered = failures.length < ofOne.length;
    return {
      tenantId: ofOne[0]?.tenantId ?? '',
      id,
      delivered,
      failed: failures.length,
      gone: failures.some(({ status }) => status === HTTP_GONE),
      error: delivered ? null : (failures.at(-1)?.detail ?? null),
    };
  });
}
