/**
 * For authors of channels and providers: what a module exports, and what it is given. A module runs in a thread of its own, so
 * that one that throws, hangs or runs out of memory fails what it was sending and nothing else.
 */
import type { AddressFormat, Message, Provider, ProfileField, RenderContext, SendResult, Telling } from '../../domain/channel.ts';
import type { AttemptReason } from '../../domain/reason.ts';
import type { Egress } from '../../lib/egress.ts';

export type { AttemptReason, Message, Provider, RenderContext, SendResult, Telling };

export interface ModuleTools {
  /** The guarded HTTP client, with Carillon's time limits and its list of networks that nobody may call. */
  readonly request: Egress['request'];
  readonly productName: string;
  /** A line in Carillon's log. More than a hundred a minute are dropped. */
  readonly log: (event: string, fields?: Readonly<Record<string, unknown>>) => void;
}

/** A kind of content and address that Carillon does not know. */
export interface ModuleChannel<Content = unknown> {
  /** For people: `Matrix`. */
  readonly title: string;
  readonly address: {
    /** Its name in a user's preference for the channel and in a destination's config. */
    readonly field: string;
    readonly format: AddressFormat;
    /** The field of a user's profile that has it too. */
    readonly profile?: ProfileField | null;
    /** A regular expression that addresses of the format `text` match as a whole. */
    readonly pattern?: string;
    /** Completes "must be …". */
    readonly words: string;
    /** Whoever knows it can send to it: it is never shown whole. Default: true. */
    readonly secret?: boolean;
  };
  /** What shares one far end, and so one limit of concurrency. Default: each address has its own. */
  readonly lane?: 'address' | 'tenant';
  /** Waits after the first, second … failed attempt, such as `30s`. Default: 30s, 2m, 10m. */
  readonly retry?: readonly string[];
  /** Pure: the same input gives the same content on every attempt. */
  render(telling: Telling, context: RenderContext): Content;
  /** In the order in which they are asked. The address is the stored text. */
  readonly providers: readonly Provider<string, Content>[];
}

/** A module that is named as `channels.<name>.module` exports `createChannel`. It throws what is wrong with its options. */
export type CreateChannel = (options: unknown, tools: ModuleTools) => ModuleChannel | Promise<ModuleChannel>;

/** One that is named in `providers` of a channel exports `createProvider`: address and content are those of that channel. */
export type CreateProvider = (options: unknown, tools: ModuleTools) => Provider | Promise<Provider>;
