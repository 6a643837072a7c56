/** Recurring events: wakes at the next time of any series, and has its event accepted. */
import type { CarillonEvent } from '../domain/event.ts';
import { occurrenceOf, type Runs, type Series } from '../domain/recurring.ts';
import type { Alarm } from '../lib/alarm.ts';

export interface DueSeries extends Series {
  /** At which it stands. */
  readonly dueAt: Date;
  readonly revision: number;
}

export type Made = { readonly event: CarillonEvent } | { readonly error: { readonly code: string; readonly detail: string } };

/** One time of a series, with the event that it becomes, or why there is none. */
export interface Occurrence {
  readonly series: DueSeries;
  readonly at: Date;
  readonly nextAt: Date | null;
  readonly made: Made;
}

export interface RecurringDeps {
  /** Unlocked. */
  readonly due: (limit: number) => Promise<readonly DueSeries[]>;
  /** Of the type as it is now. */
  readonly make: (series: Series, at: Date) => Promise<Made>;
  /** One transaction: series that still stand where they stood move on, and their events are accepted. Resolves with those. */
  readonly accept: (occurrences: readonly Occurrence[]) => Promise<readonly Occurrence[]>;
  /** After the commit. */
  readonly accepted: (occurrences: readonly Occurrence[]) => void;
  /** Until the next series is due; null when none is. */
  readonly nextDueMs: () => Promise<number | null>;
  readonly runs: Runs;
  readonly alarm: Alarm;
  readonly isUnavailable: (error: unknown) => boolean;
  readonly now: () => Date;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

const BATCH = 100;
const RETRY_MS = 500;
/** Due, and not ours: another process is at it. */
const TAKEN_MS = 20;

/** Runs until `stop`. Never rejects. */
export async function runRecurring(deps: RecurringDeps, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    try {
      if (await acceptDue(deps)) continue;
      const nextMs = await deps.nextDueMs();
      if (nextMs !== null) deps.alarm.ringIn(Math.max(nextMs, TAKEN_MS));
    } catch (error) {
      deps.log('recurring.failed', { error }); // the store is away
      deps.alarm.ringIn(RETRY_MS);
    }
    await deps.alarm.next(stop);
  }
}

/** Whether anything was. */
async function acceptDue(deps: RecurringDeps): Promise<boolean> {
  const due = await deps.due(BATCH);
  if (due.length === 0) return false;
  const occurrences: Occurrence[] = [];
  for (const series of due) occurrences.push(await makeOccurrence(deps, series));
  return (await acceptAll(deps, occurrences)) > 0;
}

async function makeOccurrence({ make, runs, now }: RecurringDeps, series: DueSeries): Promise<Occurrence> {
  const at = now();
  return { series, ...occurrenceOf(series, { dueAt: series.dueAt, now: at }, runs), made: await make(series, at) };
}

/** Together; a batch that throws is gone through one by one, so that a bad one fails alone. How many were accepted. */
async function acceptAll(deps: RecurringDeps, occurrences: readonly Occurrence[]): Promise<number> {
  try {
    const accepted = await deps.accept(occurrences);
    for (const { series, made } of accepted)
      if ('error' in made) deps.log('recurring.refused', { tenantId: series.tenantId, seriesId: series.id, ...made.error });
    deps.accepted(accepted);
    return accepted.length;
  } catch (error) {
    if (deps.isUnavailable(error)) throw error;
    const [first] = occurrences;
    if (!first) return 0;
    deps.log('recurring.accept-failed', { occurrences: occurrences.length, error });
    if (occurrences.length === 1) {
      if ('error' in first.made) throw error;
      return acceptAll(deps, [{ ...first, made: { error: { code: 'internal', detail: 'It could not be stored: the log says why.' } } }]);
    }
  }
  let count = 0;
  for (const one of occurrences) count += await acceptAll(deps, [one]);
  return count;
}
