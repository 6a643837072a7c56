/** Answers 503 early: a request that could only be answered too late is told at once to come again. */
import { CarillonError } from '../domain/error.ts';

const RETRY_AFTER_S = 1;

/** Work under way, waiting for a connection included, up to `max`; beyond that it rejects with `unavailable` and does nothing. */
export function atMost(max: number): <T>(work: () => Promise<T>) => Promise<T> {
  let underWay = 0;
  return async (work) => {
    if (underWay >= max)
      throw new CarillonError('unavailable', 'More requests are waiting than can be served in time.', { retryAfterS: RETRY_AFTER_S });
    underWay += 1;
    try {
      return await work();
    } finally {
      underWay -= 1;
    }
  };
}
