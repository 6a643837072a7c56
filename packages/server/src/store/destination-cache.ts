/** Destinations by tenant, remembered for a second: events of tenants without any cost no statement of their own. */
import type { Destination } from '../domain/destination.ts';
import type { Tx } from '../domain/event.ts';
import { makeLru } from '../lib/lru.ts';

export interface DestinationCache {
  readonly of: (tx: Tx, tenantIds: readonly string[]) => Promise<ReadonlyMap<string, readonly Destination[]>>;
  /** After a change was committed here. Other processes see it within `TTL_MS`. */
  readonly forget: (tenantId: string) => void;
}

const TTL_MS = 1_000;
const TENANTS_KEPT = 10_000;

interface Known {
  readonly destinations: readonly Destination[];
  readonly untilMs: number;
}

export function makeDestinationCache(
  load: (tx: Tx, tenantIds: readonly string[]) => Promise<readonly Destination[]>,
  monotonicMs: () => number,
): DestinationCache {
  const known = makeLru<Known>(TENANTS_KEPT);
  let changes = 0;

  async function refresh(tx: Tx, tenantIds: readonly string[], into: Map<string, readonly Destination[]>): Promise<void> {
    const before = changes;
    const loaded = Map.groupBy(await load(tx, tenantIds), ({ tenantId }) => tenantId);
    for (const tenantId of tenantIds) {
      const destinations = loaded.get(tenantId) ?? [];
      into.set(tenantId, destinations);
      // What was read while something changed may be from before it.
      if (before === changes) known.set(tenantId, { destinations, untilMs: monotonicMs() + TTL_MS });
    }
  }

  return {
    of: async (tx, tenantIds) => {
      const found = new Map<string, readonly Destination[]>();
      const nowMs = monotonicMs();
      const missing: string[] = [];
      for (const tenantId of tenantIds) {
        const one = known.get(tenantId);
        if (one && one.untilMs > nowMs) found.set(tenantId, one.destinations);
        else missing.push(tenantId);
      }
      if (missing.length > 0) await refresh(tx, missing, found);
      return found;
    },
    forget: (tenantId) => {
      changes++;
      known.set(tenantId, { destinations: [], untilMs: 0 });
    },
  };
}
