/**
 * Accepting: requests that arrive while a write is under way share the next one (group commit). Events, their
 * idempotency keys and, when there is room, their notifications and leased deliveries are one transaction;
 * whoever gets an answer has been committed.
 */
import { CarillonError } from '../domain/error.ts';
import type { AcceptAnswer, AcceptRequest, CarillonEvent, RequestKey } from '../domain/event.ts';
import { keyName, recall, type Asked } from './repeats.ts';
import { write, type Places, type WriteDeps, type Written } from './write.ts';

/** `R` is what routing says of a batch: accepting only hands it on. */
export interface AcceptDeps<R> extends WriteDeps<R> {
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
/** One batch is decided while the other waits for the disk. */
const WRITERS = 2;
/** Under load the second writes only what makes a batch of its own, or when the first is slow: two half ones cost the disk twice. */
const ROWS_FOR_SECOND = 100;
const SLOW_MS = 20;
/** With so few being written there is no load, and nobody has to wait. */
const FEW_ROWS = 8;
/** Beyond these the answer is 503 at once, instead of one that comes too late. */
const MAX_WAITING_ROWS = 20_000;
const MAX_WAITING_BYTES = 64 * 1_048_576;
const MAX_STALL_MS = 3_000;
const BUSY_AFTER_MS = 5_000;

interface Waiting extends Asked {
  readonly keys: readonly string[];
  readonly bytes: number;
  readonly recipients: number;
  readonly since: number;
  readonly resolve: (answer: AcceptAnswer) => void;
  readonly reject: (error: unknown) => void;
}

/** What the functions below share. */
interface State<R> {
  readonly deps: AcceptDeps<R>;
  queue: Waiting[];
  waitingRows: number;
  waitingBytes: number;
  /** When the last batch began. */
  begunMs: number;
  writers: number;
  /** In the batches that these write. */
  writingRows: number;
  /** Batches that are written and not answered yet. */
  finishing: number;
  scheduled: boolean;
  /** Whether the last batch held nothing but new requests: the next is then written as if it did too. */
  asNew: boolean;
  /** Keys of the batches being written. A repeat waits here, not in the database. */
  readonly keysInFlight: Set<string>;
  idleWaiters: (() => void)[];
}

export function makeAcceptor<R>(deps: AcceptDeps<R>): Acceptor {
  const state: State<R> = {
    deps,
    queue: [],
    waitingRows: 0,
    waitingBytes: 0,
    begunMs: deps.monotonicMs(),
    writers: 0,
    writingRows: 0,
    finishing: 0,
    scheduled: false,
    asNew: true,
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
  const since = state.deps.monotonicMs();
  if (isOverloaded(state, since))
    return Promise.reject(new CarillonError('unavailable', 'too many events are waiting to be written', { retryAfterS: 1 }));
  return new Promise((resolve, reject) => {
    const waiting = { ...measure(request), request, since, resolve, reject };
    state.queue.push(waiting);
    state.waitingRows += waiting.rows.length;
    state.waitingBytes += waiting.bytes;
    schedule(state);
  });
}

/** Too much waits, or nothing moves: all writers have been at their batches for long. */
function isOverloaded<R>({ waitingRows, waitingBytes, writers, begunMs }: State<R>, nowMs: number): boolean {
  return waitingRows > MAX_WAITING_ROWS || waitingBytes > MAX_WAITING_BYTES || (writers >= WRITERS && nowMs - begunMs > MAX_STALL_MS);
}

/** The database is away, and has been for as long as these wait: they are not made to wait for its next refusal. */
function refuseStale<R>(state: State<R>, error: CarillonError): void {
  const nowMs = state.deps.monotonicMs();
  const isStale = ({ since }: Waiting) => nowMs - since > MAX_STALL_MS;
  const stale = state.queue.filter(isStale);
  state.queue = state.queue.filter((waiting) => !isStale(waiting));
  for (const { rows, bytes, reject } of stale) {
    state.waitingRows -= rows.length;
    state.waitingBytes -= bytes;
    reject(error);
  }
}

/** After this turn of the event loop: what arrived with it goes into the same batch. Never a wait on purpose. */
function schedule<R>(state: State<R>): void {
  if (state.scheduled || state.queue.length === 0 || !mayWrite(state)) return;
  state.scheduled = true;
  setImmediate(() => {
    state.scheduled = false;
    startNext(state);
  });
}

function mayWrite<R>({ deps, writers, writingRows, waitingRows, begunMs }: State<R>): boolean {
  if (writers === 0) return true;
  if (writers >= WRITERS) return false;
  return writingRows <= FEW_ROWS || waitingRows >= ROWS_FOR_SECOND || deps.monotonicMs() - begunMs > SLOW_MS;
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
  state.waitingBytes -= bytes;
  return batch;
}

async function writeAndSettle<R>(state: State<R>, batch: readonly Waiting[]): Promise<void> {
  const rows = batch.reduce((sum, waiting) => sum + waiting.rows.length, 0);
  state.writers++;
  state.writingRows += rows;
  const finish = await settle(state, batch, { routing: true, asNew: state.asNew });
  state.writers--;
  state.writingRows -= rows;
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
  const batch = mayWrite(state) ? takeBatch(state) : [];
  if (batch.length > 0) {
    state.begunMs = state.deps.monotonicMs();
    void writeAndSettle(state, batch);
  }
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

interface Mode {
  readonly routing: boolean;
  readonly asNew: boolean;
}

/** As it is written when nothing may be risked any more. */
const CAREFUL: Mode = { routing: false, asNew: false };

/**
 * Writes a batch. What was wrongly taken for new is written again, what throws with routing is accepted without, and what
 * throws then is halved, so that a bad request fails alone. Never rejects.
 */
async function settle<R>(state: State<R>, batch: readonly Waiting[], mode: Mode): Promise<Finish> {
  const { deps } = state;
  const places = deps.places();
  try {
    const written = await write(deps, batch, { places: mode.routing ? places : null, asNew: mode.asNew });
    state.asNew = written.repeats === 0 && written.answers.every(({ kind }) => kind === 'accepted');
    return () => {
      finishWritten(deps, batch, written);
    };
  } catch (error) {
    places.giveBack();
    return deps.isKnownKey(error) ? settle(state, batch, { ...mode, asNew: false }) : settleFailed(state, batch, { ...mode, error });
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

async function settleFailed<R>(state: State<R>, batch: readonly Waiting[], { routing, error }: Mode & { error: unknown }): Promise<Finish> {
  const { deps } = state;
  const refuse = (reason: unknown) => () => {
    for (const { reject } of batch) reject(reason);
  };
  if (deps.isUnavailable(error)) {
    deps.log('accept.unavailable', { error, requests: batch.length });
    const away = new CarillonError('unavailable', 'the database is not available', { retryAfterS: 1, cause: error });
    refuseStale(state, away);
    return refuse(away);
  }
  if (routing) {
    deps.log('accept.routing-failed', { error, requests: batch.length });
    return settle(state, batch, CAREFUL);
  }
  if (batch.length > 1) return settleHalves(state, batch);
  if (!deps.isLockTimeout(error)) return refuse(error);
  // Another process is writing the first request with this key. Each try has waited one lock timeout.
  const since = batch[0]?.since ?? 0;
  if (deps.monotonicMs() - since < BUSY_AFTER_MS) return settle(state, batch, CAREFUL);
  return refuse(
    new CarillonError('idempotency_busy', 'the first request with this key has not finished', { retryAfterS: 1, cause: error }),
  );
}

async function settleHalves<R>(state: State<R>, batch: readonly Waiting[]): Promise<Finish> {
  const half = batch.length >> 1;
  const first = await settle(state, batch.slice(0, half), CAREFUL);
  const second = await settle(state, batch.slice(half), CAREFUL);
  return () => {
    first();
    second();
  };
}
