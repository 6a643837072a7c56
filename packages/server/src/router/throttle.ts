/** Whom a batch may still tell, asked once and only where a throttle is set. What is refused is recorded, and does not count. */
import { NO_CHANNEL } from '../domain/channel.ts';
import type { Tx } from '../domain/event.ts';
import { limitOf, type Limit, type Throttle } from '../domain/throttle.ts';
import type { Decided } from './suppression.ts';

export interface Asked {
  readonly tenantId: string;
  readonly userId: string;
  readonly limit: Limit;
  /** Notifications of this batch. */
  readonly wanted: number;
}

export interface ThrottleDeps {
  readonly throttleOf: (tenantId: string) => Throttle | undefined;
  /** Counts as many as the window still holds, and says how many of each that are, in their order. */
  readonly admit: (tx: Tx, asked: readonly Asked[]) => Promise<readonly number[]>;
}

/** The first ones of a bucket are admitted, in the order of the batch. */
export async function withThrottle({ throttleOf, admit }: ThrottleDeps, tx: Tx, decided: readonly Decided[]): Promise<readonly Decided[]> {
  const buckets = new Map<string, { asked: Omit<Asked, 'wanted'>; indexes: number[] }>();
  decided.forEach(({ event, addressee: { userId }, decisions }, index) => {
    const limit = decisions.some(({ kind }) => kind !== 'skip') ? limitOf(event, throttleOf(event.tenantId)) : undefined;
    if (!limit) return;
    const asked = { tenantId: event.tenantId, userId, limit };
    const name = `${asked.tenantId}\0${userId}\0${limit.bucket}`;
    const known = buckets.get(name);
    if (known) known.indexes.push(index);
    else buckets.set(name, { asked, indexes: [index] });
  });
  if (buckets.size === 0) return decided;
  const groups = [...buckets.values()];
  const admitted = await admit(
    tx,
    groups.map(({ asked, indexes }) => ({ ...asked, wanted: indexes.length })),
  );
  const refused = new Set(groups.flatMap(({ indexes }, at) => indexes.slice(admitted[at])));
  return decided.map((one, index) => (refused.has(index) ? { ...one, decisions: [THROTTLED] } : one));
}

const THROTTLED = { kind: 'skip', channel: NO_CHANNEL, reason: 'throttled' } as const;
