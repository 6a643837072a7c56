/** How much one user may be told: at most so many notifications in any window of that length. */
import type { CarillonEvent, Severity } from './event.ts';

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
/** What a system notification is tagged with. */
const SYSTEM_TAG = 'system';

const EXEMPT: readonly Severity[] = ['high', 'urgent'];

/** What an event counts under. Without a key of its own it counts under its type. */
export function bucketOf({ type, severity, request }: CarillonEvent, per: ThrottlePer): string {
  if (per === 'severity') return `severity ${severity}`;
  return per === 'key' && request.throttle_key !== undefined ? `key ${request.throttle_key}` : `type ${type}`;
}

/** Neither counted nor refused: as the request says, else system notifications that are high or urgent. */
export function isExempt(event: CarillonEvent): boolean {
  return event.request.throttle_exempt ?? (EXEMPT.includes(event.severity) && isSystem(event));
}

/** To a set of users, or tagged so. */
function isSystem({ tags, request: { to } }: CarillonEvent): boolean {
  return (
    tags.includes(SYSTEM_TAG) || to.some((rule) => typeof rule === 'object' && ('role' in rule || 'all' in rule || 'active_within' in rule))
  );
}
