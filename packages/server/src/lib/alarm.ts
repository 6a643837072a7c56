/** A bell that one loop waits for. Rings that come while it works are not lost. */
export interface Alarm {
  readonly ring: () => void;
  /** Rings in so many milliseconds, unless something earlier was asked for. */
  readonly ringIn: (ms: number) => void;
  /** Resolves on a ring since the last call, or when `stop` is aborted; after a minute in any case. Never rejects. */
  readonly next: (stop: AbortSignal) => Promise<void>;
}

/** setTimeout fires at once beyond 24.8 days; a minute also bounds how long a changed clock goes unnoticed. */
const MAX_SLEEP_MS = 60_000;

export function makeAlarm(monotonicMs: () => number): Alarm {
  let rung = false;
  let wake: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  let dueAtMs = Number.POSITIVE_INFINITY;

  const ring = () => {
    rung = true;
    wake?.();
  };

  function ringIn(ms: number): void {
    const sleepMs = Math.min(Math.max(0, Math.ceil(ms)), MAX_SLEEP_MS);
    const atMs = monotonicMs() + sleepMs;
    if (atMs >= dueAtMs) return;
    dueAtMs = atMs;
    clearTimeout(timer);
    timer = setTimeout(() => {
      dueAtMs = Number.POSITIVE_INFINITY;
      ring();
    }, sleepMs);
    timer.unref(); // what waits for it holds sockets; alone it must not keep a stopping process alive
  }

  async function next(stop: AbortSignal): Promise<void> {
    ringIn(MAX_SLEEP_MS);
    if (!rung && !stop.aborted)
      await new Promise<void>((resolve) => {
        const done = () => {
          wake = undefined;
          stop.removeEventListener('abort', done);
          resolve();
        };
        wake = done;
        stop.addEventListener('abort', done);
      });
    rung = false;
    if (stop.aborted) clearTimeout(timer);
  }

  return { ring, ringIn, next };
}
