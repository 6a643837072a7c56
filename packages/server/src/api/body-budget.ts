/** How many bytes of large bodies may be in memory at once. Small ones, nearly all, are not even counted. */
import { CarillonError } from '../domain/error.ts';

const MIB = 1024 * 1024;
const MAX_BYTES = 128 * MIB;
/** One tenant's floods leave room for the others. */
const MAX_TENANT_BYTES = 64 * MIB;
const RETRY_AFTER_S = 1;

export interface BodyBudget {
  /** Returns what gives the bytes back, to be called once. Throws `unavailable` when there is no room. */
  readonly take: (tenantId: string, bytes: number) => () => void;
}

export function makeBodyBudget(): BodyBudget {
  const held = new Map<string, number>();
  let total = 0;
  return {
    take: (tenantId, bytes) => {
      const own = held.get(tenantId) ?? 0;
      if (total + bytes > MAX_BYTES || own + bytes > MAX_TENANT_BYTES)
        throw new CarillonError('unavailable', 'Too many large bodies are being read at once.', { retryAfterS: RETRY_AFTER_S });
      total += bytes;
      held.set(tenantId, own + bytes);
      return () => {
        total -= bytes;
        const left = (held.get(tenantId) ?? 0) - bytes;
        if (left > 0) held.set(tenantId, left);
        else held.delete(tenantId);
      };
    },
  };
}
