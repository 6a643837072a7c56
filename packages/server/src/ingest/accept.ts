/**
 * Accepting: requests that arrive while a write is under way share the next one (group commit). Events, their
 * idempotency keys and, when there is room, their notifications and leased deliveries are one transaction;
 * whoever gets an answer has been committed.
 */
import { CarillonError } from '../domain/error.ts';
import type { AcceptAnswer, AcceptRequest, CarillonEvent, KeyClaim, RequestKey, Tx } from '../domain/event.ts';
import { claimAll, keyName, planRequest, recall, repeatsIn, type Asked, type KeyDeps, type PlannedAnswer } from './repeats.ts';

/** `R` is what routing says of a batch: accepting only hands it on. */
export interface AcceptDeps<R> extends KeyDeps {
  readonly inTransaction: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;
  readonly storeAnswer: (tx: Tx, answer: Omit<KeyClaim, 'hash' | 'ttlMs'>) => Promise<void>;
  readonly insertEvents: (tx: Tx, rows: readonly EventRow[]) => Promise<void>;
  /** Makes the users that these events name, where the installation wants that. */
  readonly mentionUsers: (tx: Tx, events: readonly CarillonEvent[]) => Promise<void>;
  /** Null in a process that does not route. */
  readonly routeNow: ((tx: Tx, events: readonly CarillonEvent[], reserve: Places['reserve']) => Promise<R>) | null;
  readonly places: () => Places;
  /** After the commit. */
  readonly handOver: (routed: R) => void;
  /** After the commit: events that wait in the queue, for now or for their schedule. */
  readonly queued: (events: readonly CarillonEvent[]) => void;
  /** After the commit: events that are new, and items or whole requests that were repeats. */
  readonly counted: (fresh: number, repeats: number) => void;
  readonly isUnavailable: (error: unknown) => boolean;
  readonly isLockTimeout: (error: unknown) => boolean;
  readonly monotonicMs: () => number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

export interface EventRow {
  readonly event: CarillonEvent;
  readonly requestJson: string;
  readonly state: 'accepted' | 'scheduled' | 'routed';
}

/** Room at this process's worker, taken before the commit and given back when there is none. */
export interface Places {
  readonly reserve: (lane: string) => boolean;
  readonly giveBack: () => void;
}

export interface Acceptor {
  /** Resolves after the commit. Rejects with CarillonError: nothing was written, or (`unavailable`) it is not known. */
  readonly accept: (request: AcceptRequest) => Promise<AcceptAnswer>;
  /** The first answer to a request with this key; throws `idempotency_mismatch` for another body. For requests that are no longer valid. */
  readonly recall: (tenantId: string, key: RequestKey) => Promise<unknown>;
  /** Resolves when nothing is waiting or being written. */
  readonly idle: () => Promise<void>;
}

const MAX_ROWS = 500;
const MAX_BYTES = 1_048_576;
const MAX_RECIPIENTS = 2_000;
/** Routed in the accepting transaction up to here; larger events wait in the queue. */
const MAX_RECIPIENTS_NOW = 100;
/** One batch is decided while the other waits for the disk. */
const WRITERS = 2;
/** Beyond this the answer is 503 at once, instead of one that comes too late. */
const MAX_WAITING_ROWS = 20_000;
const BUSY_AFTER_MS = 5_000;

interface Waiting extends Asked {
  readonly keys: readonly string[];
  readonly bytes: number;
  readonly recipients: number;
  readonly since: number;
  readonly resolve: (answer: AcceptAnswer) => void;
  readonly reject: (error: unknown) => void;
}

interface Written<R> {
  readonly answers: readonly PlannedAnswer[];
  readonly routed: R | null;
  readonly queued: readonly CarillonEvent[];
  readonly fresh: number;
  readonly repeats: number;
}

/** What the functions below share. */
interface State<R> {
  readonly deps: AcceptDeps<R>;
  queue: Waiting[];
  waitingRows: number;
  writers: number;
  /** Batches that are written and not answered yet. */
  finishing: number;
  scheduled: boolean;
  /** Keys of the batches being written. A repeat waits here, not in the database. */
  readonly keysInFlight: Set<string>;
  idleWaiters: (() => void)[];
}

export function makeAcceptor<R>(deps: AcceptDeps<R>): Acceptor {
  const state: State<R> = {
    deps,
    queue: [],
    waitingRows: 0,
    writers: 0,
    finishing: 0,
    scheduled: false,
    keysInFlight: new Set(),
    idleWaiters: [],
  };
  return {
    accept: (request) => accept(state, request),
    recall: (tenantId, key) => recall(deps, tenantId, key),
    idle: () => idle(state),
  };
}

function accept<R>(state: State<R>, request: AcceptRequest): Promise<AcceptAnswer> {
  if (state.waitingRows > MAX_WAITING_ROWS)
    return Promise.reject(new CarillonError('unavailable', 'too many events are waiting to be written', { retryAfterS: 1 }));
  return new Promise((resolve, reject) => {
    const waiting = { ...measure(request), request, since: state.deps.monotonicMs(), resolve, reject };
    state.queue.push(waiting);
    state.waitingRows += waiting.rows.length;
    schedule(state);
  });
}

/** After this turn of the event loop: what arrived with it goes into the same batch. Never a wait on purpose. */
function schedule<R>(state: State<R>): void {
  if (state.scheduled || state.writers >= WRITERS || state.queue.length === 0) return;
  state.scheduled = true;
  setImmediate(() => {
    state.scheduled = false;
    startNext(state);
  });
}

function takeBatch<R>(state: State<R>): Waiting[] {
  const batch: Waiting[] = [];
  const left: Waiting[] = [];
  let [rows, bytes, recipients] = [0, 0, 0];
  for (const waiting of state.queue) {
    const within =
      rows + waiting.rows.length <= MAX_ROWS && bytes + waiting.bytes <= MAX_BYTES && recipients + waiting.recipients <= MAX_RECIPIENTS;
    if (!(within || batch.length === 0) || waiting.keys.some((key) => state.keysInFlight.has(key))) {
      left.push(waiting);
      continue;
    }
    for (const key of waiting.keys) state.keysInFlight.add(key);
    [rows, bytes, recipients] = [rows + waiting.rows.length, bytes + waiting.bytes, recipients + waiting.recipients];
    batch.push(waiting);
  }
  state.queue = left;
  state.waitingRows -= rows;
  return batch;
}

async function writeAndSettle<R>(state: State<R>, batch: readonly Waiting[]): Promise<void> {
  state.writers++;
  const finish = await settle(state.deps, batch, { routing: true });
  state.writers--;
  state.finishing++;
  for (const waiting of batch) for (const key of waiting.keys) state.keysInFlight.delete(key);
  startNext(state); // the database works on the next batch while this one's answers are written
  setImmediate(() => {
    try {
      finish();
    } catch (error) {
      state.deps.log('accept.crashed', { error }); // after the commit: what was not handed over is found by its lease
    }
    state.finishing--;
    if (isIdle(state)) for (const resolve of state.idleWaiters.splice(0)) resolve();
  });
}

function startNext<R>(state: State<R>): void {
  const batch = state.writers < WRITERS ? takeBatch(state) : [];
  if (batch.length > 0) void writeAndSettle(state, batch);
  schedule(state);
}

function isIdle<R>({ writers, finishing, queue }: State<R>): boolean {
  return writers === 0 && finishing === 0 && queue.length === 0;
}

function idle<R>(state: State<R>): Promise<void> {
  if (isIdle(state)) return Promise.resolve();
  return new Promise((resolve) => {
    state.idleWaiters.push(resolve);
  });
}

function measure(request: AcceptRequest): Pick<Waiting, 'keys' | 'rows' | 'bytes' | 'recipients'> {
  const rows = request.items.map((item) => ({ item, requestJson: JSON.stringify(item.event.request) }));
  const keys = [request.requestKey, ...request.items.map((item) => item.itemKey)]
    .filter((key) => key !== null)
    .map((key) => keyName(request.tenantId, key));
  return {
    rows,
    keys: [...new Set(keys)],
    bytes: rows.reduce((sum, row) => sum + row.requestJson.length, 0),
    recipients: request.items.reduce((sum, { event }) => sum + event.request.to.length, 0),
  };
}

/** Answers a batch and hands over what came of it: called when the next one is under way. */
type Finish = () => void;

/**
 * Writes a batch. What throws with routing is accepted without; what throws then is halved, so that a bad request fails
 * alone. Never rejects.
 */
async function settle<R>(deps: AcceptDeps<R>, batch: readonly Waiting[], { routing }: { routing: boolean }): Promise<Finish> {
  const places = deps.places();
  try {
    const written = await write(deps, batch, routing ? places : null);
    return () => {
      finishWritten(deps, batch, written);
    };
  } catch (error) {
    places.giveBack();
    return settleFailed(deps, batch, { routing, error });
  }
}

function finishWritten<R>(deps: AcceptDeps<R>, batch: readonly Waiting[], written: Written<R>): void {
  batch.forEach((waiting, index) => {
    const answer = written.answers[index];
    if (answer?.kind === 'refused') waiting.reject(answer.error);
    else if (answer) waiting.resolve(answer);
  });
  if (written.routed !== null) deps.handOver(written.routed);
  if (written.queued.length > 0) deps.queued(written.queued);
  deps.counted(written.fresh, written.repeats);
}

async function settleFailed<R>(
  deps: AcceptDeps<R>,
  batch: readonly Waiting[],
  { routing, error }: { routing: boolean; error: unknown },
): Promise<Finish> {
  const refuse = (reason: unknown) => () => {
    for (const { reject } of batch) reject(reason);
  };
  if (deps.isUnavailable(error)) {
    deps.log('accept.unavailable', { error, requests: batch.length });
    return refuse(new CarillonError('unavailable', 'the database is not available', { retryAfterS: 1, cause: error }));
  }
  if (routing) {
    deps.log('accept.routing-failed', { error, requests: batch.length });
    return settle(deps, batch, { routing: false });
  }
  if (batch.length > 1) return settleHalves(deps, batch);
  if (!deps.isLockTimeout(error)) return refuse(error);
  // Another process is writing the first request with this key. Each try has waited one lock timeout.
  const since = batch[0]?.since ?? 0;
  if (deps.monotonicMs() - since < BUSY_AFTER_MS) return settle(deps, batch, { routing: false });
  return refuse(
    new CarillonError('idempotency_busy', 'the first request with this key has not finished', { retryAfterS: 1, cause: error }),
  );
}

async function settleHalves<R>(deps: AcceptDeps<R>, batch: readonly Waiting[]): Promise<Finish> {
  const half = batch.length >> 1;
  const first = await settle(deps, batch.slice(0, half), { routing: false });
  const second = await settle(deps, batch.slice(half), { routing: false });
  return () => {
    first();
    second();
  };
}

function write<R>(deps: AcceptDeps<R>, batch: readonly Waiting[], places: Places | null): Promise<Written<R>> {
  return deps.inTransaction(async (tx) => {
    const known = await claimAll(deps, tx, batch);
    const plans = batch.map((waiting) => planRequest(waiting, known));
    const fresh = plans.flatMap((plan) => plan.fresh);
    const routeNow = places ? deps.routeNow : null;
    const routable = (event: CarillonEvent) => routeNow !== null && isRoutableNow(event);
    const rows = fresh.map(
      ({ event, requestJson }): EventRow => ({
        event,
        requestJson,
        state: routable(event) ? 'routed' : event.scheduledFor ? 'scheduled' : 'accepted',
      }),
    );
    const now = rows.filter((row) => row.state === 'routed').map((row) => row.event);
    const later = rows.filter((row) => row.state !== 'routed').map((row) => row.event);

    const [routed] = await Promise.all([
      routeNow && places && now.length > 0 ? routeNow(tx, now, places.reserve) : null,
      rows.length > 0 ? deps.insertEvents(tx, rows) : null,
      later.length > 0 ? deps.mentionUsers(tx, later) : null,
      ...plans.map((plan) => (plan.corrected === undefined ? null : deps.storeAnswer(tx, plan.corrected))),
    ]);
    const answers = plans.map((plan) => plan.answer);
    return { answers, routed, queued: later, fresh: rows.length, repeats: answers.reduce((sum, answer) => sum + repeatsIn(answer), 0) };
  });
}

/** No schedule, and recipients that are all named and few. */
function isRoutableNow({ scheduledFor, request: { to } }: CarillonEvent): boolean {
  return scheduledFor === null && to.length <= MAX_RECIPIENTS_NOW && to.every((rule) => typeof rule === 'string' || 'user_id' in rule);
}
