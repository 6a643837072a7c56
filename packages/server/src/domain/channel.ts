/**
 * The provider port: how Carillon hands one rendered message to one provider.
 *
 * A *channel* is a kind of content and address (email, webhook, slack). A *provider* is somebody who carries that kind
 * (an SMTP server, an HTTP endpoint). A provider has one conversation and reports what it was told. It does not retry,
 * wait, read the database or look at preferences: delivery/ does, once, for every provider.
 */
import type { Severity } from './event.ts';
import type { Written } from './written.ts';
import type { AttemptReason } from './reason.ts';

/** A word of the registry: `in_app`, `email`, `slack` …, or one of the operator's own. Stored as it is. */
export type ChannelName = string;

/** Has no address and no provider: it is one statement of the store. */
export const IN_APP = 'in_app';

/** Stands for all channels, in the decision about a recipient who is not told at all. */
export const NO_CHANNEL = '*';

/** What a name looks like. It stands in settings, in columns and in metrics' labels. */
export const CHANNEL_NAME = /^[a-z][a-z0-9_]{0,31}$/;

/** Fields of a user's profile, and of an inline `to` item, that hold addresses. */
export type ProfileField = 'email' | 'phone' | 'webhook_url';

/** An address is one text. `json`: a document, such as the subscription of a browser. */
export type AddressFormat = 'mailbox' | 'url' | 'phone' | 'text' | 'json';

/** Where addresses of a channel stand, and what they look like. Data, so that routing stays pure and the API can make a schema of it. */
export interface AddressRule {
  /** Its name in a user's preference for this channel, and in a destination's config: `webhook_url`. */
  readonly field: string;
  /** A second name for it in preferences: that of a system whose settings are moved here. Never answered. */
  readonly alias?: string | undefined;
  readonly format: AddressFormat;
  /** Read there too, and from inline `to` items. Null: only from preferences and destinations. */
  readonly profile: ProfileField | null;
  /** For `text`: what it must match, and what a refusal says. */
  readonly pattern?: string | undefined;
  readonly words: string;
  /** Whoever knows it can send to it: never shown whole, never logged. */
  readonly secret: boolean;
}

/** What routing, schemas and retries need to know of a channel. */
export interface ChannelFacts {
  readonly name: ChannelName;
  /** For people: `Slack`. */
  readonly title: string;
  /** Set up on this installation. One that is only known is skipped as `channel_disabled`. */
  readonly available: boolean;
  /** Null for in_app. */
  readonly address: AddressRule | null;
  /** What shares one far end: each address (a URL of somebody's), or all of a tenant's (one mail server). */
  readonly lane: 'address' | 'tenant';
  /** Signs what it sends with a secret of the address's owner, who may add headers. */
  readonly signed?: boolean | undefined;
  /** Waits after the first, second … failed attempt. */
  readonly delaysMs: readonly number[];
}

/** What one delivery has to say: the same for every channel and on every attempt. Ids are TypeIDs. */
export interface Telling {
  readonly eventId: string;
  /** Null for a destination. */
  readonly notificationId: string | null;
  readonly userId: string | null;
  readonly type: string;
  readonly acceptedAt: Date;
  readonly subject: string;
  /** Plain text; line breaks are kept. */
  readonly body: string;
  readonly severity: Severity;
  readonly tags: readonly string[];
  /** A http, https or mailto link, or a path, which means something in the inbox only. */
  readonly actionUrl: string | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly data: Readonly<Record<string, unknown>>;
  /** What the event type's own templates made for this channel. */
  readonly written?: Written | undefined;
}

/** What a renderer may know of the installation. */
export interface RenderContext {
  readonly productName: string;
}

/** Whose address it is: a user's, or a destination's with its own secrets (the current one first) and headers. */
export interface Owner {
  readonly tenantId: string;
  readonly userId: string | null;
  readonly destination: { readonly secrets: readonly Uint8Array[]; readonly headers: Readonly<Record<string, string>> } | null;
  /** Of the delivery: then nobody can opt out of it. */
  readonly critical: boolean;
}

/**
 * A kind of content and address with those who carry it. `render` is pure: the same input gives the same content, so that
 * every attempt of a delivery sends the same message. Methods, so that a channel of something is also a channel of anything.
 */
export interface Channel<Address = unknown, Content = unknown> extends ChannelFacts {
  readonly address: AddressRule;
  /** Attempts in flight per lane, when fewer than the installation's limit. */
  readonly maxInFlight?: number | undefined;
  /** In the order in which they are asked. Empty: known, but not set up. */
  readonly providers: readonly Provider<Address, Content>[];
  render(telling: Telling, context: RenderContext): Content;
  /** Where `render` leaves it to somebody else: what he makes of it, for a preview. Throws TemplateFailed. */
  shown?(content: Content): Promise<unknown>;
  /** The stored text as the providers want it, with what is secret and belongs to the owner. */
  addressOf(text: string, owner: Owner): Address | Promise<Address>;
}

export interface Message<Address = unknown, Content = unknown> {
  /** TypeID `dlv_…`. The same for every attempt of one delivery, so that a provider can drop repeats. */
  readonly deliveryId: string;
  readonly address: Address;
  readonly content: Content;
  /** When it is to take less than the installation allows. */
  readonly timeoutMs?: number | undefined;
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

export interface Provider<Address = unknown, Content = unknown> {
  /** Stored with every attempt (`webhook.http`). Never rename one that has shipped. */
  readonly id: string;
  /**
   * One attempt. Resolves for every answer that a provider can give, none included.
   * Rejects in two cases only: `signal` was aborted (the attempt does not count),
   * or this code has a bug (the worker records it as `internal`).
   */
  send(message: Message<Address, Content>, signal: AbortSignal): Promise<SendResult>;
  /** Ends pooled connections. */
  readonly close: () => Promise<void>;
}
