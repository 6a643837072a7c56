/** Several notifications for one user on one channel, in one message. */
import type { Severity } from './event.ts';
import type { Subject } from './preference.ts';

/** The reserved type of the event that a digest's message is. */
export const DIGEST_TYPE = 'digest';

/** Between the first item and the message. Longer ones are refused: the rows of its items must still be there. */
export const MAX_DIGEST_DAYS = 7;
export const MIN_DIGEST_MS = 60_000;
export const MAX_DIGEST_MS = MAX_DIGEST_DAYS * 86_400_000;

/** So many items fill a digest: it closes at once. */
export const MAX_ITEMS = 200;

/** What a user says instead of an interval: at once, whatever the event type says. */
export const NO_DIGEST = 'off';

/** An item on its way into a digest: its delivery is written in the same transaction. */
export interface NewItem {
  readonly deliveryId: string;
  readonly tenantId: string;
  readonly userId: string;
  readonly channel: string;
  readonly address: string;
  readonly key: string;
  /** When it would close if this were the first item. */
  readonly closesAt: Date;
}

/** One that is due, locked. */
export interface DueDigest {
  readonly tenantId: string;
  readonly id: string;
  readonly userId: string;
  readonly channel: string;
  readonly address: string;
  readonly key: string;
  readonly openedAt: Date;
  /** The database's time. */
  readonly claimedAt: Date;
  /** Bounds of its items' ids. */
  readonly low: string;
  readonly high: string;
}

/** What waits in a digest, with what its notification says: pinned when it was routed. */
export interface WaitingItem {
  readonly deliveryId: string;
  readonly digestId: string;
  readonly tenantId: string;
  readonly notificationId: string;
  readonly eventId: string;
  /** The event's due time. */
  readonly at: Date;
  readonly expiresAt: Date | null;
  readonly type: string;
  readonly category: string | null;
  readonly version: string | null;
  readonly severity: Severity;
  readonly tags: readonly string[];
  readonly subject: string;
  readonly body: string;
  readonly actionUrl: string | null;
  readonly data: Readonly<Record<string, unknown>>;
  readonly critical: boolean;
  readonly onlyIfUnread: boolean;
  /** Read, archived or deleted in the inbox. */
  readonly seen: boolean;
}

/** An item as the message's data lists it, on the wire. */
export interface ListedItem {
  readonly notification_id: string;
  readonly event_id: string;
  readonly type: string;
  readonly category: string | null;
  readonly severity: Severity;
  readonly critical: boolean;
  readonly tags: readonly string[];
  readonly subject: string;
  readonly body: string;
  readonly action_url: string | null;
  readonly at: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What preferences are asked about the message of a digest: each of its items. */
export function subjectsIn({ items }: Readonly<Record<string, unknown>>): readonly Subject[] {
  const listed = Array.isArray(items) ? (items as readonly ListedItem[]) : [];
  return listed.map(({ type, category, severity, tags, critical }) => ({ type, category, severity, tags, critical }));
}
