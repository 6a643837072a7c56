/** Deliveries in order, wired: whose turn has come becomes due, and somebody is told. Part of the composition root. */
import type { Hints } from './realtime/hints.ts';
import type { Database } from './store/database.ts';
import { queuesAfter, takeTurns } from './store/ordering.ts';
import type { Log } from './telemetry/log.ts';

export interface Turns {
  /** Something has ended in these queues, or is new there. Never rejects: what fails is left to the sweep. */
  readonly take: (queues: readonly number[]) => Promise<void>;
  /** Looks at the next queues in which something waits: a killed process, a cancellation or an erasure took no turn. */
  readonly sweep: () => Promise<void>;
}

const QUEUES_PER_SWEEP = 200;

export function makeTurns({ database, hints, log }: { database: Database; hints: Hints; log: Log }, wake: () => void): Turns {
  let after = -1;

  async function begin(queues: readonly number[]): Promise<void> {
    if ((await takeTurns(database, queues)) === 0) return;
    wake();
    hints.work();
  }

  return {
    take: async (queues) => {
      try {
        await begin(queues);
      } catch (error) {
        log('ordering.failed', { error });
      }
    },
    sweep: async () => {
      const queues = await queuesAfter(database.engine, after, QUEUES_PER_SWEEP);
      after = queues.length < QUEUES_PER_SWEEP ? -1 : (queues.at(-1) ?? -1);
      await begin(queues);
    },
  };
}
