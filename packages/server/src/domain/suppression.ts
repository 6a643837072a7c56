/** Addresses that are not written to again. */
import type { ChannelFacts, ChannelName } from './channel.ts';

/** Stored as smallint, in order of weight: a complaint is not forgotten for a bounce. */
export const SUPPRESSION_REASONS = { bounce: 1, complaint: 2, manual: 3 } as const;
export type SuppressionReason = keyof typeof SUPPRESSION_REASONS;

/** `report`: a bounce that came in; `provider`: refused while sending. */
export type SuppressionSource = 'api' | 'report' | 'provider' | 'unsubscribe';

/** `address` as the list keeps it. */
export interface ListedAddress {
  readonly tenantId: string;
  readonly channel: ChannelName;
  readonly address: string;
}

/**
 * Whether addresses of this channel are kept on the list: mailboxes and numbers, which are nobody's registration with us.
 * Those of the other channels are suppressed in the user's own row, until he has a new one.
 */
export function isListed({ address }: Pick<ChannelFacts, 'address'>): boolean {
  return address?.format === 'mailbox' || address?.format === 'phone';
}
