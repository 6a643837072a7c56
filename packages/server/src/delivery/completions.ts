/**
 * Outcomes are written together, by time and not by claimed batch: one hanging send must not delay the outcomes of its
 * neighbours past their lease. While the database is away they are kept and written on its return; a lease that went to
 * somebody else meanwhile makes them void.
 */
import type { Completion } from '../domain/delivery.ts';

export interface CompletionDeps {
  /** Resolves with the ids that changed; the others had lost their lease. */
  readonly complete: (rows: readonly Completion[]) => Promise<readonly string[]>;
  readonly isUnavailable: (error: unknown) => boolean;
  readonly lost: (ids: readonly string[]) => void;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

export interface Completions {
  readonly add: (row: Completion) => void;
  /** Resolves when all that was added has been written or given up. Without a database that is once `kill` is aborted. */
  readonly flushed: (kill: AbortSignal) => Promise<void>;
  /** The database was away, and what was added until then is not yet written. */
  readonly overdue: () => boolean;
}

const MAX_ROWS = 200;
const COLLECT_MS = 2;
/** A second one only for full batches: what comes while one is being written shares the next. */
const WRITERS = 2;
const RETRY_MS = 250;

export function makeCompletions(deps: CompletionDeps): Completions {
  let rows: Completion[] = [];
  let writers = 0;
  let timer: NodeJS.Timeout | undefined;
  let waiters: (() => void)[] = [];
  let giveUp: AbortSignal | undefined;
  /** Rows ever added, written (or given up), and added when the database was last found away. */
  const count = { added: 0, settled: 0, whenAway: 0 };
  const away = (error: unknown) => {
    const unavailable = deps.isUnavailable(error);
    if (unavailable) count.whenAway = count.added;
    return unavailable;
  };

  function schedule(): void {
    if (rows.length >= MAX_ROWS && writers < WRITERS) void flush();
    else if (rows.length > 0 && writers === 0)
      timer ??= setTimeout(() => {
        void flush();
      }, COLLECT_MS);
  }

  async function flush(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    const batch = rows.slice(0, MAX_ROWS);
    rows = rows.slice(MAX_ROWS);
    if (batch.length === 0) return;
    writers++;
    await write({ ...deps, isUnavailable: away }, batch, () => giveUp?.aborted ?? false);
    writers--;
    count.settled += batch.length;
    schedule();
    if (rows.length > 0 || writers > 0) return;
    for (const resolve of waiters) resolve();
    waiters = [];
  }

  return {
    add: (row) => {
      rows.push(row);
      count.added++;
      schedule();
    },
    flushed: (kill) => {
      giveUp = kill;
      if (rows.length === 0 && writers === 0) return Promise.resolve();
      return new Promise((resolve) => {
        waiters.push(resolve);
      });
    },
    overdue: () => count.settled < count.whenAway,
  };
}

/** Never rejects: a row that the database refuses for itself is found by halving, and left to the end of its lease. */
async function write(deps: CompletionDeps, batch: readonly Completion[], giveUp: () => boolean): Promise<void> {
  try {
    const done = new Set(await deps.complete(batch));
    if (done.size < batch.length) deps.lost(batch.filter((row) => !done.has(row.id)).map((row) => row.id));
  } catch (error) {
    const unavailable = deps.isUnavailable(error);
    if (unavailable && !giveUp()) {
      deps.log('delivery.outcomes-waiting', { error, deliveries: batch.length });
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      return write(deps, batch, giveUp);
    }
    if (unavailable || batch.length === 1) {
      deps.log('delivery.unrecorded', { error, deliveryIds: batch.map((row) => row.id) });
      return;
    }
    await write(deps, batch.slice(0, batch.length >> 1), giveUp);
    await write(deps, batch.slice(batch.length >> 1), giveUp);
  }
}
