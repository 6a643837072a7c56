/** One event for one user. */
import type { Severity } from './event.ts';

/** A row of the user's inbox. `sequence` is the number of its last change. */
export interface InboxItem {
  readonly id: string;
  readonly eventId: string;
  readonly type: string;
  readonly subject: string;
  readonly body: string;
  readonly actionUrl: string | null;
  readonly severity: Severity;
  readonly tags: readonly string[];
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly createdAt: Date;
  readonly createdSequence: number;
  readonly sequence: number;
  readonly readAt: Date | null;
  readonly clickedAt: Date | null;
  readonly archivedAt: Date | null;
  readonly deletedAt: Date | null;
}

/** What a user's open streams are told after a commit: the changed items, in order of their numbers, and the counts as of then. */
export interface InboxChange {
  readonly tenantId: string;
  readonly userId: string;
  readonly items: readonly InboxItem[];
  /** The user's sequence after this commit. The items' numbers are the last ones up to it. */
  readonly sequence: number;
  readonly unread: number;
  readonly total: number;
}

/** On its way into the database. */
export interface NewNotification {
  readonly id: string;
  readonly tenantId: string;
  readonly eventId: string;
  readonly userId: string;
  readonly type: string;
  readonly subject: string;
  readonly body: string;
  readonly actionUrl: string | null;
  readonly severity: Severity;
  readonly tags: readonly string[];
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly createdAt: Date;
  /** Whether its in-app delivery completes with it: only then it is counted and numbered. */
  readonly inApp: boolean;
  /** What its templates missed. */
  readonly warnings?: readonly string[] | undefined;
}
