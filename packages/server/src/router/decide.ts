/**
 * The routing decision. Pure: the same input always gives the same decisions, so that it can be
 * computed again later to explain why somebody was, or was not, told.
 */
import type { ChannelName } from '../domain/channel.ts';
import type { CarillonEvent, InlineUser } from '../domain/event.ts';
import { stopReason } from '../domain/preference.ts';
import type { ReasonCode } from '../domain/reason.ts';
import type { Recipient } from '../domain/user.ts';

/** Somebody whom the event addresses. */
export interface Addressee {
  readonly userId: string;
  /** Undefined when there is no such user. */
  readonly user: Recipient | undefined;
  /** Addresses that count for this event only. */
  readonly inline: InlineUser | undefined;
}

export type Decision =
  | { readonly kind: 'deliver'; readonly channel: ChannelName; readonly address: string | null }
  | { readonly kind: 'skip'; readonly channel: ChannelName | '*'; readonly reason: ReasonCode };

/** Exactly one decision for each channel considered, or a single one with the channel `*` for somebody who is not told at all. */
export function decide(event: CarillonEvent, addressee: Addressee, available: ReadonlySet<ChannelName>): Decision[] {
  const { user, inline } = addressee;
  if (!user) return [{ kind: 'skip', channel: '*', reason: 'user_unknown' }];
  if (!user.active) return [{ kind: 'skip', channel: '*', reason: 'user_inactive' }];
  const context = { user, inline, available, critical: event.request.critical ?? false };
  return considered(event, inline).map((channel) => decideChannel(channel, context));
}

/** The channels that the request names; without any, the inbox and each channel with an inline address. */
function considered(event: CarillonEvent, inline: InlineUser | undefined): readonly ChannelName[] {
  if (event.request.channels) return event.request.channels;
  return ['in_app', ...(inline?.email ? (['email'] as const) : []), ...(inline?.webhook_url ? (['webhook'] as const) : [])];
}

interface Context {
  readonly user: Recipient;
  readonly inline: InlineUser | undefined;
  readonly available: ReadonlySet<ChannelName>;
  readonly critical: boolean;
}

function decideChannel(channel: ChannelName, { user, inline, available, critical }: Context): Decision {
  const address = addressOf(channel, user, inline);
  const stop = stopReason(user, { channel, address, critical });
  if (stop) return { kind: 'skip', channel, reason: stop };
  if (!available.has(channel)) return { kind: 'skip', channel, reason: 'channel_disabled' };
  if (channel !== 'in_app' && address === null) return { kind: 'skip', channel, reason: 'no_address' };
  return { kind: 'deliver', channel, address };
}

/** Inline before the user's own. */
function addressOf(channel: ChannelName, user: Recipient, inline: InlineUser | undefined): string | null {
  switch (channel) {
    case 'in_app':
      return null;
    case 'email':
      return inline?.email ?? user.email;
    case 'webhook':
      return inline?.webhook_url ?? user.webhookUrl;
  }
}
