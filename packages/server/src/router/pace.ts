/**
 * Which of the claimed events one transaction routes. What tenants wrote may take its time: it is routed apart from all else,
 * so many at once as have been quick lately, the tenants in turn. The rest stay due.
 */
import type { CarillonEvent } from '../domain/event.ts';

export interface Pace {
  readonly pick: (events: readonly CarillonEvent[]) => readonly CarillonEvent[];
  /** How long those that were picked took. */
  readonly took: (events: readonly CarillonEvent[], ms: number) => void;
}

const FIRST = 8;
const MOST = 100;
const QUICK_MS = 250;
/** A transaction that waits for five seconds is cut off. */
const LONG_MS = 1_000;

export function makePace(): Pace {
  let size = FIRST;
  return {
    pick: (events) => {
      const [oldest] = events;
      if (!oldest || events.every((event) => !isSlow(event))) return events;
      const alike = events.filter((event) => isSlow(event) === isSlow(oldest));
      return isSlow(oldest) ? inTurn(alike).slice(0, size) : alike;
    },
    took: ([first], ms) => {
      if (!first || !isSlow(first)) return;
      if (ms > LONG_MS) size = Math.max(1, size >> 2);
      else if (ms < QUICK_MS) size = Math.min(MOST, size * 2);
    },
  };
}

function isSlow({ request }: CarillonEvent): boolean {
  return request.tenant_templates === true;
}

/** The oldest of each tenant, then the second of each. */
function inTurn(events: readonly CarillonEvent[]): CarillonEvent[] {
  const queues = [...Map.groupBy(events, ({ tenantId }) => tenantId).values()];
  const longest = Math.max(...queues.map((queue) => queue.length));
  return Array.from({ length: longest }, (_, at) => queues.flatMap((queue) => queue[at] ?? [])).flat();
}
