/** Whose order a sandbox takes next, and whose it refuses for a while. Pure: time comes in. */

export interface Turns<J> {
  /** False when this owner has too many waiting. */
  readonly add: (owner: string, job: J) => boolean;
  readonly next: () => J | undefined;
}

/** Owners take turns: one with a thousand orders is in nobody's way more than one with a single order. */
export function makeTurns<J>(maxPerOwner: number): Turns<J> {
  /** The next in turn first. */
  const waiting = new Map<string, J[]>();
  return {
    add: (owner, job) => {
      const queue = waiting.get(owner) ?? [];
      if (queue.length >= maxPerOwner) return false;
      queue.push(job);
      waiting.set(owner, queue);
      return true;
    },
    next: () => {
      for (const [owner, queue] of waiting) {
        waiting.delete(owner);
        const job = queue.shift();
        if (queue.length > 0) waiting.set(owner, queue);
        return job;
      }
      return undefined;
    },
  };
}

export interface Patience {
  readonly spend: (name: string, ms: number, nowMs: number) => void;
  readonly isSpent: (name: string, nowMs: number) => boolean;
}

const MAX_NAMES = 10_000;

/** So much slowness each name may cost in a window; what it has cost is forgotten evenly. */
export function makePatience(limitMs: number, windowMs: number): Patience {
  const spent = new Map<string, { readonly ms: number; readonly atMs: number }>();
  const levelOf = (name: string, nowMs: number) => {
    const { ms = 0, atMs = nowMs } = spent.get(name) ?? {};
    return Math.max(0, ms - ((nowMs - atMs) * limitMs) / windowMs);
  };
  return {
    spend: (name, ms, nowMs) => {
      if (spent.size >= MAX_NAMES) for (const old of spent.keys()) if (levelOf(old, nowMs) === 0) spent.delete(old);
      spent.set(name, { ms: levelOf(name, nowMs) + ms, atMs: nowMs });
    },
    isSpent: (name, nowMs) => spent.size > 0 && levelOf(name, nowMs) >= limitMs,
  };
}
