/** What one attempt does to a delivery. Pure: the worker supplies time and chance. */
import type { SendResult } from '../domain/channel.ts';
import type { ReasonCode } from '../domain/reason.ts';

export interface RetryPolicy {
  /** Waits after the first, second … failed attempt. One attempt more than there are waits; with a larger budget the last one repeats. */
  readonly delaysMs: readonly number[];
}

export type Outcome =
  | { readonly state: 'delivered'; readonly reason: 'sent' }
  | { readonly state: 'pending'; readonly reason: 'retrying'; readonly dueAt: Date }
  | { readonly state: 'failed'; readonly reason: ReasonCode /** The address is not to be used again. */; readonly suppress: boolean }
  | { readonly state: 'expired'; readonly reason: 'expired' };

export interface OutcomeContext {
  /** Counts from 1. */
  readonly attempt: number;
  readonly maxAttempts: number | null;
  readonly policy: RetryPolicy;
  /** Another provider may take it at once: the wait is for when all have refused. */
  readonly movesOn: boolean;
  /** Beyond it nothing is sent: the event's expiry, or the day its rows are dropped. */
  readonly until: Date;
  readonly now: Date;
  /** Uniform in [0, 1). */
  readonly random: number;
}

const JITTER = 0.2;
const RETRY_AFTER_CUT_MS = 3_600_000;
const RATE_LIMIT_CUT_MS = 24 * 3_600_000;

export function outcomeOf(result: SendResult, context: OutcomeContext): Outcome {
  if (result.kind === 'accepted') return { state: 'delivered', reason: 'sent' };
  if (result.kind === 'permanent' && !context.movesOn)
    return { state: 'failed', reason: result.reason, suppress: result.reason === 'address_gone' };
  const { attempt, policy, now, until } = context;
  if (attempt >= (context.maxAttempts ?? policy.delaysMs.length + 1))
    return { state: 'failed', reason: 'retries_exhausted', suppress: false };

  const waitMs = context.movesOn ? 0 : Math.max(backoff(attempt, policy, context.random), wished(result));
  const dueAt = new Date(now.getTime() + waitMs);
  return dueAt >= until ? { state: 'expired', reason: 'expired' } : { state: 'pending', reason: 'retrying', dueAt };
}

/** Within ±20 %, so that what failed together does not come back together. */
function backoff(attempt: number, { delaysMs }: RetryPolicy, random: number): number {
  const delayMs = delaysMs[Math.min(attempt, delaysMs.length) - 1] ?? 0;
  return Math.round(delayMs * (1 - JITTER + 2 * JITTER * random));
}

/** `Retry-After` is honoured, but nobody can park a delivery for good. */
function wished(result: SendResult): number {
  if (result.kind !== 'transient') return 0;
  return Math.min(result.retryAfterMs ?? 0, result.reason === 'rate_limited' ? RATE_LIMIT_CUT_MS : RETRY_AFTER_CUT_MS);
}
