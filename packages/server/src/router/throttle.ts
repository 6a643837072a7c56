/** Whom a batch may still tell, asked once and only where a throttle is set. What is refused is recorded, and does not count. */
import { NO_CHANNEL } from '../domain/channel.ts';
import type { Tx } from '../domain/event.ts';
import { limitOf, type Limit, type Throttle } from '../domain/throttle.ts';
import type { Decision, Rules } from './decide.ts';
import { overLimit } from './digest.ts';
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
export async function withThrottle(
  { throttleOf, admit }: ThrottleDeps,
  tx: Tx,
  decided: readonly Decided[],
  closesAt: Rules['closesAt'],
): Promise<readonly Decided[]> {
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
  return decided.map((one, index) => (refused.has(index) ? { ...one, decisions: beyond(one, closesAt) } : one));
}

/**
 * Of what is over the limit everything that has an address is collected, where its type says so: it would else be lost, however
 * heavy it is. The inbox shows it at once then. Where there is nothing to collect it is skipped.
 */
function beyond({ event, addressee: { user }, decisions }: Decided, closesAt: Rules['closesAt']): readonly Decision[] {
  const into = overLimit(event);
  if (!into) return [THROTTLED];
  const until = closesAt(into.times, user?.timeZone ?? null);
  const collected = decisions.map((decision) => collect(decision, { key: into.key, until }));
  return collected.some(({ kind }) => kind === 'digest') ? collected : [THROTTLED];
}

function collect(decision: Decision, into: { readonly key: string; readonly until: Date }): Decision {
  if ((decision.kind !== 'deliver' && decision.kind !== 'hold') || decision.address === null) return decision;
  const { channel, address, lane, layer = null } = decision;
  return { kind: 'digest', channel, address, lane, reason: 'digest_waiting', ...into, layer };
}

const THROTTLED = { kind: 'skip', channel: NO_CHANNEL, reason: 'throttled' } as const;
