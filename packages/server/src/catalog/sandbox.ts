/**
 * Threads for what tenants wrote. One order at a time each, so that a deadline is one order's own; a thread that is over it
 * is killed and replaced, and what killed it is not tried again for a while.
 */
import { Worker } from 'node:worker_threads';
import type { EventTypeFiles } from '../domain/event-type.ts';
import { describeError } from '../lib/describe-error.ts';
import type { Order, Reply, Work } from './sandbox-worker.ts';

export interface SandboxOptions {
  readonly deadlineMs: number;
  readonly threads: number;
  readonly monotonicMs: () => number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

/** Whose templates, and which version of them. */
export interface Subject {
  readonly key: string;
  readonly type: string;
  readonly files: EventTypeFiles;
}

export type Ran<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly detail: string };

export interface RunOptions {
  /** Of an order that was divided: what stops it may be one reader's own, and the version is refused when that repeats. */
  readonly divided: boolean;
}

export interface Sandbox {
  /** Never rejects. */
  readonly run: <T>(subject: Subject, work: Work, options?: RunOptions) => Promise<Ran<T>>;
  readonly close: () => Promise<void>;
}

interface Job extends RunOptions {
  readonly subject: Subject;
  readonly work: Work;
  readonly resolve: (ran: Ran<never>) => void;
}

/** A place for one thread, which is started when there is something to do. */
interface Place {
  worker: Worker | undefined;
  ready: boolean;
  job: Job | undefined;
  timer: NodeJS.Timeout | undefined;
}

interface State {
  readonly options: SandboxOptions;
  readonly places: readonly Place[];
  readonly waiting: Job[];
  readonly refusedUntil: Map<string, number>;
  /** Divided orders that were stopped, by version. */
  readonly stops: Map<string, { readonly count: number; readonly until: number }>;
  closed: boolean;
}

/** How long a version that was stopped is refused unseen: it would do the same again. */
const REFUSED_MS = 60_000;
/** Divided orders of one version that may be stopped within that time. With two threads they take three deadlines. */
const MAX_STOPS = 6;
const MAX_WAITING = 10_000;
const LIMITS = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16, stackSizeMb: 2 };
const FILE = new URL(import.meta.url.endsWith('.ts') ? './sandbox-worker.ts' : './sandbox-worker.js', import.meta.url);

export function makeSandbox(options: SandboxOptions): Sandbox {
  const places = Array.from(
    { length: options.threads },
    (): Place => ({ worker: undefined, ready: false, job: undefined, timer: undefined }),
  );
  const state: State = { options, places, waiting: [], refusedUntil: new Map(), stops: new Map(), closed: false };
  return {
    run: (subject, work, { divided } = { divided: false }) => {
      const refusal = state.waiting.length >= MAX_WAITING ? 'too many templates are waiting' : refusalOf(state, subject.key);
      if (refusal !== undefined) return Promise.resolve({ ok: false, detail: refusal });
      return new Promise((resolve) => {
        state.waiting.push({ subject, work, divided, resolve });
        pump(state);
      });
    },
    close: async () => {
      state.closed = true;
      for (const { resolve } of state.waiting.splice(0)) resolve({ ok: false, detail: STOPPING });
      await Promise.all(places.flatMap(({ worker }) => (worker ? [worker.terminate()] : [])));
    },
  };
}

const STOPPING = 'the process is stopping';

function refusalOf({ closed, refusedUntil, options }: State, key: string): string | undefined {
  if (closed) return STOPPING;
  const until = refusedUntil.get(key);
  if (until === undefined) return undefined;
  if (until > options.monotonicMs()) return 'the template was stopped a moment ago and is not tried again yet';
  refusedUntil.delete(key);
  return undefined;
}

function pump(state: State): void {
  for (const place of state.places) {
    if (state.waiting.length === 0) return;
    if (place.job) continue;
    place.job = nextJob(state);
    if (!place.job) return;
    place.worker ??= begin(state, place);
    if (place.ready) send(state, place);
  }
}

/** What has been refused since it began to wait is not tried. */
function nextJob(state: State): Job | undefined {
  for (let job = state.waiting.shift(); job; job = state.waiting.shift()) {
    const refusal = refusalOf(state, job.subject.key);
    if (refusal === undefined) return job;
    job.resolve({ ok: false, detail: refusal });
  }
  return undefined;
}

function begin(state: State, place: Place): Worker {
  const worker = new Worker(FILE, { env: {}, execArgv: [], resourceLimits: LIMITS, stdin: false });
  worker.unref();
  const isOurs = () => place.worker === worker && !state.closed;
  worker.on('message', (reply: Reply | { kind: 'ready' }) => {
    if (!isOurs()) return;
    if (reply.kind !== 'ready') {
      receive(state, place, reply);
      return;
    }
    place.ready = true;
    send(state, place);
  });
  worker.on('error', (error: unknown) => {
    if (isOurs()) lose(state, place, `it ended its thread: ${describeError(error)}`);
  });
  worker.on('exit', () => {
    if (isOurs()) lose(state, place, 'it ended its thread');
  });
  return worker;
}

function send(state: State, place: Place, withFiles = false): void {
  const { job, worker } = place;
  if (!job || !worker) return;
  const { key, type, files } = job.subject;
  const { deadlineMs } = state.options;
  place.timer ??= setTimeout(() => {
    // A reply that came while this process was busy is read first.
    setImmediate(() => {
      if (place.job === job) lose(state, place, `it took longer than ${deadlineMs} ms`);
    });
  }, deadlineMs);
  worker.postMessage({ key, type, files: withFiles ? files : undefined, work: job.work } satisfies Order);
}

function receive(state: State, place: Place, reply: Reply): void {
  if (reply.kind === 'unknown') send(state, place, true);
  else finish(state, place, reply.kind === 'done' ? { ok: true, value: reply.value as never } : { ok: false, detail: reply.detail });
}

/** The thread is gone, or goes. */
function lose(state: State, place: Place, detail: string): void {
  const { worker, job } = place;
  place.worker = undefined;
  place.ready = false;
  void worker?.terminate();
  if (job) {
    noteStop(state, job);
    state.options.log('catalog.template-stopped', { type: job.subject.type, version: job.subject.key, detail });
  }
  finish(state, place, { ok: false, detail: `the template was stopped: ${detail}` });
}

function noteStop({ refusedUntil, stops, options }: State, { subject: { key }, divided }: Job): void {
  const now = options.monotonicMs();
  for (const [old, until] of refusedUntil) if (until <= now) refusedUntil.delete(old);
  for (const [old, { until }] of stops) if (until <= now) stops.delete(old);
  const count = (stops.get(key)?.count ?? 0) + 1;
  if (divided && count < MAX_STOPS) stops.set(key, { count, until: now + REFUSED_MS });
  else refusedUntil.set(key, now + REFUSED_MS);
}

function finish(state: State, place: Place, ran: Ran<never>): void {
  const { job } = place;
  clearTimeout(place.timer);
  place.timer = undefined;
  place.job = undefined;
  job?.resolve(ran);
  pump(state);
}
