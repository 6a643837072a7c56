/**
 * The routing decision. Pure: the same input always gives the same decisions, so that it can be
 * computed again later to explain why somebody was, or was not, told.
 */
import { IN_APP, NO_CHANNEL, type AddressRule, type ChannelFacts, type ChannelName, type ProfileField } from '../domain/channel.ts';
import { laneOf } from '../domain/delivery.ts';
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
  | { readonly kind: 'deliver'; readonly channel: ChannelName; readonly address: string | null; readonly lane: string | null }
  | { readonly kind: 'skip'; readonly channel: ChannelName; readonly reason: ReasonCode };

/** By name; in the order in which channels are considered. */
export type KnownChannels = ReadonlyMap<ChannelName, ChannelFacts>;

/** Exactly one decision for each channel considered, or a single one with the channel `*` for somebody who is not told at all. */
export function decide(event: CarillonEvent, addressee: Addressee, known: KnownChannels): Decision[] {
  const { user, inline } = addressee;
  if (!user) return [{ kind: 'skip', channel: NO_CHANNEL, reason: 'user_unknown' }];
  if (!user.active) return [{ kind: 'skip', channel: NO_CHANNEL, reason: 'user_inactive' }];
  const context = { tenantId: event.tenantId, user, inline, known, critical: event.request.critical ?? false };
  return considered(event, inline, known).map((channel) => decideChannel(channel, context));
}

/** The channels that the request names; without any, the inbox and each channel with an inline address. */
function considered({ request }: CarillonEvent, inline: InlineUser | undefined, known: KnownChannels): readonly ChannelName[] {
  if (request.channels) return request.channels;
  if (!inline) return [IN_APP];
  const addressed = [...known.values()].filter(({ address }) => address?.profile != null && inline[address.profile] !== undefined);
  return [IN_APP, ...addressed.map(({ name }) => name)];
}

interface Context {
  readonly tenantId: string;
  readonly user: Recipient;
  readonly inline: InlineUser | undefined;
  readonly known: KnownChannels;
  readonly critical: boolean;
}

function decideChannel(channel: ChannelName, { tenantId, user, inline, known, critical }: Context): Decision {
  const facts = known.get(channel);
  const address = facts?.address ? addressOf(channel, facts.address, { user, inline }) : null;
  const stop = stopReason(user, { channel, address, critical });
  if (stop) return { kind: 'skip', channel, reason: stop };
  if (!facts?.available) return { kind: 'skip', channel, reason: 'channel_disabled' };
  if (!facts.address) return { kind: 'deliver', channel, address: null, lane: null };
  if (address === null) return { kind: 'skip', channel, reason: 'no_address' };
  return { kind: 'deliver', channel, address, lane: laneOf(tenantId, channel, facts.lane === 'address' ? address : '') };
}

/** Inline before the preference's own before the profile's. */
function addressOf(
  channel: ChannelName,
  { field, profile }: AddressRule,
  { user, inline }: Pick<Context, 'user' | 'inline'>,
): string | null {
  const passed = profile && inline?.[profile];
  if (passed) return passed;
  const own = user.preferences.channels[channel]?.[field];
  if (typeof own === 'string') return own;
  return profile && inProfile(user, profile);
}

function inProfile(user: Recipient, field: ProfileField): string | null {
  switch (field) {
    case 'email':
      return user.email;
    case 'phone':
      return user.phone;
    case 'webhook_url':
      return user.webhookUrl;
  }
}
