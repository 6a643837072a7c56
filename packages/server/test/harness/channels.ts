/** Channels as routing and the API know them, for tests without a server. */
import type { AddressRule, ChannelFacts, ChannelName, ProfileField } from '../../src/domain/channel.ts';

const rule = (field: ProfileField, format: AddressRule['format']): AddressRule => ({
  field,
  format,
  profile: field,
  words: format,
  secret: false,
});
const slack: AddressRule = { field: 'webhook_url', format: 'url', profile: null, words: 'the URL of an incoming webhook', secret: true };

const ALL: readonly Omit<ChannelFacts, 'title' | 'available' | 'delaysMs'>[] = [
  { name: 'in_app', address: null, lane: 'tenant' },
  { name: 'email', address: rule('email', 'mailbox'), lane: 'tenant' },
  { name: 'webhook', address: rule('webhook_url', 'url'), lane: 'address' },
  { name: 'slack', address: slack, lane: 'address' },
];

/** Those named in `without` are known and not set up. */
export function knownChannels({ without = [] }: { without?: readonly ChannelName[] } = {}): ReadonlyMap<ChannelName, ChannelFacts> {
  return new Map(ALL.map((one) => [one.name, { ...one, title: one.name, available: !without.includes(one.name), delaysMs: [] }]));
}
