/** The state machine of a delivery, as data: docs/reference/states.md is generated from it, the store's statements obey it. */
import type { ChannelName } from './channel.ts';
import type { Content } from './content.ts';
import type { Destination } from './destination.ts';
import type { Reader } from './event-type.ts';
import type { ReasonCode } from './reason.ts';
import type { Recipient } from './user.ts';

/** Stored as smallint: never reuse a number. */
export const DELIVERY_STATES = {
  pending: 1,
  sending: 2,
  held: 3,
  delivered: 4,
  failed: 5,
  skipped: 6,
  cancelled: 7,
  expired: 8,
} as const;
export type DeliveryState = keyof typeof DELIVERY_STATES;

/** Where a delivery may begin. `sending`: inserted already leased; `delivered`: in-app. */
export const INITIAL_STATES: readonly DeliveryState[] = ['pending', 'sending', 'delivered', 'held', 'skipped'];

export const LEGAL_MOVES: Readonly<Record<DeliveryState, readonly DeliveryState[]>> = {
  pending: ['sending', 'held', 'skipped', 'cancelled', 'expired'],
  held: ['pending', 'sending', 'skipped', 'cancelled', 'expired'],
  sending: ['delivered', 'pending', 'failed', 'held', 'skipped', 'cancelled', 'expired'],
  failed: ['pending'],
  delivered: [],
  skipped: [],
  cancelled: [],
  expired: [],
};

/** What happens on each move, for the generated page. */
export const MOVE_CAUSES: Readonly<Record<string, string>> = {
  'pending>sending': 'leased by a worker',
  'pending>held': 'quiet hours, a digest, or a disabled destination',
  'held>pending': 'released',
  'held>sending': 'due: leased by a worker; or its digest has closed',
  'sending>delivered': 'the far end took it',
  'sending>pending': 'the attempt failed and another follows',
  'sending>held': 'quiet hours have begun, or still last; or its digest is made anew',
  'sending>failed': 'refused for good, or no attempt left',
  'failed>pending': 'a person asks for another try',
};

const nameByNumber = new Map<number, DeliveryState>(
  Object.entries(DELIVERY_STATES).map(([name, number]) => [number, name as DeliveryState]),
);

/** Throws on a number that no release has written: the database is newer than the program. */
export function deliveryState(number: number): DeliveryState {
  const name = nameByNumber.get(number);
  if (name === undefined) throw new Error(`delivery state ${number} is unknown to this version`);
  return name;
}

/** Rows of a delivery's timeline, stored as smallint. */
export const ENTRY_KINDS = { attempt: 1, held: 2, released: 3, gate: 4, lease_lost: 5, report: 6 } as const;
export type EntryKind = keyof typeof ENTRY_KINDS;

/** What one attempt came to, stored as smallint: `SendResult['kind']`. */
export const OUTCOMES = { accepted: 1, transient: 2, permanent: 3, unknown: 4 } as const;

export function nameOf<T extends Readonly<Record<string, number>>>(names: T, number: number): keyof T & string {
  const found = Object.entries(names).find(([, value]) => value === number);
  if (!found) throw new Error(`${number} is unknown to this version`);
  return found[0];
}

/** What shares one far end: concurrency is limited per lane, so that a hanging one holds up nobody else. `address`: where each has its own. */
export function laneOf(tenantId: string, channel: ChannelName, address: string): string {
  return `${channel} ${tenantId} ${address}`;
}

export function channelOfLane(lane: string): ChannelName {
  return lane.slice(0, lane.indexOf(' '));
}

/** A decision on its way into the database: one row, skips included. */
export interface NewDelivery {
  readonly id: string;
  readonly tenantId: string;
  readonly eventId: string;
  /** Null for a destination, and for a recipient that was dropped. */
  readonly notificationId: string | null;
  /** Null for a destination. */
  readonly userId: string | null;
  readonly destinationId: string | null;
  /** `*` for a recipient that was dropped. */
  readonly channel: ChannelName;
  readonly address: string | null;
  readonly lane: string | null;
  readonly state: 'pending' | 'sending' | 'held' | 'delivered' | 'skipped';
  readonly reason: ReasonCode;
  /** `held`: until then; null: until a person releases it. `pending`: not before then; null: now. */
  readonly dueAt: Date | null;
  readonly critical: boolean;
  readonly expiresAt: Date | null;
  readonly createdAt: Date;
  readonly maxAttempts: number | null;
}

/** A leased delivery with all that rendering and sending need. The same whether it was leased on insert or claimed. */
export interface DeliveryJob {
  readonly id: string;
  readonly tenantId: string;
  readonly eventId: string;
  /** Null for a destination, as is the user. */
  readonly notificationId: string | null;
  readonly userId: string | null;
  readonly destinationId: string | null;
  /** As it was read last; null when it has been deleted, and for a user's delivery. */
  readonly destination: Destination | null;
  /** Of a destination's: its address is on the tenant's list. */
  readonly suppressed?: boolean;
  readonly channel: ChannelName;
  readonly address: string;
  readonly lane: string;
  readonly token: string;
  /** Counts from 1, this one included. */
  readonly attempt: number;
  readonly maxAttempts: number | null;
  /** Of the last attempt that failed: who was asked, and OUTCOMES. */
  readonly last: { readonly provider: string; readonly outcome: number } | null;
  readonly critical: boolean;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly event: {
    readonly type: string;
    readonly category: string | null;
    readonly acceptedAt: Date;
    readonly data: Readonly<Record<string, unknown>>;
    /** Whose templates it is rendered with. */
    readonly version?: string | null | undefined;
  };
  readonly content: Content;
  /** What the gate looks at; null for a destination, and for a job whose decision was made in the transaction that leased it. */
  readonly recipient: Recipient | null;
  /** Of a channel that is told later than the others. */
  readonly delayedUntil?: Date | null | undefined;
  /** The same, with what the gate looks at. */
  readonly delay?: DelayedUntil | undefined;
  /** For templates, where `recipient` is null. */
  readonly reader?: Reader | undefined;
  /** Where others wait until this one has ended; only with an ordering key. */
  readonly queue?: number | undefined;
  /** Asked for since it was decided or last leased: a lease that ended in between is no leave to send again. */
  readonly cancelled: boolean;
}

export interface DelayedUntil {
  readonly until: Date;
  readonly onlyIf: 'unread' | null;
  /** Read, archived or deleted in the inbox, when that was looked at last. */
  readonly seen: boolean;
}

/** One delivery's next state, with the entry for its timeline. */
export interface Completion {
  readonly id: string;
  readonly tenantId: string;
  readonly token: string;
  readonly attempt: number;
  readonly queue?: number | undefined;
  readonly destinationId: string | null;
  readonly kind: EntryKind;
  readonly state: 'delivered' | 'pending' | 'held' | 'failed' | 'expired' | 'skipped' | 'cancelled';
  readonly reason: ReasonCode;
  /** Of `pending` and `held`. */
  readonly dueAt: Date | null;
  readonly at: Date;
  readonly durationMs: number | null;
  readonly provider: string | null;
  /** OUTCOMES; null when nothing was attempted. */
  readonly outcome: number | null;
  readonly attemptReason: ReasonCode;
  readonly status: number | null;
  readonly detail: string | null;
  readonly response: string | null;
}
