/** Hours in which a person is not to be disturbed, by the clock on the wall. */
import type { Severity } from './event.ts';

export const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export type Day = (typeof DAYS)[number];

export interface QuietHours {
  readonly enabled: boolean;
  /** `22:00` */
  readonly start: string;
  /** Not after the start: on the next day. As the start: 24 hours later. */
  readonly end: string;
  /** IANA name. Absent: the user's, else UTC. */
  readonly time_zone?: string | undefined;
  /** On which a window begins. Absent or empty: every day. */
  readonly days?: readonly Day[] | undefined;
  /** Severities that are sent all the same. Absent: urgent. */
  readonly let_through?: readonly Severity[] | undefined;
}

/** Longer ones are refused: what they hold has to be sent before its rows are dropped. */
export const MAX_QUIET_DAYS = 3;

export const DAY_MINUTES = 1_440;
const WEEK_DAYS = 7;

/** `22:30` → 1350 */
export function minuteOf(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
}

/** Of one window, in minutes as the clock shows them. */
export function lengthOf({ start, end }: QuietHours): number {
  const length = minuteOf(end) - minuteOf(start);
  return length > 0 ? length : length + DAY_MINUTES;
}

/** Whether a window begins on that day of the week; 0 is Monday. */
export function beginsOn(days: readonly Day[] | undefined, weekday: number): boolean {
  const day = DAYS[(weekday + WEEK_DAYS) % WEEK_DAYS];
  return !days || days.length === 0 || (day !== undefined && days.includes(day));
}

/** How long they last at most without a break, in days; Infinity for hours that never end. */
export function longestQuiet(hours: QuietHours): number {
  const length = lengthOf(hours);
  if (length < DAY_MINUTES) return length / DAY_MINUTES;
  const quiet = DAYS.map((_, weekday) => beginsOn(hours.days, weekday));
  if (quiet.every(Boolean)) return Infinity;
  let [longest, run] = [0, 0];
  for (const isQuiet of [...quiet, ...quiet]) {
    run = isQuiet ? run + 1 : 0;
    longest = Math.max(longest, run);
  }
  return longest;
}
