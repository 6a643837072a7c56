import { expect, test, vi } from 'vitest';
import type { CarillonEvent } from '../domain/event.ts';
import { makeAlarm } from '../lib/alarm.ts';
import { runRecurring, type DueSeries, type Occurrence, type RecurringDeps } from './recurring.ts';

const HOUR = 3_600_000;
const NOW = new Date(100 * HOUR);
const away = new Error('away');

const series = (id: string): DueSeries => ({
  ...{ id, tenantId: 't', name: id, content: {}, active: true, cron: '@hourly', timeZone: 'UTC', startsAt: null, endsAt: null },
  ...{ dueAt: NOW, revision: 1 },
});

interface World {
  readonly due: DueSeries[];
  readonly accepted: string[];
  readonly logged: string[];
  /** Of each call of `accept`. */
  readonly batches: string[][];
  readonly run: () => Promise<void>;
}

/** What is accepted is due no longer. `refuse` says what the store throws for a batch. */
function world(names: readonly string[], refuse: (occurrences: readonly Occurrence[]) => unknown): World {
  const due = names.map(series);
  const [accepted, logged, batches]: [string[], string[], string[][]] = [[], [], []];
  const stop = new AbortController();
  const deps: RecurringDeps = {
    due: async (limit) => due.slice(0, limit),
    make: async () => ({ event: { id: 'e' } as CarillonEvent }),
    accept: async (occurrences) => {
      batches.push(occurrences.map(({ series: { id } }) => id));
      const error = refuse(occurrences);
      if (error !== undefined) throw error instanceof Error ? error : new Error('refused');
      for (const one of occurrences) due.splice(due.indexOf(one.series), 1);
      return occurrences;
    },
    accepted: (occurrences) => {
      accepted.push(...occurrences.map(({ series: { id }, made }) => ('error' in made ? `${id} ${made.error.code}` : id)));
    },
    nextDueMs: async () => {
      if (due.length === 0) stop.abort();
      return due.length > 0 ? 0 : null;
    },
    runs: { next: (_, after) => new Date(after.getTime() + HOUR), latest: () => NOW },
    alarm: makeAlarm(() => performance.now()),
    isUnavailable: (error) => error === away,
    now: () => NOW,
    log: (event) => void logged.push(event),
  };
  return { due, accepted, logged, batches, run: () => runRecurring(deps, stop.signal) };
}

test('what is due is accepted together', async () => {
  const { run, batches, accepted } = world(['a', 'b', 'c'], () => undefined);
  await run();
  expect(batches).toEqual([['a', 'b', 'c']]);
  expect(accepted).toEqual(['a', 'b', 'c']);
});

test('one that the store refuses fails alone, is recorded, and keeps nobody up', async () => {
  const isBad = ({ series: { id }, made }: Occurrence) => id === 'b' && !('error' in made);
  const { run, accepted, logged } = world(['a', 'b', 'c'], (occurrences) => (occurrences.some(isBad) ? 'refused' : undefined));
  await run();
  expect(accepted).toEqual(['a', 'b internal', 'c']);
  expect(logged).toEqual(['recurring.accept-failed', 'recurring.accept-failed', 'recurring.refused']);
});

test('while the store is away nothing is lost, and nothing is taken for refused', async () => {
  let absences = 2;
  const { run, accepted, batches, logged } = world(['a', 'b'], () => (absences-- > 0 ? away : undefined));
  await run();
  expect(batches).toEqual([
    ['a', 'b'],
    ['a', 'b'],
    ['a', 'b'],
  ]);
  expect(accepted).toEqual(['a', 'b']);
  expect(logged).toEqual(['recurring.failed', 'recurring.failed']);
});

test('what another process takes is left to it', async () => {
  const look = vi.fn();
  const taken = world(['a'], () => undefined);
  const stop = new AbortController();
  const running = runRecurring(
    {
      ...{ due: async () => (look(), taken.due), make: async () => ({ event: { id: 'e' } as CarillonEvent }) },
      ...{ accept: async () => [], accepted: () => undefined, nextDueMs: async () => 0, log: () => undefined },
      ...{ runs: { next: () => null, latest: () => NOW }, alarm: makeAlarm(() => performance.now()) },
      ...{ isUnavailable: () => false, now: () => NOW },
    },
    stop.signal,
  );
  await vi.waitFor(() => {
    expect(look.mock.calls.length).toBeGreaterThan(2); // it looks again, after a pause
  });
  taken.due.pop();
  stop.abort();
  await running;
});
