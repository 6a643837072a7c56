/** Destinations, wired: what routing and delivery know of them. Part of the composition root. */
import type { Registry } from './channels/registry.ts';
import { destinationOutcomes } from './delivery/destination-outcomes.ts';
import { sendTest } from './delivery/send-test.ts';
import type { Completion } from './domain/delivery.ts';
import { mailFailure, type Destination, type DestinationOutcome } from './domain/destination.ts';
import type { Tx } from './domain/event.ts';
import type { Core } from './main-core.ts';
import { makeDestinationCache, type DestinationCache } from './store/destination-cache.ts';
import { failedMailboxes, holdWaiting, noteOutcomes } from './store/destination-deliveries.ts';
import { destinationsOfTenants } from './store/destinations.ts';

export interface Destinations extends DestinationCache {
  /** After their outcomes were written: a destination that only fails is disabled, and what waits for it is held. Never rejects. */
  readonly settle: (rows: readonly Completion[]) => Promise<void>;
}

export function makeDestinations({ database, vault, clock, metrics, log }: Core): Destinations {
  const cache = makeDestinationCache((tx, tenantIds) => destinationsOfTenants(tx, vault, tenantIds), clock.monotonicMs);

  async function disable(rows: readonly Completion[]): Promise<void> {
    const outcomes = destinationOutcomes(rows);
    if (outcomes.length === 0) return;
    const disabled = await database.transaction(async (tx) => {
      const found = await noteOutcomes(tx, await withMailboxes(tx, outcomes, rows));
      for (const key of found) await holdWaiting(tx, key);
      return found;
    });
    for (const { tenantId, id, reason } of disabled) {
      cache.forget(tenantId);
      metrics.destinationDisabled(reason);
      log('destination.disabled', { tenantId, destinationId: id, reason });
    }
  }

  /** Of a mailing list each mailbox is a delivery of its own; its error names all that were not reached. */
  async function withMailboxes(
    tx: Tx,
    outcomes: readonly DestinationOutcome[],
    rows: readonly Completion[],
  ): Promise<readonly DestinationOutcome[]> {
    const known = [...(await cache.of(tx, [...new Set(outcomes.map(({ tenantId }) => tenantId))])).values()].flat();
    const lists = new Set(known.filter(({ list }) => list).map(({ id }) => id));
    const mailed = rows.filter(({ destinationId }) => destinationId !== null && lists.has(destinationId));
    if (mailed.length === 0) return outcomes;
    const failed = await failedMailboxes(
      tx,
      mailed.map(({ id }) => id),
    );
    return outcomes.map((outcome) => {
      const mailboxes = failed.get(outcome.id);
      return lists.has(outcome.id) ? { ...outcome, error: mailboxes ? mailFailure(mailboxes) : null } : outcome;
    });
  }

  return {
    ...cache,
    settle: (rows) =>
      disable(rows).catch((error: unknown) => {
        log('destination.not-noted', { error }); // the outcomes themselves are written; the next ones count
      }),
  };
}

/** One attempt with words of its own, and with no link. */
export function makeSendTest({
  config,
  clock,
  channels,
  log,
}: Pick<Core, 'config' | 'clock' | 'log'> & { readonly channels: Registry }): (destination: Destination) => ReturnType<typeof sendTest> {
  const { channelFor, facts } = channels;
  const deps = {
    ...{ channelFor, now: clock.now, monotonicMs: clock.monotonicMs, log },
    context: { productName: config.product_name },
    baseUrlOf: () => undefined,
    written: () => Promise.resolve(undefined),
    isAvailable: (name: string) => facts.get(name)?.available ?? false,
  };
  return (destination) => sendTest(deps, destination);
}
