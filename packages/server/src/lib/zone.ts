/** Local time by IANA zone: what quiet hours and recurring events reckon with. */
import { Temporal } from 'temporal-polyfill';

export function localOf(at: Date, zone: string): { date: string; weekday: number; minute: number } {
  const local = Temporal.Instant.fromEpochMilliseconds(at.getTime()).toZonedDateTimeISO(zone);
  return { date: local.toPlainDate().toString(), weekday: local.dayOfWeek - 1, minute: local.hour * 60 + local.minute };
}

/** First and last moment at which the clock shows that minute: two when it is set back over it, and where it jumps when it never shows it. */
export function instantsOf(date: string, minute: number, zone: string): { first: Date; last: Date } {
  const wanted = Temporal.PlainDate.from(date).toPlainDateTime({ hour: Math.floor(minute / 60), minute: minute % 60 });
  const first = wanted.toZonedDateTime(zone, { disambiguation: 'earlier' });
  if (!first.toPlainDateTime().equals(wanted)) {
    const jump = dateOf(first.getTimeZoneTransition('next') ?? first);
    return { first: jump, last: jump };
  }
  return { first: dateOf(first), last: dateOf(wanted.toZonedDateTime(zone, { disambiguation: 'later' })) };
}

function dateOf({ epochMilliseconds }: Temporal.ZonedDateTime): Date {
  return new Date(epochMilliseconds);
}

export function addDays(date: string, days: number): string {
  return Temporal.PlainDate.from(date).add({ days }).toString();
}

/** A moment at which a clock jumps forward. What it leaves out is written as if it were UTC. */
export interface Jump {
  readonly at: Date;
  readonly from: Date;
  readonly to: Date;
}

/** The first one that is after `after` and before `before`. */
export function jumpAfter(after: Date, before: Date, zone: string): Jump | null {
  return findJump(after, zone, { way: 'next', within: (at) => at < before });
}

/** The last one that is after `after`, and not after `until`. */
export function jumpBefore(until: Date, after: Date, zone: string): Jump | null {
  return findJump(new Date(until.getTime() + 1), zone, { way: 'previous', within: (at) => at > after });
}

interface Search {
  readonly way: 'next' | 'previous';
  readonly within: (at: Date) => boolean;
}

function findJump(start: Date, zone: string, { way, within }: Search): Jump | null {
  let change = Temporal.Instant.fromEpochMilliseconds(start.getTime()).toZonedDateTimeISO(zone).getTimeZoneTransition(way);
  for (; change && within(dateOf(change)); change = change.getTimeZoneTransition(way)) {
    const before = change.subtract({ milliseconds: 1 }).offsetNanoseconds;
    if (change.offsetNanoseconds > before)
      return { at: dateOf(change), from: shown(change, before), to: shown(change, change.offsetNanoseconds) };
  }
  return null;
}

function shown({ epochMilliseconds }: Temporal.ZonedDateTime, offsetNanoseconds: number): Date {
  return new Date(epochMilliseconds + offsetNanoseconds / 1_000_000);
}
