/** What a built-in channel is made of, before settings say whether and how it is set up. */
import type { Channel, Provider } from '../domain/channel.ts';
import type { Egress } from '../lib/egress.ts';

/** What a provider is given. `request` is the guarded client: what leaves any other way is not checked. */
export interface ProviderTools {
  readonly request: Egress['request'];
  readonly now: () => Date;
  readonly productName: string;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

/** Throws what is wrong with the options, in words for whoever wrote them. */
export type MakeProvider<Address = unknown, Content = unknown> = (options: unknown, tools: ProviderTools) => Provider<Address, Content>;

export interface ChannelKind<Address = unknown, Content = unknown> extends Omit<Channel<Address, Content>, 'available' | 'providers'> {
  readonly makers: Readonly<Record<string, MakeProvider>>;
  /** The one that `options` of the channel itself are for. */
  readonly standard: string;
  /** Needs no options: set up unless it is switched off. */
  readonly ready: boolean;
}

const minutes = (...waits: readonly number[]): readonly number[] => waits.map((wait) => Math.round(wait * 60_000));

/** 30 s, 2 min, 10 min. */
export const CHAT_RETRY = minutes(0.5, 2, 10);
/** Eight attempts over four hours. */
export const LONG_RETRY = minutes(0.5, 2, 10, 20, 30, 60, 120);
