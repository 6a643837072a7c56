/** The suppression list, asked once for a batch, and only when something is to go to an address that may be on it. */
import type { CarillonEvent, Tx } from '../domain/event.ts';
import { isListed, type ListedAddress } from '../domain/suppression.ts';
import type { Addressee, Decision, KnownChannels } from './decide.ts';

/** All that was decided about one recipient. */
export interface Decided {
  readonly event: CarillonEvent;
  readonly addressee: Addressee;
  readonly decisions: readonly Decision[];
}

export interface SuppressionDeps {
  readonly channels: KnownChannels;
  /** Of each, in their order, whether it is on the list. */
  readonly areSuppressed: (tx: Tx, addresses: readonly ListedAddress[]) => Promise<readonly boolean[]>;
}

type Decide = (event: CarillonEvent, addressee: Addressee) => readonly Decision[];

/** Decided again with what the list says of the addresses that were chosen. */
export async function withList(deps: SuppressionDeps, tx: Tx, decided: readonly Decided[], decide: Decide): Promise<readonly Decided[]> {
  const chosen = decided.flatMap((one, index) => listedOf(deps, one).map((address) => ({ index, address })));
  if (chosen.length === 0) return decided;
  const answers = await deps.areSuppressed(
    tx,
    chosen.map(({ address }) => address),
  );
  const struck = Map.groupBy(
    chosen.filter((_, at) => answers[at]),
    ({ index }) => index,
  );
  return decided.map((one, index) => {
    const addresses = struck.get(index);
    return addresses ? again(one, addresses, decide) : one;
  });
}

function listedOf({ channels }: SuppressionDeps, { event: { tenantId }, decisions }: Decided): ListedAddress[] {
  return decisions.flatMap((decision) => {
    const { channel } = decision;
    const facts = channels.get(channel);
    return decision.kind === 'skip' || decision.address === null || !facts || !isListed(facts)
      ? []
      : [{ tenantId, channel, address: decision.address }];
  });
}

function again({ event, addressee, decisions }: Decided, struck: readonly { readonly address: ListedAddress }[], decide: Decide): Decided {
  const { user } = addressee;
  if (!user) return { event, addressee, decisions };
  const suppressed = { ...user.suppressed, ...Object.fromEntries(struck.map(({ address }) => [address.channel, address.address])) };
  return { event, addressee, decisions: decide(event, { ...addressee, user: { ...user, suppressed } }) };
}
