/** Routing of what waits in the queue: scheduled events, large audiences, and whatever was accepted without room. */
import type { CarillonEvent, Tx } from '../domain/event.ts';
import type { Alarm } from '../lib/alarm.ts';
import { CHUNK } from './audience.ts';
import { makePace, type Pace } from './pace.ts';
import type { Reserve, Routed } from './router.ts';

export interface QueueDeps {
  readonly inTransaction: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;
  /** Locks due events until the end of the transaction. */
  readonly claimEvents: (tx: Tx, limit: number) => Promise<readonly CarillonEvent[]>;
  readonly route: (tx: Tx, events: readonly CarillonEvent[], options: { readonly reserve: Reserve }) => Promise<Routed>;
  readonly recordProgress: (tx: Tx, progress: Routed['progress']) => Promise<void>;
  /** Locks this one event when it is still due; null when somebody else has it. */
  readonly claimEvent: (tx: Tx, id: string) => Promise<CarillonEvent | null>;
  readonly dueEventIds: (tx: Tx, limit: number) => Promise<readonly string[]>;
  /** Apart from its neighbours, later. */
  readonly postpone: (tx: Tx, id: string) => Promise<void>;
  readonly places: () => { reserve: Reserve; giveBack: () => void };
  readonly handOver: (routed: Routed) => void;
  /** Until the next event is due; null when none is. */
  readonly nextDueMs: () => Promise<number | null>;
  readonly alarm: Alarm;
  readonly scheduledLate: (event: CarillonEvent) => void;
  readonly monotonicMs: () => number;
  readonly isUnavailable: (error: unknown) => boolean;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

const BATCH = 100;
/** Recipients of one transaction. An event that addresses a set counts as one chunk of it. */
const MAX_RECIPIENTS = 2_000;
const RETRY_MS = 500;
/** Due, and not ours: another process is routing it. */
const LOCKED_MS = 5;

/** Routes until `stop`. Never rejects. */
export async function runRouter(deps: QueueDeps, stop: AbortSignal): Promise<void> {
  const pace = makePace();
  while (!stop.aborted) {
    try {
      if ((await routeBatch(deps, pace)) > 0) continue;
      const nextMs = await deps.nextDueMs();
      if (nextMs !== null) deps.alarm.ringIn(Math.max(nextMs, LOCKED_MS));
    } catch (error) {
      deps.log('router.failed', { error }); // the store is away
      deps.alarm.ringIn(RETRY_MS);
    }
    await deps.alarm.next(stop);
  }
}

/** How many events were claimed. A batch that throws is gone through one by one, so that a bad event waits alone. */
async function routeBatch(deps: QueueDeps, pace: Pace): Promise<number> {
  try {
    return await routeClaimed(deps, pace, (tx) => deps.claimEvents(tx, BATCH));
  } catch (error) {
    if (deps.isUnavailable(error)) throw error;
    deps.log('router.batch-failed', { error });
    return routeApart(deps, pace);
  }
}

async function routeApart(deps: QueueDeps, pace: Pace): Promise<number> {
  const ids = await deps.inTransaction((tx) => deps.dueEventIds(tx, BATCH));
  for (const id of ids) {
    try {
      await routeClaimed(deps, pace, async (tx) => {
        const event = await deps.claimEvent(tx, id);
        return event ? [event] : [];
      });
    } catch (error) {
      if (deps.isUnavailable(error)) throw error;
      deps.log('router.event-failed', { eventId: id, error });
      await deps.inTransaction((tx) => deps.postpone(tx, id));
    }
  }
  return ids.length;
}

async function routeClaimed(deps: QueueDeps, pace: Pace, claim: (tx: Tx) => Promise<readonly CarillonEvent[]>): Promise<number> {
  const places = deps.places();
  try {
    const { events, routed } = await deps.inTransaction(async (tx) => {
      const claimed = bounded(pace.pick(await claim(tx)));
      if (claimed.length === 0) return { events: claimed, routed: null };
      const result = await routeTimed(deps, pace, { tx, claimed, reserve: places.reserve });
      await deps.recordProgress(tx, result.progress);
      return { events: claimed, routed: result };
    });
    deps.log('router.ran', { found: events.length, routed: routed?.progress.filter(({ state }) => state === 'routed').length ?? 0 });
    if (routed) deps.handOver(routed);
    for (const event of events) if (event.scheduledFor !== null && event.cursor === null) deps.scheduledLate(event);
    return events.length;
  } catch (error) {
    places.giveBack();
    throw error;
  }
}

interface Timed {
  readonly tx: Tx;
  readonly claimed: readonly CarillonEvent[];
  readonly reserve: Reserve;
}

async function routeTimed({ route, monotonicMs }: QueueDeps, pace: Pace, { tx, claimed, reserve }: Timed): Promise<Routed> {
  const beganMs = monotonicMs();
  try {
    return await route(tx, claimed, { reserve });
  } finally {
    pace.took(claimed, monotonicMs() - beganMs);
  }
}

/** As many as one transaction should write: the others stay due. */
function bounded(events: readonly CarillonEvent[]): readonly CarillonEvent[] {
  let recipients = 0;
  const beyond = events.findIndex(({ request: { to } }, index) => {
    recipients += to.every((rule) => typeof rule === 'string' || 'user_id' in rule) ? to.length : CHUNK;
    return index > 0 && recipients > MAX_RECIPIENTS;
  });
  return beyond < 0 ? events : events.slice(0, beyond);
}
