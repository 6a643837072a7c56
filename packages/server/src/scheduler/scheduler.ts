/** What has to happen from time to time, whether or not anybody asks: the clock, partitions, retention, sweeps, gauges. */

export interface Chore {
  readonly name: string;
  readonly everyMs: number;
  readonly run: () => Promise<void>;
}

export interface Scheduler {
  /** Runs every chore now, one after the other: at start, and when the clock was moved. Rejects with what a chore threw. */
  readonly runAll: () => Promise<void>;
  /** Runs each at its interval until `stop`, and resolves when the last one has ended. A chore that throws is logged and tried again at its next time. */
  readonly run: (stop: AbortSignal) => Promise<void>;
}

export function makeScheduler(chores: readonly Chore[], log: (event: string, fields: Record<string, unknown>) => void): Scheduler {
  return {
    runAll: async () => {
      for (const chore of chores) await chore.run();
    },
    run: async (stop) => {
      await Promise.all(chores.map((chore) => repeat(chore, stop, log)));
    },
  };
}

async function repeat(
  { name, everyMs, run }: Chore,
  stop: AbortSignal,
  log: (event: string, fields: Record<string, unknown>) => void,
): Promise<void> {
  while (await pause(everyMs, stop)) {
    try {
      await run();
    } catch (error) {
      log('scheduler.chore-failed', { chore: name, error });
    }
  }
}

/** False when `stop` came first. */
function pause(ms: number, stop: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      stop.removeEventListener('abort', done);
      resolve(!stop.aborted);
    };
    const timer = setTimeout(done, ms);
    if (stop.aborted) done();
    else stop.addEventListener('abort', done);
  });
}
