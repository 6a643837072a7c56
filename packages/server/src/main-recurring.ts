/** Recurring events, wired. Part of the composition root. */
import { eventAt } from './api/door.ts';
import { CarillonError } from './domain/error.ts';
import type { CarillonEvent } from './domain/event.ts';
import type { Series } from './domain/recurring.ts';
import { makeAlarm } from './lib/alarm.ts';
import { latestRun, nextRun } from './lib/cron.ts';
import { publicId } from './lib/id.ts';
import type { CatalogParts } from './main-catalog.ts';
import type { Core } from './main-core.ts';
import { writeEvents, type Stages } from './main-stages.ts';
import type { Hints } from './realtime/hints.ts';
import { runRecurring, type Made, type Occurrence, type RecurringDeps } from './scheduler/recurring.ts';
import { isUnavailable } from './store/database.ts';
import { advanceSeries, dueSeries, nextSeriesDueMs } from './store/recurring-events.ts';

export interface Recurring {
  /** Something is due: an event, a delivery or a series. */
  readonly wake: () => void;
  /** Some series may be due at another time, whoever wakes for it. */
  readonly changed: () => void;
  /** Until `stop`. Never rejects. */
  readonly run: (stop: AbortSignal) => Promise<void>;
}

interface Parts extends Core {
  readonly catalog: CatalogParts;
  readonly stages: Pick<Stages, 'wake'>;
  readonly hints: Pick<Hints, 'work'>;
}

const SECOND_MS = 1_000;

export function makeRecurring(parts: Parts): Recurring {
  const { clock, database, log, metrics, stages, hints } = parts;
  const alarm = makeAlarm(clock.monotonicMs);
  const deps: RecurringDeps = {
    due: (limit) => dueSeries(database.engine, limit),
    make: (series, at) => makeEvent(parts, series, at),
    accept: (occurrences) => accept(parts, occurrences),
    accepted: (occurrences) => {
      const nowMs = clock.now().getTime();
      for (const { at } of occurrences) metrics.scheduledLate((nowMs - at.getTime()) / SECOND_MS);
      metrics.eventsAccepted(occurrences.length);
      stages.wake();
      hints.work();
    },
    nextDueMs: () => nextSeriesDueMs(database.engine),
    runs: { next: nextRun, latest: latestRun },
    alarm,
    isUnavailable,
    now: clock.now,
    log,
  };
  return {
    wake: () => {
      stages.wake();
      alarm.ring();
    },
    changed: () => {
      alarm.ring();
      hints.work();
    },
    run: (stop) => runRecurring(deps, stop),
  };
}

/** As if it were posted now, with the type as it is now. What caused it is the series, unless its words say otherwise. */
async function makeEvent({ catalog: { catalog }, config }: Parts, { id, tenantId, content }: Series, at: Date): Promise<Made> {
  const door = { eventType: catalog.find, maxScheduleDays: config['schedule.max_days'] };
  try {
    const event = await eventAt(door, { caller: { tenantId }, headers: {} }, { wire: content, at });
    return { event: { ...event, correlationId: event.correlationId ?? publicId('rec', id) } };
  } catch (error) {
    if (!(error instanceof CarillonError) || error.code === 'unavailable') throw error;
    const [first] = error.errors;
    return { error: { code: error.code, detail: first ? `${first.pointer}: ${first.detail}` : error.message } };
  }
}

function accept({ database }: Parts, occurrences: readonly Occurrence[]): Promise<Occurrence[]> {
  return database.transaction(async (tx) => {
    const moved = await advanceSeries(
      tx,
      occurrences.map(({ series, at, nextAt, made }) => ({ series, at, nextAt, eventId: eventOf(made)?.id ?? null, error: errorOf(made) })),
    );
    const ours = occurrences.filter(({ series }) => moved.has(series.id));
    const events = ours.flatMap(({ made }) => eventOf(made) ?? []);
    if (events.length > 0)
      await writeEvents(
        tx,
        events.map((event) => ({ event, requestJson: JSON.stringify(event.request), state: 'accepted' as const })),
      );
    return ours;
  });
}

function eventOf(made: Made): CarillonEvent | undefined {
  return 'event' in made ? made.event : undefined;
}

function errorOf(made: Made) {
  return 'error' in made ? made.error : null;
}
