/** Asked just before an attempt: may this still go out? It may only stop: what was skipped is never revived. Pure. */
import type { DeliveryJob } from '../domain/delivery.ts';
import { stopReason, type StopReason } from '../domain/preference.ts';

export type GateAnswer =
  | { readonly state: 'open' }
  | { readonly state: 'cancelled'; readonly reason: 'cancelled' }
  | { readonly state: 'expired'; readonly reason: 'expired' }
  | { readonly state: 'skipped'; readonly reason: StopReason };

export function gate(job: DeliveryJob, now: Date): GateAnswer {
  if (job.cancelled) return { state: 'cancelled', reason: 'cancelled' };
  if (job.expiresAt !== null && job.expiresAt <= now) return { state: 'expired', reason: 'expired' };
  if (job.recipient === null) return { state: 'open' };
  const stop = stopReason(job.recipient, job);
  return stop ? { state: 'skipped', reason: stop } : { state: 'open' };
}
