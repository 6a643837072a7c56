/**
 * The routing decision. Pure: the same input always gives the same decisions, so that it can be
 * computed again later to explain why somebody was, or was not, told.
 */
import { IN_APP, NO_CHANNEL, type AddressRule, type ChannelFacts, type ChannelName, type ProfileField } from '../domain/channel.ts';
import { laneOf } from '../domain/delivery.ts';
import type { CarillonEvent, DigestTimes, InlineUser } from '../domain/event.ts';
import {
  ownAddress,
  verdictOf,
  type DigestWish,
  type Layer,
  type Preferences,
  type QuietUntil,
  type Subject,
} from '../domain/preference.ts';
import type { ReasonCode } from '../domain/reason.ts';
import type { Recipient } from '../domain/user.ts';
import { digestOf } from './digest.ts';

/** Somebody whom the event addresses. */
export interface Addressee {
  readonly userId: string;
  /** Undefined when there is no such user. */
  readonly user: Recipient | undefined;
  /** Addresses that count for this event only. */
  readonly inline: InlineUser | undefined;
}

interface Reached {
  readonly channel: ChannelName;
  readonly address: string | null;
  readonly lane: string | null;
}

/** `layer`: who has said it in the preferences, if anybody. */
export type Decision = { readonly layer?: Layer | null } & (
  | (Reached & { readonly kind: 'deliver' })
  /** To be sent then, when nothing else stops it. */
  | (Reached & { readonly kind: 'hold'; readonly reason: 'quiet_hours_held' | 'delayed'; readonly until: Date })
  /** To wait in a digest, which closes then unless it is open already. */
  | (Reached & { readonly kind: 'digest'; readonly reason: 'digest_waiting'; readonly key: string; readonly until: Date })
  | { readonly kind: 'skip'; readonly channel: ChannelName; readonly reason: ReasonCode }
);

/** By name; in the order in which channels are considered. */
export type KnownChannels = ReadonlyMap<ChannelName, ChannelFacts>;

/** What decides, beside the event and the person. */
export interface Rules {
  readonly channels: KnownChannels;
  /** The tenant's word on everybody's preferences. */
  readonly defaultsOf: (tenantId: string) => Preferences | undefined;
  readonly quietUntil: QuietUntil;
  /** When a digest closes whose first item comes now. */
  readonly closesAt: (times: DigestTimes, zone: string | null) => Date;
}

/** Exactly one decision for each channel considered, or a single one with the channel `*` for somebody who is not told at all. */
export function decide(event: CarillonEvent, addressee: Addressee, rules: Rules): Decision[] {
  const { user, inline } = addressee;
  if (!user) return [dropped('user_unknown')];
  if (event.request.exclude?.includes(user.id)) return [dropped('excluded')];
  if (!user.active) return [dropped('user_inactive')];
  const target = { tenantId: event.tenantId, subject: subjectOf(event), user, inline, event };
  return considered(event, inline, rules.channels).map((channel) => decideChannel(channel, target, rules));
}

/** What would be decided for each channel, were it considered. */
export function explain(tenantId: string, subject: Subject, user: Recipient, rules: Rules): Decision[] {
  const target = { tenantId, subject, user, inline: undefined, event: undefined };
  return [...rules.channels.keys()].map((channel) => decideChannel(channel, target, rules));
}

function subjectOf({ type, severity, tags, request }: CarillonEvent): Subject {
  return { type, category: request.category ?? null, severity, tags, critical: request.critical ?? false };
}

function dropped(reason: ReasonCode): Decision {
  return { kind: 'skip', channel: NO_CHANNEL, reason, layer: null };
}

/** The channels that the request names; without any, the inbox and each channel with an inline address. */
function considered({ request }: CarillonEvent, inline: InlineUser | undefined, known: KnownChannels): readonly ChannelName[] {
  if (request.channels) return request.channels;
  if (!inline) return [IN_APP];
  const addressed = [...known.values()].filter(({ address }) => address?.profile != null && inline[address.profile] !== undefined);
  return [IN_APP, ...addressed.map(({ name }) => name)];
}

interface Target {
  readonly tenantId: string;
  readonly subject: Subject;
  readonly user: Recipient;
  readonly inline: InlineUser | undefined;
  readonly event: CarillonEvent | undefined;
}

function decideChannel(channel: ChannelName, target: Target, { channels, defaultsOf, quietUntil, closesAt }: Rules): Decision {
  const { tenantId, subject, user } = target;
  const facts = channels.get(channel);
  const address = addressOf(channel, facts?.address, target);
  const verdict = verdictOf(user, { ...subject, channel, address }, { defaults: defaultsOf(tenantId), quietUntil });
  const { layer } = verdict;
  if (verdict.kind === 'stop') return { kind: 'skip', channel, reason: verdict.reason, layer };
  if (!facts?.available) return { kind: 'skip', channel, reason: 'channel_disabled', layer: null };
  if (!facts.address) return { kind: 'deliver', channel, address: null, lane: null, layer };
  if (address === null) return { kind: 'skip', channel, reason: 'no_address', layer: null };
  const lane = laneTo(facts, tenantId, address);
  const waits = digestFor(target, verdict.digest, closesAt);
  if (waits) return { kind: 'digest', channel, address, lane, reason: 'digest_waiting', ...waits };
  const later = delayedUntil(target.event, channel);
  if (later) return { kind: 'hold', channel, address, lane, reason: 'delayed', until: later, layer };
  if (verdict.kind === 'open') return { kind: 'deliver', channel, address, lane, layer };
  return { kind: 'hold', channel, address, lane, reason: 'quiet_hours_held', until: verdict.until, layer };
}

function laneTo({ name, lane }: ChannelFacts, tenantId: string, address: string): string {
  return laneOf(tenantId, name, lane === 'address' ? address : '');
}

/** A digest is a wait by itself: it takes the place of the channel's delay. */
function digestFor(
  { event, subject, user }: Target,
  wish: DigestWish | undefined,
  closesAt: Rules['closesAt'],
): { key: string; until: Date; layer: Layer | null } | null {
  const request = event?.request;
  const into = request?.digest || wish ? digestOf(subject, request ?? {}, wish) : null;
  return into && { key: into.key, until: closesAt(into.times, user.timeZone), layer: wish?.layer ?? null };
}

/** Quiet hours are looked at when it is sent. */
function delayedUntil(event: CarillonEvent | undefined, channel: ChannelName): Date | undefined {
  const delay = event?.request.delays?.[channel];
  return delay && new Date(event.dueAt.getTime() + delay.ms);
}

/** Inline before the preference's own before the profile's. */
function addressOf(channel: ChannelName, rule: AddressRule | null | undefined, { subject, user, inline }: Target): string | null {
  if (!rule) return null;
  const { field, profile } = rule;
  const passed = profile && inline?.[profile];
  if (passed) return passed;
  return ownAddress(user.preferences, { ...subject, channel }, field) ?? (profile && inProfile(user, profile));
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
