/** Asked just before an attempt: may this still go out, and now? It may only stop or hold: what was skipped is never revived. Pure. */
import type { DelayedUntil, DeliveryJob } from '../domain/delivery.ts';
import { answerOf, CONFIG_GONE, currentAddressOf, type DestinationStop } from '../domain/destination.ts';
import { DIGEST_TYPE, subjectsIn } from '../domain/digest.ts';
import { verdictOf, type Person, type Preferences, type QuietUntil, type StopReason } from '../domain/preference.ts';

export type GateAnswer =
  | { readonly state: 'open' }
  | { readonly state: 'cancelled'; readonly reason: 'cancelled' }
  | { readonly state: 'expired'; readonly reason: 'expired' }
  | { readonly state: 'held'; readonly reason: 'quiet_hours_held' | 'delayed'; readonly dueAt: Date }
  /** Due again when it expires, unless a person releases it before. */
  | { readonly state: 'held'; readonly reason: 'destination_disabled'; readonly dueAt: Date | null }
  | { readonly state: 'skipped' | 'failed'; readonly reason: StopReason | DestinationStop | 'read_elsewhere'; readonly detail?: string };

export interface GateContext {
  readonly now: Date;
  /** Beyond it nothing is sent: the event's expiry, or the day its rows are dropped. */
  readonly until: Date;
  readonly defaults: Preferences | undefined;
  readonly quietUntil: QuietUntil;
}

export function gate(job: DeliveryJob, { now, until, defaults, quietUntil }: GateContext): GateAnswer {
  if (job.cancelled) return { state: 'cancelled', reason: 'cancelled' };
  if (until <= now) return { state: 'expired', reason: 'expired' };
  if (job.destinationId !== null) return destinationGate(job);
  if (job.recipient === null) return { state: 'open' };
  const waits = job.delay && delayGate(job.delay, { now, until });
  return waits ?? personGate(job, job.recipient, { until, defaults, quietUntil });
}

type Asked = Pick<GateContext, 'until' | 'defaults' | 'quietUntil'>;

function personGate(job: DeliveryJob, person: Person, { until, defaults, quietUntil }: Asked): GateAnswer {
  if (job.event.type === DIGEST_TYPE) return digestGate(job, person, { until, defaults, quietUntil });
  const { channel, address, critical, event, content } = job;
  const about = { channel, address, critical, type: event.type, category: event.category, severity: content.severity, tags: content.tags };
  const verdict = verdictOf(person, about, { defaults, quietUntil });
  if (verdict.kind === 'stop') return { state: 'skipped', reason: verdict.reason };
  if (verdict.kind === 'open') return { state: 'open' };
  return { state: 'held', reason: 'quiet_hours_held', dueAt: verdict.until < until ? verdict.until : until };
}

/** Asked before its time where it has had its turn in an order. */
function delayGate(delay: DelayedUntil, { now, until }: Pick<GateContext, 'now' | 'until'>): GateAnswer | undefined {
  if (delay.until > now) return { state: 'held', reason: 'delayed', dueAt: delay.until < until ? delay.until : until };
  return delay.onlyIf === 'unread' && delay.seen ? { state: 'skipped', reason: 'read_elsewhere' } : undefined;
}

/** Open as long as one of the items may still be sent: they were put together when the digest closed, and go out as they are. */
function digestGate({ channel, address, event }: DeliveryJob, person: Person, { until, ...rules }: Asked): GateAnswer {
  let held: Date | undefined;
  let stopped: StopReason | undefined;
  for (const subject of subjectsIn(event.data)) {
    const verdict = verdictOf(person, { ...subject, channel, address }, rules);
    if (verdict.kind === 'open') return { state: 'open' };
    if (verdict.kind === 'stop') stopped ??= verdict.reason;
    else held = held && held < verdict.until ? held : verdict.until;
  }
  if (held) return { state: 'held', reason: 'quiet_hours_held', dueAt: held < until ? held : until };
  return { state: 'skipped', reason: stopped ?? 'opted_out' };
}

/** The destination as it is now. What was attempted before ends as failed, so that a person can try it again. */
function destinationGate({ destination, suppressed, attempt, address, expiresAt, event, content }: DeliveryJob): GateAnswer {
  const state = attempt > 1 ? 'failed' : 'skipped';
  const answer = answerOf(destination, { type: event.type, ...content });
  if (answer.kind === 'hold') return { state: 'held', reason: answer.reason, dueAt: expiresAt };
  if (answer.kind === 'stop')
    return answer.reason === 'destination_disabled'
      ? { state, reason: answer.reason, detail: CONFIG_GONE }
      : { state, reason: answer.reason };
  if (suppressed) return { state, reason: 'suppressed' };
  const gone = destination !== null && currentAddressOf(destination, address) === undefined;
  return gone ? { state, reason: 'address_removed' } : { state: 'open' };
}
