/**
 * The delivery loop: due deliveries are leased, gated, attempted once, and what happened is recorded.
 *
 * Delivery is at least once. A crash between a provider's acceptance and the record sends again when the lease ends,
 * under the same delivery id.
 */
import type { Completion, DeliveryJob } from '../domain/delivery.ts';
import { makeAlarm, type Alarm } from '../lib/alarm.ts';
import { attempt, type AttemptDeps } from './attempt.ts';
import { makeCompletions, type Completions } from './completions.ts';
import * as limits from './limits.ts';

export interface WorkerDeps extends AttemptDeps {
  /** Leases what is due. `locked` below `limit`: nothing more is due. */
  readonly claim: (query: ClaimQuery) => Promise<Claimed>;
  /** Until the next delivery is due; null when none is. */
  readonly nextDueMs: () => Promise<number | null>;
  readonly complete: (rows: readonly Completion[]) => Promise<readonly string[]>;
  /** Resolves with those whose lease is still ours, and their recipients as they are now: what they want may have changed meanwhile. */
  readonly renew: (jobs: readonly DeliveryJob[]) => Promise<readonly DeliveryJob[]>;
  /** Gives deliveries back without counting the attempt. */
  readonly release: (jobs: readonly DeliveryJob[]) => Promise<void>;
  readonly leaseLost: (count: number) => void;
  readonly isUnavailable: (error: unknown) => boolean;
}

export interface ClaimQuery {
  readonly limit: number;
  /** Nothing that was due before; null looks at everything. */
  readonly from: Date | null;
  readonly without: readonly string[];
}

export interface Claimed {
  readonly jobs: readonly DeliveryJob[];
  readonly locked: number;
  readonly firstDue: Date | null;
  readonly leaseEndsAtMs: number;
}

export interface WorkerSettings extends limits.LimitSettings {
  readonly leaseMs: number;
  /** Of one attempt: a send is begun only with so much of the lease left. */
  readonly totalTimeoutMs: number;
}

export interface Worker {
  /** Room for deliveries that are about to be leased in somebody's transaction. */
  readonly places: () => { reserve: (lane: string) => boolean; giveBack: () => void };
  /** Jobs leased in the places taken for them. */
  readonly take: (jobs: readonly DeliveryJob[], leaseEndsAtMs: number) => void;
  /** Something is due. */
  readonly wake: () => void;
  /** Something will be due then, in milliseconds from now. */
  readonly wakeIn: (ms: number) => void;
  /** Claims until `stop`, then waits for attempts in flight, which `kill` cuts short. Never rejects. */
  readonly run: (stop: AbortSignal, kill: AbortSignal) => Promise<void>;
}

interface Held {
  job: DeliveryJob;
  leaseEndsAtMs: number;
}

/** What the functions below share. */
interface State {
  readonly deps: WorkerDeps;
  readonly settings: WorkerSettings;
  readonly lanes: limits.Lanes<Held>;
  readonly held: Map<string, Held>;
  readonly completions: Completions;
  readonly alarm: Alarm;
  kill: AbortSignal;
  draining: boolean;
  /** While more is due than was claimed, new events queue behind it. */
  caughtUp: boolean;
  /** The last claim left lanes out: one that has room again is a reason to claim. */
  passedOver: boolean;
  /** The first row of the last claim: most claims start here, behind the dead index entries that gather at the head. */
  headAt: Date | null;
  fullClaimAtMs: number;
  /** Called when nothing is in flight while draining. */
  idle: () => void;
}

const CLAIM_MAX = 200;
/** After a claim that could not take all, the next one waits until so much of what may be held is free. */
const ROOM_SHARE = 1 / 8;
const FULL_CLAIM_EVERY_MS = 1_000;
const WATCH_EVERY_MS = 250;
const CLAIM_RETRY_MS = 500;
/** How soon to look again whether the outcomes of an absence are written. */
const OVERDUE_MS = 50;
/** Leases are renewed when less than this share of them is left. */
const RENEW_BELOW = 0.8;
const RENEW_MAX = 1_000;

export function makeWorker(deps: WorkerDeps, settings: WorkerSettings): Worker {
  const lost = (ids: readonly string[]) => {
    deps.leaseLost(ids.length);
  };
  const state: State = {
    deps,
    settings,
    lanes: limits.makeLanes(settings),
    held: new Map(),
    completions: makeCompletions({ complete: deps.complete, isUnavailable: deps.isUnavailable, lost, log: deps.log }),
    alarm: makeAlarm(deps.monotonicMs),
    kill: new AbortController().signal,
    draining: false,
    caughtUp: false,
    passedOver: false,
    headAt: null,
    fullClaimAtMs: Number.NEGATIVE_INFINITY,
    idle: () => undefined,
  };
  return {
    places: () => places(state),
    take: (jobs, leaseEndsAtMs) => {
      take(state, jobs, { leaseEndsAtMs, reserved: true });
    },
    wake: state.alarm.ring,
    wakeIn: state.alarm.ringIn,
    run: (stop, kill) => run(state, stop, kill),
  };
}

function places(state: State): ReturnType<Worker['places']> {
  const taken: string[] = [];
  let over = false; // what still runs beside a statement that failed takes none
  const reserve = (lane: string) => {
    if (over || state.draining || !state.caughtUp || !limits.reserve(state.lanes, lane)) return false;
    taken.push(lane);
    return true;
  };
  const giveBack = () => {
    over = true;
    for (const lane of taken.splice(0)) limits.unreserve(state.lanes, lane);
  };
  return { reserve, giveBack };
}

function take(state: State, jobs: readonly DeliveryJob[], { leaseEndsAtMs, reserved }: { leaseEndsAtMs: number; reserved: boolean }): void {
  for (const job of jobs) {
    const one: Held = { job, leaseEndsAtMs };
    state.held.set(job.id, one);
    limits.push(state.lanes, job.lane, one, reserved);
  }
  pump(state);
}

/** Starts all that may start. */
function pump(state: State): void {
  const { deps, lanes } = state;
  while (!state.draining) {
    const next = limits.next(lanes, deps.monotonicMs());
    if (!next) break;
    void deliver(state, next);
  }
  if (state.draining && lanes.inFlight === 0) state.idle();
}

async function deliver(state: State, one: Held): Promise<void> {
  const { deps, lanes, held } = state;
  const { job } = one;
  let answered: boolean | null = null;
  try {
    answered = await deliverOnce(state, one);
  } catch (error) {
    deps.log('delivery.crashed', { deliveryId: job.id, error }); // the lease ends by itself
  }
  held.delete(job.id);
  const short = state.passedOver || !hasRoom(state);
  limits.finished(lanes, job.lane, answered, deps.monotonicMs());
  if (short && hasRoom(state)) state.alarm.ring();
  pump(state);
}

/** Enough for a claim that is worth its transaction. */
function hasRoom({ lanes, settings }: State): boolean {
  return limits.free(lanes) >= Math.min(CLAIM_MAX, settings.held * ROOM_SHARE);
}

/** False when the far end did not answer at all, null when it was not asked. */
async function deliverOnce(state: State, { job, leaseEndsAtMs }: Held): Promise<boolean | null> {
  const { deps, settings, completions, alarm, kill } = state;
  if (leaseEndsAtMs - deps.monotonicMs() < settings.totalTimeoutMs) {
    await giveBack(state, [job]); // by its end another process could be sending the same
    return null;
  }
  const { completion, answered } = await attempt(deps, job, kill);
  if (completion === null) {
    await giveBack(state, [job]);
    return null;
  }
  completions.add(completion);
  if (completion.dueAt !== null) alarm.ringIn(completion.dueAt.getTime() - deps.now().getTime());
  return answered;
}

async function giveBack({ deps }: State, jobs: readonly DeliveryJob[]): Promise<void> {
  if (jobs.length === 0) return;
  try {
    await deps.release(jobs);
  } catch (error) {
    deps.log('delivery.release-failed', { error, deliveries: jobs.length }); // their leases end by themselves
  }
}

/** Leases of all that is in memory are kept alive; lanes from which nothing comes back give up what waits for them. */
async function watch(state: State): Promise<void> {
  const { deps, lanes, held, settings } = state;
  const nowMs = deps.monotonicMs();
  await dropAndGiveBack(state, limits.evictHung(lanes, nowMs));
  const ageing = [...held.values()].filter((one) => one.leaseEndsAtMs - nowMs < settings.leaseMs * RENEW_BELOW);
  for (let at = 0; at < ageing.length; at += RENEW_MAX) await renew(state, ageing.slice(at, at + RENEW_MAX), nowMs);
}

async function dropAndGiveBack(state: State, dropped: readonly Held[]): Promise<void> {
  for (const { job } of dropped) state.held.delete(job.id);
  await giveBack(
    state,
    dropped.map(({ job }) => job),
  );
}

async function renew({ deps, settings, lanes, held }: State, ageing: readonly Held[], nowMs: number): Promise<void> {
  try {
    const ours = new Map((await deps.renew(ageing.map(({ job }) => job))).map((job) => [job.id, job]));
    for (const one of ageing) {
      const renewed = ours.get(one.job.id);
      if (renewed) {
        one.job = renewed;
        one.leaseEndsAtMs = nowMs + settings.leaseMs;
      } else if (limits.remove(lanes, one.job.lane, one)) held.delete(one.job.id); // somebody else's now; not begun here
    }
  } catch (error) {
    deps.log('delivery.renew-failed', { error, deliveries: ageing.length });
  }
}

/** Whether to claim again at once. */
async function claimOnce(state: State): Promise<boolean> {
  const { deps, lanes, alarm } = state;
  const limit = Math.min(CLAIM_MAX, limits.free(lanes));
  if (limit <= 0) {
    state.caughtUp = false;
    return false;
  }
  const full = deps.monotonicMs() - state.fullClaimAtMs >= FULL_CLAIM_EVERY_MS;
  const without = limits.saturated(lanes);
  state.passedOver = without.length > 0;
  const { jobs, locked, firstDue, leaseEndsAtMs } = await deps.claim({ limit, from: full ? null : state.headAt, without });
  if (full) state.fullClaimAtMs = deps.monotonicMs();
  if (firstDue) state.headAt = firstDue;
  state.caughtUp = locked < limit;
  take(state, jobs, { leaseEndsAtMs, reserved: false });
  if (state.caughtUp && !full) alarm.ringIn(Math.max(0, state.fullClaimAtMs + FULL_CLAIM_EVERY_MS - deps.monotonicMs()));
  return !state.caughtUp;
}

async function claimLoop(state: State, stop: AbortSignal): Promise<void> {
  const { deps, lanes, alarm, completions } = state;
  while (!stop.aborted) {
    try {
      // After an absence: a claim would take what was sent meanwhile for lost, and send it again.
      if (completions.overdue()) alarm.ringIn(OVERDUE_MS);
      else if (await claimOnce(state)) continue;
      const nextMs = limits.free(lanes) > 0 ? await deps.nextDueMs() : null;
      if (nextMs !== null) alarm.ringIn(nextMs);
    } catch (error) {
      state.caughtUp = false;
      deps.log('delivery.claim-failed', { error }); // the store is away
      alarm.ringIn(CLAIM_RETRY_MS);
    }
    await alarm.next(stop);
  }
}

async function run(state: State, stop: AbortSignal, kill: AbortSignal): Promise<void> {
  state.kill = kill;
  let watching = Promise.resolve();
  const watcher = setInterval(() => {
    watching = watching.then(() => watch(state));
  }, WATCH_EVERY_MS);
  await claimLoop(state, stop);
  state.draining = true;
  await dropAndGiveBack(state, limits.takeQueued(state.lanes));
  await new Promise<void>((resolve) => {
    state.idle = resolve;
    pump(state);
  });
  clearInterval(watcher);
  await watching;
  await state.completions.flushed(kill);
}
