/** What stops a channel for a user. Asked when routing and again before each send, so that both give the same answer. */
import type { ChannelName } from './channel.ts';
import type { Recipient } from './user.ts';

export type StopReason = 'user_inactive' | 'opted_out' | 'suppressed';

/** `critical` overrides opt-outs, never suppression. An opt-out covers inline addresses too. */
export function stopReason(
  recipient: Recipient,
  { channel, address, critical }: { channel: ChannelName; address: string | null; critical: boolean },
): StopReason | undefined {
  if (!recipient.active) return 'user_inactive';
  if (!critical && recipient.preferences.channels[channel]?.enabled === false) return 'opted_out';
  if (address !== null && recipient.suppressed[channel] === address) return 'suppressed';
  return undefined;
}
