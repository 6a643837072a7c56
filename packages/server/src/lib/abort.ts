type Listener = (reason: Error) => void;

const listeners = new WeakMap<AbortSignal, Set<Listener>>();

/**
 * Calls `listener` when `signal` is aborted; the returned function forgets it. One event listener
 * per signal however many callers: adding to an AbortSignal walks all that are there already,
 * which shows with a thousand requests in flight under one shutdown signal.
 */
export function onAbort(signal: AbortSignal, listener: Listener): () => void {
  let waiting = listeners.get(signal);
  if (waiting === undefined) {
    waiting = new Set();
    listeners.set(signal, waiting);
    const all = waiting;
    signal.addEventListener('abort', () => all.forEach((call) => call(reasonOf(signal))), { once: true });
  }
  const known = waiting;
  known.add(listener);
  return () => known.delete(listener);
}

/** What the signal was aborted with; an Error also when the caller gave something else. */
export function reasonOf(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error('aborted', { cause: signal.reason });
}

export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw reasonOf(signal);
}
