/** The suppression list, wired: who asks it, and who writes to it. Part of the composition root. */
import type { ChannelFacts, ChannelName } from './domain/channel.ts';
import type { DeliveryJob } from './domain/delivery.ts';
import type { Tx } from './domain/event.ts';
import { isListed, type ListedAddress } from './domain/suppression.ts';
import { mailboxKey } from './lib/mailbox.ts';
import type { Database } from './store/database.ts';
import { suppressAddress } from './store/deliveries.ts';
import { suppress, suppressedAmong } from './store/suppressions.ts';

type Facts = ReadonlyMap<ChannelName, ChannelFacts>;

/** Of each, in their order, whether it is on the list. */
export async function areSuppressed(facts: Facts, tx: Tx, addresses: readonly ListedAddress[]): Promise<readonly boolean[]> {
  const keys = addresses.map((one) => listedAddress(facts, one));
  const distinct = new Map(keys.map((key) => [nameOf(key), key]));
  const found = new Set((await suppressedAmong(tx, [...distinct.values()])).map(nameOf));
  return keys.map((key) => found.has(nameOf(key)));
}

/** As the list keeps it. */
export function listedAddress(facts: Facts, { tenantId, channel, address }: ListedAddress): ListedAddress {
  return { tenantId, channel, address: facts.get(channel)?.address?.format === 'mailbox' ? mailboxKey(address) : address };
}

function nameOf({ tenantId, channel, address }: ListedAddress): string {
  return `${tenantId}\0${channel}\0${address}`;
}

/** Claimed deliveries, their recipients with what the list says of the address: the gate looks there. */
export async function withSuppressions(facts: Facts, tx: Tx, jobs: readonly DeliveryJob[]): Promise<DeliveryJob[]> {
  const asked = jobs.filter(
    ({ channel, recipient, destination }) => (recipient ?? destination) !== null && isListed(facts.get(channel) ?? { address: null }),
  );
  if (asked.length === 0) return [...jobs];
  const answers = await areSuppressed(facts, tx, asked);
  const struck = new Set(asked.filter((_, index) => answers[index]).map(({ id }) => id));
  return jobs.map((job) => (struck.has(job.id) ? strike(job) : job));
}

function strike(job: DeliveryJob): DeliveryJob {
  if (job.recipient === null) return { ...job, suppressed: true };
  return { ...job, recipient: { ...job.recipient, suppressed: { ...job.recipient.suppressed, [job.channel]: job.address } } };
}

/** The far end said that this address is gone for good. */
export async function suppressRefused(database: Database, facts: Facts, job: DeliveryJob): Promise<void> {
  const known = facts.get(job.channel);
  if (!known?.address) return;
  if (!isListed(known)) {
    // A destination that is gone is disabled once its outcome is written.
    if (job.userId !== null) await suppressAddress(database.engine, { ...job, userId: job.userId }, known.address);
    return;
  }
  const learnt = { reason: 'bounce', source: 'provider', detail: null, deliveryId: job.id } as const;
  await database.transaction((tx) => suppress(tx, { ...listedAddress(facts, job), ...learnt }));
}
