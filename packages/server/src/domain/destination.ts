/** An account's own address, with the events that it wants. What is decided about it is decided here: when routing, and again before each send. */
import type { ChannelName } from './channel.ts';
import { INLINE_TYPE, type Severity } from './event.ts';
import type { ReasonCode } from './reason.ts';

/** What is kept sealed. */
export interface DestinationConfig {
  /** As the channel wants them. Of a mailing list each mailbox is one; every other channel has exactly one. */
  readonly addresses: readonly string[];
  readonly list: boolean;
  /** Sent with every webhook. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What a person says about a destination. */
export interface DestinationSettings {
  readonly name: string;
  /** A person's switch. */
  readonly active: boolean;
  /** Event type or ANY_EVENT. */
  readonly events: Readonly<Record<string, boolean | null>>;
  /** Empty: no filter; the same for tags. */
  readonly severities: readonly Severity[];
  readonly includeTags: readonly string[];
  readonly excludeTags: readonly string[];
  readonly maxRetries: number;
  /** Waits after the first, second … failed attempt; the last one repeats. */
  readonly retryDelaysMs: readonly number[];
}

export interface Destination extends DestinationSettings, DestinationConfig {
  readonly id: string;
  readonly tenantId: string;
  readonly channel: ChannelName;
  /** What webhooks are signed with; two while a secret rotates, the new one first. */
  readonly secrets: readonly Uint8Array[];
  /** Carillon's switch: null while it is not disabled. */
  readonly disabledAt: Date | null;
}

/** What a destination looks at in an event. */
interface Switchable {
  readonly type: string;
  readonly severity: Severity;
  readonly tags: readonly string[];
}

/** The switch for all events that have none of their own. */
export const ANY_EVENT = '*';

/** Unlisted or null is off, unless `*` is on. What is said to named people (`inline`) is private, and meant by its own name only. */
export function isSwitchedOn({ events }: Pick<Destination, 'events'>, type: string): boolean {
  const own = Object.hasOwn(events, type) ? events[type] : null;
  return own ?? (type !== INLINE_TYPE && events[ANY_EVENT] === true);
}

export type DestinationStop = Extract<
  ReasonCode,
  'event_not_enabled' | 'destination_disabled' | 'severity_filtered' | 'tag_excluded' | 'tag_not_included' | 'address_removed'
>;

export type DestinationAnswer =
  | { readonly kind: 'open' }
  /** Until a person recovers it. */
  | { readonly kind: 'hold'; readonly reason: 'destination_disabled' }
  | { readonly kind: 'stop'; readonly reason: DestinationStop };

/** Whether the event may go there as the destination is now; null for one that was deleted. */
export function answerOf(destination: Destination | null, event: Switchable): DestinationAnswer {
  if (!destination?.active) return { kind: 'stop', reason: 'destination_disabled' };
  const filtered = filteredBy(destination, event);
  if (filtered) return { kind: 'stop', reason: filtered };
  return destination.disabledAt === null ? { kind: 'open' } : { kind: 'hold', reason: 'destination_disabled' };
}

function filteredBy(destination: Destination, { type, severity, tags }: Switchable): DestinationStop | undefined {
  const { severities, includeTags, excludeTags } = destination;
  if (!isSwitchedOn(destination, type)) return 'event_not_enabled';
  if (severities.length > 0 && !severities.includes(severity)) return 'severity_filtered';
  if (excludeTags.some((tag) => tags.includes(tag))) return 'tag_excluded';
  return includeTags.length > 0 && !includeTags.some((tag) => tags.includes(tag)) ? 'tag_not_included' : undefined;
}

/** What is written with each delivery: a mailbox, or what a person may see of an address that is itself a credential. */
export function writtenAddressesOf({ list, addresses }: DestinationConfig): readonly string[] {
  return list ? addresses : addresses.map(shownAddress);
}

/** Where a delivery goes now; undefined for a mailbox that has been taken off the list since. */
export function currentAddressOf({ list, addresses }: DestinationConfig, written: string): string | undefined {
  return list ? addresses.find((address) => address === written) : addresses[0];
}

/** The origin of a URL, the end of anything else. */
export function shownAddress(address: string): string {
  const origin = /^[a-z][a-z0-9+.-]*:\/\/[^/?#@]+(?=[/?#]|$)/i.exec(address)?.[0];
  return origin === undefined ? `…${address.slice(-2)}` : `${origin}/…`;
}

/** One wait for each retry. */
export function retryDelaysOf({ maxRetries, retryDelaysMs }: Pick<Destination, 'maxRetries' | 'retryDelaysMs'>): readonly number[] {
  return Array.from({ length: maxRetries }, (_, index) => retryDelaysMs[Math.min(index, retryDelaysMs.length - 1)] ?? 0);
}

/** All that goes to one destination shares one limit. */
export function laneOfDestination({ id, channel }: Pick<Destination, 'id' | 'channel'>): string {
  return `${channel} ${id}`;
}

/** The error of a delivery that ended with its destination. */
export const CONFIG_GONE = 'Config disabled or deleted';

/** The error of a mailing list some of whose mailboxes were not reached. */
export function mailFailure(mailboxes: readonly string[]): string {
  return `Failed to send notification email to: ${mailboxes.join(', ')}`;
}

/** Of one attempt at a destination. */
export const DESTINATION_TIMEOUT_MS = 10_000;

/** What a batch of attempts said of one destination. */
export interface DestinationOutcome {
  readonly tenantId: string;
  readonly id: string;
  /** Any of them was taken. */
  readonly delivered: boolean;
  readonly failed: number;
  /** The far end said 410 Gone. */
  readonly gone: boolean;
  readonly error: string | null;
}
