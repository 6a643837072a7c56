/** What is measured: Carillon, or what it is compared with. */
import type { Pids } from './processes.ts';
import type { Rig } from './rig.ts';
import type { Sample } from './statistics.ts';

export interface Contender {
  readonly name: string;
  /** Rejects with Unavailable when this machine lacks something. */
  readonly start: (rig: Rig) => Promise<Running>;
}

export interface Running {
  /** For the CPU account, beside the rig's own. */
  readonly pids: Pids;
  readonly warmUp: () => Promise<void>;
  readonly measure: () => Promise<Sample>;
  readonly stop: () => Promise<void>;
}

/** Something is not installed here: the contender is left out, and it is said. */
export class Unavailable extends Error {}
