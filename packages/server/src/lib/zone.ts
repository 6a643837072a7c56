/** Local time by IANA zone: what quiet hours reckon with. */
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
