/** The channels of an installation, by name. */
import { CHANNEL_NAME, IN_APP, type Channel, type ChannelFacts, type ChannelName } from '../domain/channel.ts';
import { isTestTenant } from '../domain/tenant.ts';
import { simulated, type Target } from './simulator/simulated.ts';

export interface Registry {
  /** Of all that are known, in_app first: what routing, schemas and retries need. */
  readonly facts: ReadonlyMap<ChannelName, ChannelFacts>;
  /**
   * The only way to those who carry a channel: for a test tenant it leads to a simulation of them.
   * Throws for a channel that is not set up in this process: it was, in the one that routed.
   */
  readonly channelFor: (target: Target) => Channel;
  /** Attempts in flight per lane, when the channel has a limit of its own. */
  readonly maxInFlightOf: (name: ChannelName) => number | undefined;
  readonly close: () => Promise<void>;
}

const INBOX: Omit<ChannelFacts, 'available'> = { name: IN_APP, title: 'Inbox', address: null, lane: 'tenant', delaysMs: [] };

/** Throws when a name is not one, or stands twice. `inbox`: whether there is one. */
export function makeRegistry(channels: readonly Channel[], { inbox }: { inbox: boolean }): Registry {
  const byName = new Map<ChannelName, Channel>();
  for (const channel of channels) {
    const { name } = channel;
    if (!CHANNEL_NAME.test(name)) throw new Error(`"${name}" can't be the name of a channel: lower-case letters, digits and _, at most 32`);
    if (byName.has(name) || name === IN_APP) throw new Error(`there are two channels with the name ${name}`);
    byName.set(name, channel);
  }
  return {
    facts: new Map<ChannelName, ChannelFacts>([[IN_APP, { ...INBOX, available: inbox }], ...byName]),
    channelFor: (target) => {
      const channel = byName.get(target.channel);
      if (!channel?.available) throw new Error(`the channel ${target.channel} is not set up in this process`);
      return isTestTenant(target.tenantId) ? simulated(channel, target) : channel;
    },
    maxInFlightOf: (name) => byName.get(name)?.maxInFlight,
    close: async () => {
      await Promise.all([...byName.values()].flatMap(({ providers }) => providers.map((provider) => provider.close())));
    },
  };
}
