/** Recurring events: when a series has its next time. Pure: cron comes as functions. */

/** What one event of the series says: a body of `POST /v1/events`, or of `POST /v1/notifications` without a type, as JSON. */
export type RecurringContent = Readonly<Record<string, unknown>> & { readonly type?: string | undefined };

export interface Timing {
  readonly cron: string;
  /** IANA name. */
  readonly timeZone: string;
  readonly startsAt: Date | null;
  readonly endsAt: Date | null;
}

export interface Series extends Timing {
  /** UUID. */
  readonly id: string;
  readonly tenantId: string;
  readonly name: string;
  readonly content: RecurringContent;
  readonly active: boolean;
}

export interface Runs {
  readonly next: (timing: Timing, after: Date) => Date | null;
  readonly latest: (timing: Timing, until: Date) => Date | null;
}

/** The first time after `after`, within the bounds of the series; null: there is none. */
export function timeAfter(timing: Timing, after: Date, { next }: Pick<Runs, 'next'>): Date | null {
  const { startsAt, endsAt } = timing;
  const time = next(timing, startsAt !== null && startsAt > after ? new Date(startsAt.getTime() - 1) : after);
  return time !== null && endsAt !== null && time > endsAt ? null : time;
}

/** A series is due since `dueAt`. Of the times that were missed meanwhile the latest is made up for, once. */
export function occurrenceOf(
  timing: Timing,
  { dueAt, now }: { dueAt: Date; now: Date },
  runs: Runs,
): { readonly at: Date; readonly nextAt: Date | null } {
  const { endsAt } = timing;
  const latest = runs.latest(timing, endsAt !== null && endsAt < now ? endsAt : now);
  const at = latest !== null && latest > dueAt ? latest : dueAt;
  return { at, nextAt: timeAfter(timing, at > now ? at : now, runs) };
}
