/** How much chaos: the short form runs with every `npm test`, the full one with `npm run test:chaos`. */
import { randomInt } from 'node:crypto';

export const FULL = process.env.CARILLON_TEST_CHAOS === 'full';

/** Chance that can be had again: `CARILLON_TEST_SEED` takes what was printed. The processes' own timing stays theirs. */
export function seededRandom(what: string): () => number {
  const seed = Number(process.env.CARILLON_TEST_SEED ?? randomInt(2 ** 31));
  report(what, { seed });
  let state = seed;
  // mulberry32
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One line of figures: they are shown, and never asserted. */
export function report(what: string, figures: Record<string, unknown>): void {
  const text = Object.entries(figures).map(([name, value]) => `${name} ${typeof value === 'number' ? Math.round(value) : String(value)}`);
  process.stdout.write(`chaos: ${what}: ${text.join(', ')}\n`);
}

/** Between two kills the load runs for a while: that is the test's subject, not a wait for something to have happened. */
export function letRun(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
