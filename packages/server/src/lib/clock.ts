/** The process's time. It follows the database's, which alone decides what is due and what has expired. */

export interface Clock {
  readonly now: () => Date;
  /** Milliseconds that never jump: for durations and for what is left of a lease. */
  readonly monotonicMs: () => number;
  /** What this machine's own clock says. */
  readonly machine: () => Date;
  /** Takes over the database's time. */
  readonly follow: (databaseNow: Date) => void;
}

/** Beyond this the start is refused: ids take their time from here and choose a partition by it. */
export const MAX_SKEW_MS = 60_000;

export function systemClock(): Clock {
  let offsetMs = 0;
  return {
    now: () => new Date(Date.now() + offsetMs),
    monotonicMs: () => performance.now(),
    machine: () => new Date(),
    follow: (databaseNow) => {
      offsetMs = databaseNow.getTime() - Date.now();
    },
  };
}
