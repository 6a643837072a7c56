/** What a producer reports. */
import type { CarillonError } from './error.ts';

/** Stored as smallint: never reuse a number. */
export const EVENT_STATES = { accepted: 1, scheduled: 2, routed: 3, cancelled: 4, expired: 5 } as const;
export type EventState = keyof typeof EVENT_STATES;

/** Stored as smallint, in order of weight. */
export const SEVERITIES = { low: 1, medium: 2, high: 3, urgent: 4 } as const;
export type Severity = keyof typeof SEVERITIES;

/** The reserved type of `POST /v1/notifications`. */
export const INLINE_TYPE = 'inline';

export interface InlineUser {
  readonly user_id: string;
  readonly email?: string | undefined;
  readonly phone?: string | undefined;
  readonly webhook_url?: string | undefined;
}

/** One item of `to`, as on the wire. */
export type RecipientRule =
  | string
  | InlineUser
  | { readonly role: string }
  | { readonly topic: string }
  | { readonly all: true }
  /** `30d`: users seen within that time. */
  | { readonly active_within: string };

/** What an event type's own throttle may count apart for each user. */
export const EVENT_THROTTLE_PER = ['severity', 'event_type', 'key'] as const;
export type EventThrottlePer = (typeof EVENT_THROTTLE_PER)[number];

/** Of the event's type, as it was when the event was accepted: instead of the tenant's. */
export interface EventThrottle {
  readonly max_per_window: number;
  readonly window_seconds: number;
  readonly per: readonly EventThrottlePer[];
  /** What is over the limit is collected instead of skipped: as the type's digest says, else for a window. */
  readonly over?: 'digest' | undefined;
}

/** After the first item, or by the clock on the wall: exactly one of the two. */
export interface DigestTimes {
  readonly every_ms?: number | undefined;
  /** Five fields. */
  readonly cron?: string | undefined;
}

/** What an event's type said of digests when the event was accepted. */
export interface TypeDigest extends DigestTimes {
  /** Filled in. Absent: the type by itself. */
  readonly key?: string | undefined;
  /** Items that have been read, archived or deleted in the inbox meanwhile are left out. */
  readonly only_if?: 'unread' | undefined;
}

/** Of a channel that is told later than the others, as its type said when the event was accepted. */
export interface Delay {
  /** After the event's due time. */
  readonly ms: number;
  /** Sent only to whoever has neither read nor archived it in the inbox until then. */
  readonly only_if?: 'unread' | undefined;
}

/** What the caller said, stored as it is with the event and read again when it is routed later. */
export interface EventRequest {
  readonly to: readonly RecipientRule[];
  /** Names of channels. */
  readonly channels?: readonly string[] | undefined;
  readonly data: Readonly<Record<string, unknown>>;
  readonly subject?: string | undefined;
  readonly body?: string | undefined;
  readonly action_url?: string | undefined;
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  /** Overrides what preferences stop or hold, never suppression. */
  readonly critical?: boolean | undefined;
  /** Of the event's type, as the catalog had it when the event was accepted: preferences can address it as a group. */
  readonly category?: string | undefined;
  /** Deliveries of one lane and key go out one at a time, in the order of acceptance. */
  readonly ordering_key?: string | undefined;
  /** User ids that the event does not reach, whoever names them. */
  readonly exclude?: readonly string[] | undefined;
  /** By channel. */
  readonly delays?: Readonly<Record<string, Delay>> | undefined;
  /** What its type says of digests. */
  readonly digest?: TypeDigest | undefined;
  /** What its type found missing or unfit when it was accepted. */
  readonly warnings?: readonly string[] | undefined;
  /** Neither counted nor refused by the throttle. Absent: system notifications that are high or urgent are exempt. */
  readonly throttle_exempt?: boolean | undefined;
  /** What it counts under where the throttle is per key. */
  readonly throttle_key?: string | undefined;
  /** Of the event's type. */
  readonly throttle?: EventThrottle | undefined;
  /** Whether the account's destinations are told. Absent: yes. */
  readonly destinations?: boolean | undefined;
  /** Its texts were written by the tenant and may take their time: routed apart from what has none of these. */
  readonly tenant_templates?: true | undefined;
  /** Attempts after the first, instead of the channel's policy. */
  readonly max_retries?: number | undefined;
}

/** An event on its way in or out of the database. Ids are UUIDs; TypeIDs exist at the edges only. */
export interface CarillonEvent {
  readonly id: string;
  readonly tenantId: string;
  readonly type: string;
  readonly severity: Severity;
  readonly tags: readonly string[];
  readonly acceptedAt: Date;
  /** When it is to be routed: its schedule, else the time of acceptance. */
  readonly dueAt: Date;
  readonly scheduledFor: Date | null;
  readonly expiresAt: Date | null;
  readonly correlationId: string | null;
  readonly traceparent: string | null;
  readonly request: EventRequest;
  /** Of the catalog, as it was when the event was accepted; null: the catalog has nothing for it. */
  readonly version: string | null;
  /** A large audience: the last user id that has been routed. */
  readonly cursor: string | null;
  /** Of an event with an ordering key, once it is stored: a hash of tenant and key, and its place. */
  readonly ordering?: { readonly hash: number; readonly number: number } | undefined;
}

/** Users of a set, each once: with a notification; with none because theirs could not be made; because of the throttle; for another reason. */
export interface AudienceCounts {
  readonly created: number;
  readonly failed: number;
  readonly throttled: number;
  readonly skipped: number;
}

/** An idempotency key of a whole request (header) or of one item. `hash` is the SHA-256 of the raw body. */
export interface RequestKey {
  /** Method and concrete path, or `item`. */
  readonly route: string;
  readonly key: string;
  readonly hash: Uint8Array;
  /** How long it is remembered; as the settings say when not given. */
  readonly ttlMs?: number;
}

/** A key on its way in, with what a repeat will be told (JSON). */
export interface KeyClaim extends RequestKey {
  readonly tenantId: string;
  readonly answer: unknown;
  readonly ttlMs: number;
}

/** A key that was known already, with its first answer. */
export interface KnownKey extends RequestKey {
  readonly tenantId: string;
  readonly answer: unknown;
}

/** One request to accept events, of one tenant. Items are valid: what was not is answered by the door and not passed on. */
export interface AcceptRequest {
  readonly tenantId: string;
  readonly requestKey: RequestKey | null;
  readonly items: readonly AcceptItem[];
  /** The wire's answer, made from the results: what a repeat of the whole request is told, word for word. */
  readonly compose: (results: readonly AcceptResult[]) => unknown;
}

export interface AcceptItem {
  readonly event: CarillonEvent;
  readonly itemKey: RequestKey | null;
}

/** In the order of the items. `duplicate`: this item's key was known; `id` is the first one's. */
export type AcceptResult =
  | { readonly id: string; readonly duplicate: boolean }
  /** Its key stands for another body. */
  | { readonly error: CarillonError };

export type AcceptAnswer =
  | { readonly kind: 'accepted'; readonly results: readonly AcceptResult[] }
  /** The whole request was a repeat: the first answer, as `compose` made it. */
  | { readonly kind: 'replayed'; readonly answer: unknown };

/**
 * A transaction, as stages see it: something to hand on to the functions of the store.
 * Opaque, so that a stage can neither query nor commit.
 */
export interface Tx {
  readonly opaque: 'transaction';
}
