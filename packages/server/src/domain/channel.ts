/**
 * The provider port: how Carillon hands one rendered message to one provider.
 *
 * A *channel* is a kind of content and address (email, webhook). A *provider* is somebody
 * who carries that kind (an SMTP server, an HTTP endpoint). A provider has one conversation
 * and reports what it was told. It does not retry, wait, read the database or look at
 * preferences: delivery/ does, once, for every provider.
 */
import type { AttemptReason } from './reason.ts';

export interface ContentByChannel {
  readonly email: {
    readonly subject: string;
    readonly html: string;
    readonly text: string;
  };
  /** Exact bytes of the request body, the same on every attempt. */
  readonly webhook: { readonly body: string };
}

export interface AddressByChannel {
  /** One mailbox, `local@domain`, without a display name. */
  readonly email: { readonly mailbox: string };
  /** `secret` is the raw signing key, already decrypted. */
  readonly webhook: { readonly url: string; readonly secret: Uint8Array };
}

/** Channels that a provider carries. */
export type ProviderChannel = keyof ContentByChannel;

/** `in_app` has no provider: it is one statement of the store. */
export const CHANNELS = ['in_app', 'email', 'webhook'] as const;
export type ChannelName = (typeof CHANNELS)[number];

export interface Message<C extends ProviderChannel = ProviderChannel> {
  /** TypeID `dlv_…`. The same for every attempt of one delivery, so that a provider can drop repeats. */
  readonly deliveryId: string;
  readonly address: AddressByChannel[C];
  readonly content: ContentByChannel[C];
}

/** What the far end said, for the timeline: its status (HTTP or SMTP code) and up to 4 KiB of its answer. */
export interface Answer {
  readonly status?: number | undefined;
  readonly response?: string | undefined;
}

/** The four answers that the worker can act on. Anything a provider says becomes one of them. */
export type SendResult =
  /** The provider took responsibility; `providerId` is its name for the message. */
  | (Answer & { readonly kind: 'accepted'; readonly providerId?: string | undefined })
  /** Another attempt may succeed. `retryAfterMs` is the provider's wish, not a promise. */
  | (Answer & {
      readonly kind: 'transient';
      readonly reason: AttemptReason;
      readonly detail: string;
      readonly retryAfterMs?: number | undefined;
    })
  /** No attempt at this address can succeed until somebody changes something. */
  | (Answer & { readonly kind: 'permanent'; readonly reason: AttemptReason; readonly detail: string })
  /** The message left completely and no answer came: it may have arrived. Tried again under the same delivery id. */
  | (Answer & { readonly kind: 'unknown'; readonly reason: AttemptReason; readonly detail: string });

export interface Provider<C extends ProviderChannel = ProviderChannel> {
  /** Stored with every attempt (`webhook.http`). Never rename one that has shipped. */
  readonly id: string;
  readonly channel: C;
  /**
   * One attempt. Resolves for every answer that a provider can give, none included.
   * Rejects in two cases only: `signal` was aborted (the attempt does not count),
   * or this code has a bug (the worker records it as `internal`).
   */
  readonly send: (message: Message<C>, signal: AbortSignal) => Promise<SendResult>;
  /** Ends pooled connections. */
  readonly close: () => Promise<void>;
}
