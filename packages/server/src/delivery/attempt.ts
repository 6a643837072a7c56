/** One leased delivery: asked at the gate, prepared, sent once, and what came of it as the row to record. */
import type { SendResult } from '../domain/channel.ts';
import { OUTCOMES, type Completion, type DeliveryJob } from '../domain/delivery.ts';
import type { Preferences } from '../domain/preference.ts';
import type { QuietHours } from '../domain/quiet-hours.ts';
import { TemplateFailed } from '../domain/written.ts';
import { describeError } from '../lib/describe-error.ts';
import { movesOn } from './failover.ts';
import { gate } from './gate.ts';
import { outcomeOf, type Outcome, type RetryPolicy } from './outcome.ts';
import type { Prepared } from './prepare.ts';

export interface AttemptDeps {
  readonly prepare: (job: DeliveryJob) => Promise<Prepared>;
  readonly suppress: (job: DeliveryJob) => Promise<void>;
  readonly policyOf: (job: DeliveryJob) => RetryPolicy;
  /** Beyond it nothing is sent. */
  readonly until: (job: DeliveryJob) => Date;
  /** What the tenant says of everybody's preferences. */
  readonly defaultsOf: (tenantId: string) => Preferences | undefined;
  readonly quietUntil: (hours: QuietHours, when: { zone: string; at: Date }) => Date | null;
  readonly observe: (attempt: Observed) => void;
  /** A provider that has not answered by then is not waited for any longer. */
  readonly sendTimeoutMs: number;
  readonly now: () => Date;
  readonly monotonicMs: () => number;
  readonly random: () => number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

export interface Observed {
  readonly job: DeliveryJob;
  readonly provider: string;
  readonly result: SendResult;
  readonly outcome: Outcome;
  readonly durationMs: number;
}

export interface Attempted {
  /** Null: cut short by `kill`, and not to be counted. */
  readonly completion: Completion | null;
  /** False when the far end did not answer at all: its lane is then taken for hung. Null: nothing was sent, so that nothing is known. */
  readonly answered: boolean | null;
}

export async function attempt(deps: AttemptDeps, job: DeliveryJob, kill: AbortSignal): Promise<Attempted> {
  const at = deps.now();
  const policy = deps.policyOf(job);
  const stopped = stoppedAtGate(deps, job, { policy, now: at });
  if (stopped) return { completion: { ...entry(job, at), ...stopped }, answered: null };

  const startedMs = deps.monotonicMs();
  const sent = await send(deps, job, kill);
  if (sent === 'interrupted') return { completion: null, answered: null };
  if (sent === 'expired') return { completion: { ...entry(job, deps.now()), ...EXPIRED }, answered: null };
  const { provider, result, movesOn } = sent;
  const chance = { until: deps.until(job), now: deps.now(), random: deps.random() };
  const outcome = outcomeOf(result, { attempt: job.attempt, maxAttempts: job.maxAttempts, policy, movesOn, ...chance });
  const durationMs = Math.round(deps.monotonicMs() - startedMs);
  if (outcome.state === 'failed' && outcome.suppress) await suppress(deps, job);
  deps.observe({ job, provider, result, outcome, durationMs });
  return { completion: recordOf(job, { at, provider, result, outcome, durationMs }), answered: !hung(result) };
}

/** What was learned of the address; losing it must not cost the outcome. */
async function suppress(deps: AttemptDeps, job: DeliveryJob): Promise<void> {
  try {
    await deps.suppress(job);
  } catch (error) {
    deps.log('delivery.suppress-failed', { deliveryId: job.id, error });
  }
}

const EXPIRED = { kind: 'gate', state: 'expired', reason: 'expired', attemptReason: 'expired' } as const;

type Stopped = Pick<Completion, 'kind' | 'state' | 'reason' | 'attemptReason'> & Partial<Pick<Completion, 'dueAt' | 'detail'>>;

function stoppedAtGate(
  { until, defaultsOf, quietUntil }: AttemptDeps,
  job: DeliveryJob,
  { policy, now }: { policy: RetryPolicy; now: Date },
): Stopped | undefined {
  const answer = gate(job, {
    now,
    until: until(job),
    defaults: defaultsOf(job.tenantId),
    quietUntil: (hours, zone) => quietUntil(hours, { zone, at: now }),
  });
  if (answer.state === 'held') return { ...answer, kind: 'held', attemptReason: answer.reason };
  if (answer.state !== 'open') return { ...answer, kind: 'gate', attemptReason: answer.reason };
  // Leases that were lost have used the budget up: whatever kills the process here must not do so for ever.
  const used = job.attempt > (job.maxAttempts ?? policy.delaysMs.length + 1);
  return used ? { kind: 'gate', state: 'failed', reason: 'retries_exhausted', attemptReason: 'retries_exhausted' } : undefined;
}

interface Sent {
  readonly provider: string;
  readonly result: SendResult;
  readonly movesOn: boolean;
}

async function send(deps: AttemptDeps, job: DeliveryJob, kill: AbortSignal): Promise<Sent | 'interrupted' | 'expired'> {
  let prepared: Prepared | undefined;
  const sent = (result: SendResult): Sent => ({
    provider: prepared?.provider.id ?? job.channel,
    result,
    movesOn: prepared !== undefined && movesOn(prepared.providers, prepared.provider, result),
  });
  try {
    prepared = await deps.prepare(job);
    if (job.expiresAt !== null && job.expiresAt <= deps.now()) return 'expired'; // templates may have waited for their turn
    return sent(await within(deps.sendTimeoutMs, prepared.provider.send(prepared.message, kill)));
  } catch (error) {
    if (kill.aborted) return 'interrupted';
    if (error instanceof TemplateFailed) return sent({ kind: 'permanent', reason: 'template_failed', detail: error.message });
    deps.log('delivery.internal', { deliveryId: job.id, provider: prepared?.provider.id ?? job.channel, error }); // a bug of ours, not theirs
    return sent({ kind: 'transient', reason: 'internal', detail: describeError(error) });
  }
}

/** Providers keep their own time; this is for one that does not. What comes of it later is dropped. No race: it is on every attempt's way. */
function within(timeoutMs: number, sending: Promise<SendResult>): Promise<SendResult> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      resolve({ kind: 'unknown', reason: 'timeout', detail: `the provider gave no answer within ${timeoutMs} ms` });
    }, timeoutMs);
    sending.then(
      (result) => {
        clearTimeout(timer);
        resolve(result);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error instanceof Error ? error : new Error(describeError(error), { cause: error }));
      },
    );
  });
}

function hung(result: SendResult): boolean {
  return result.kind !== 'accepted' && (result.reason === 'timeout' || result.reason === 'unreachable');
}

type Entry = Omit<Completion, 'kind' | 'state' | 'reason' | 'attemptReason'>;

function entry({ id, tenantId, destinationId, token, attempt: count, queue }: DeliveryJob, at: Date): Entry {
  const nothing = { dueAt: null, durationMs: null, provider: null, outcome: null, status: null, detail: null, response: null };
  return { id, tenantId, destinationId, token, attempt: count, queue, at, ...nothing };
}

const MAX_RESPONSE = 4_096;

function recordOf(job: DeliveryJob, { at, provider, result, outcome, durationMs }: Omit<Observed, 'job'> & { at: Date }): Completion {
  const accepted = result.kind === 'accepted';
  return {
    id: job.id,
    tenantId: job.tenantId,
    destinationId: job.destinationId,
    token: job.token,
    attempt: job.attempt,
    queue: job.queue,
    kind: 'attempt',
    state: outcome.state,
    reason: outcome.reason,
    dueAt: outcome.state === 'pending' ? outcome.dueAt : null,
    at,
    durationMs,
    provider,
    outcome: OUTCOMES[result.kind],
    attemptReason: accepted ? 'sent' : result.reason,
    status: result.status ?? null,
    detail: accepted ? null : storable(result.detail),
    response: storable(result.response ?? null),
  };
}

/** PostgreSQL's text holds no NUL. */
function storable(text: string | null): string | null {
  return text === null ? null : text.replaceAll('\0', '').slice(0, MAX_RESPONSE);
}
