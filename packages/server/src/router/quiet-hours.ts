/**
 * When quiet hours are quiet. A window belongs to the day on which it begins, and lasts from the first moment at which the
 * clock on the wall shows its start to the last one at which it shows the minute before its end: nights that show an hour of it
 * twice are longer, nights that leave one out shorter. Pure: zones come as functions.
 */
import { beginsOn, DAY_MINUTES, lengthOf, MAX_QUIET_DAYS, minuteOf, type QuietHours } from '../domain/quiet-hours.ts';

export interface Zones {
  readonly localOf: (at: Date, zone: string) => Local;
  /** Of the moments at which the clock shows that minute of that day. One that it leaves out is where it jumps over it. */
  readonly instantsOf: (date: string, minute: number, zone: string) => { readonly first: Date; readonly last: Date };
  /** `2026-03-01`, -1 → `2026-02-28` */
  readonly addDays: (date: string, days: number) => string;
}

export interface Local {
  /** `2026-03-29` */
  readonly date: string;
  /** 0 is Monday. */
  readonly weekday: number;
  /** Since midnight on the clock. */
  readonly minute: number;
}

export interface When {
  /** IANA name. */
  readonly zone: string;
  readonly at: Date;
}

/** In minutes: no clock is set by more at once. */
const MAX_JUMP = 180;
const MINUTE_MS = 60_000;

/** The first moment after `at` that is not quiet, or null when `at` itself is not. */
export function quietUntil(zones: Zones, hours: QuietHours, { zone, at }: When): Date | null {
  let until: Date | null = null;
  for (let day = 0; day <= MAX_QUIET_DAYS; day++) {
    const end = windowEnd(zones, hours, { zone, at: until ?? at });
    if (end === null) break;
    until = end;
  }
  return until;
}

function windowEnd(zones: Zones, hours: QuietHours, { zone, at }: When): Date | null {
  const { date, weekday, minute } = zones.localOf(at, zone);
  const [start, length] = [minuteOf(hours.start), lengthOf(hours)];
  for (const offset of [-1, 0, 1]) {
    const elapsed = minute - offset * DAY_MINUTES - start;
    if (elapsed < -MAX_JUMP || elapsed > length + MAX_JUMP || !beginsOn(hours.days, weekday + offset)) continue;
    const from = zones.instantsOf(zones.addDays(date, offset), start, zone).first;
    const to = endOf(zones, { date: zones.addDays(date, offset), minute: start + length - 1, zone });
    if (from <= at && at < to) return to;
  }
  return null;
}

/** After the last of its minutes, which may be on the next day. When the clock leaves that minute out, the window ends where it jumps. */
function endOf(zones: Zones, { date, minute, zone }: { date: string; minute: number; zone: string }): Date {
  const { last } = zones.instantsOf(zones.addDays(date, Math.floor(minute / DAY_MINUTES)), minute % DAY_MINUTES, zone);
  const isShown = zones.localOf(last, zone).minute === minute % DAY_MINUTES;
  return isShown ? new Date(last.getTime() + MINUTE_MS) : last;
}
