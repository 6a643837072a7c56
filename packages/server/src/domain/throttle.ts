/** How much one user may be told: at most so many notifications in any window of that length. */
import { EVENT_THROTTLE_PER, type CarillonEvent, type EventThrottle, type Severity } from './event.ts';

/** What is counted apart for each user: severities, types of event, or the request's own `throttle_key`. */
export const THROTTLE_PER = ['severity', 'type', 'key'] as const;
export type ThrottlePer = (typeof THROTTLE_PER)[number];

/** As on the wire. 0: not throttled. */
export interface Throttle {
  readonly max_per_window: number;
  readonly window_seconds: number;
  readonly per: ThrottlePer;
}

/** As many times are kept in a user's row. */
export const MAX_PER_WINDOW = 1_000;
/** 30 days. */
export const MAX_WINDOW_S = 2_592_000;

/** What counts, and how many of it there may be. */
export interface Limit {
  readonly bucket: string;
  readonly max_per_window: number;
  readonly window_seconds: number;
}
/** What a system notification is tagged with. */
const SYSTEM_TAG = 'system';

const EXEMPT: readonly Severity[] = ['high', 'urgent'];

/** The type's own throttle, else the given one. Undefined: told however much there is. */
export function limitOf(event: CarillonEvent, general: Throttle | undefined): Limit | undefined {
  const own = event.request.throttle;
  if (own) return isExempt(event) ? undefined : { ...own, bucket: sharedBucketOf(event, own) };
  return general && general.max_per_window > 0 && !isExempt(event) ? { ...general, bucket: bucketOf(event, general.per) } : undefined;
}

/** What an event counts under. Without a key of its own it counts under its type. */
function bucketOf({ type, severity, request }: CarillonEvent, per: ThrottlePer): string {
  if (per === 'severity') return `severity ${severity}`;
  return per === 'key' && request.throttle_key !== undefined ? `key ${request.throttle_key}` : `type ${type}`;
}

/** Types with the same throttle count together; one with another limit or window keeps other times, and so counts apart. */
function sharedBucketOf(event: CarillonEvent, { per, max_per_window: max, window_seconds: windowS }: EventThrottle): string {
  const parts = EVENT_THROTTLE_PER.filter((one) => per.includes(one)).map((one) => bucketOf(event, one === 'event_type' ? 'type' : one));
  return [...new Set(parts), `${max} in ${windowS} s`].join(', ');
}

/** Neither counted nor refused: as the request says, else system notifications that are high or urgent. */
function isExempt(event: CarillonEvent): boolean {
  return event.request.throttle_exempt ?? (EXEMPT.includes(event.severity) && isSystem(event));
}

/** To a set of users, or tagged so. */
function isSystem({ tags, request: { to } }: CarillonEvent): boolean {
  return (
    tags.includes(SYSTEM_TAG) || to.some((rule) => typeof rule === 'object' && ('role' in rule || 'all' in rule || 'active_within' in rule))
  );
}
