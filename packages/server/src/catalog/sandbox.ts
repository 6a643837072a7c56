/**
 * Threads for what tenants wrote. One order at a time each, so that a deadline is one order's own; a thread that is over it
 * is killed and replaced. Tenants take turns, and what is slow again and again is not tried for a while: neither a version
 * nor a tenant keeps the others waiting.
 */
import { Worker } from 'node:worker_threads';
import type { EventTypeFiles } from '../domain/event-type.ts';
import { describeError } from '../lib/describe-error.ts';
import type { Order, Reply, Work } from './sandbox-worker.ts';
import { makePatience, makeTurns, type Patience, type Turns } from './turns.ts';

export interface SandboxOptions {
  readonly deadlineMs: number;
  readonly threads: number;
  readonly monotonicMs: () => number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  /** The module that a thread runs, in place of `sandbox-worker`. */
  readonly module?: URL;
}

/** Whose templates, and which version of them. */
export interface Subject {
  readonly owner: string;
  readonly key: string;
  readonly type: string;
  readonly files: EventTypeFiles;
}

export type Ran<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly detail: string };

export interface Sandbox {
  /** Never rejects. */
  readonly run: <T>(subject: Subject, work: Work) => Promise<Ran<T>>;
  readonly close: () => Promise<void>;
}

interface Job {
  readonly subject: Subject;
  readonly work: Work;
  readonly resolve: (ran: Ran<never>) => void;
}

/** A place for one thread, which is started when there is something to do. */
interface Place {
  worker: Worker | undefined;
  ready: boolean;
  job: Job | undefined;
  sentAtMs: number;
  timer: NodeJS.Timeout | undefined;
}

interface State {
  readonly options: SandboxOptions;
  readonly places: readonly Place[];
  readonly turns: Turns<Job>;
  readonly ofVersions: Patience;
  readonly ofOwners: Patience;
  closed: boolean;
}

const WINDOW_MS = 60_000;
/** In deadlines: one reader's data may stop a good template, and then only his own delivery fails. */
const VERSION_LIMIT = 5.5;
const OWNER_LIMIT = 8;
/** What takes less of the deadline is not slow; so many readers at once may take one each. */
const SLOW = 0.25;
const READERS = 10;
const MAX_WAITING = 2_000;
const LIMITS = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16, stackSizeMb: 2 };
const FILE = new URL(import.meta.url.endsWith('.ts') ? './sandbox-worker.ts' : './sandbox-worker.js', import.meta.url);

export function makeSandbox(options: SandboxOptions): Sandbox {
  const places = Array.from(
    { length: options.threads },
    (): Place => ({ worker: undefined, ready: false, job: undefined, sentAtMs: 0, timer: undefined }),
  );
  const state: State = {
    options,
    places,
    turns: makeTurns(MAX_WAITING),
    ofVersions: makePatience(options.deadlineMs * VERSION_LIMIT, WINDOW_MS),
    ofOwners: makePatience(options.deadlineMs * OWNER_LIMIT, WINDOW_MS),
    closed: false,
  };
  return {
    run: (subject, work) => {
      const refusal = refusalOf(state, subject);
      if (refusal !== undefined) return Promise.resolve({ ok: false, detail: refusal });
      return new Promise((resolve) => {
        if (!state.turns.add(subject.owner, { subject, work, resolve })) resolve({ ok: false, detail: 'too many templates are waiting' });
        pump(state);
      });
    },
    close: async () => {
      state.closed = true;
      for (let job = state.turns.next(); job; job = state.turns.next()) job.resolve({ ok: false, detail: STOPPING });
      await Promise.all(places.flatMap(({ worker }) => (worker ? [worker.terminate()] : [])));
    },
  };
}

const STOPPING = 'the process is stopping';

function refusalOf({ closed, ofVersions, ofOwners, options }: State, subject: Subject): string | undefined {
  if (closed) return STOPPING;
  const now = options.monotonicMs();
  if (ofVersions.isSpent(versionOf(subject), now)) return 'the template took too long again and again, and is not tried for a while';
  return ofOwners.isSpent(subject.owner, now) ? 'templates of this tenant took too long, and are not tried for a while' : undefined;
}

/** Two tenants may have the same content, and not the same data. */
function versionOf({ owner, key }: Subject): string {
  return `${owner}\0${key}`;
}

function pump(state: State): void {
  for (const place of state.places) {
    if (place.job) continue;
    const job = nextJob(state);
    if (!job) return;
    place.job = job;
    place.worker ??= begin(state, place);
    if (place.ready) send(state, place);
  }
}

/** What has become too slow while it waited is refused in its turn. */
function nextJob(state: State): Job | undefined {
  for (let job = state.turns.next(); job; job = state.turns.next()) {
    const refusal = refusalOf(state, job.subject);
    if (refusal === undefined) return job;
    job.resolve({ ok: false, detail: refusal });
  }
  return undefined;
}

function begin(state: State, place: Place): Worker {
  const worker = new Worker(state.options.module ?? FILE, { env: {}, execArgv: [], resourceLimits: LIMITS, stdin: false });
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
  const { deadlineMs, monotonicMs } = state.options;
  if (!withFiles) place.sentAtMs = monotonicMs();
  place.timer ??= setTimeout(() => {
    // A reply that came while this process was busy is read first.
    setImmediate(() => {
      if (place.job === job) lose(state, place, `it took longer than ${deadlineMs} ms`);
    });
  }, deadlineMs);
  worker.postMessage({ key, type, files: withFiles ? files : undefined, work: job.work } satisfies Order);
}

function receive(state: State, place: Place, reply: Reply): void {
  if (reply.kind === 'unknown') {
    send(state, place, true);
    return;
  }
  const { deadlineMs, monotonicMs } = state.options;
  const tookMs = reply.usedMs ?? monotonicMs() - place.sentAtMs;
  if (place.job && tookMs > deadlineMs * SLOW * sharesOf(place.job.work)) blame(state, place.job.subject, tookMs);
  finish(state, place, reply.kind === 'done' ? { ok: true, value: reply.value as never } : { ok: false, detail: reply.detail });
}

function sharesOf(work: Work): number {
  return work.kind === 'notifications' ? Math.max(1, work.scopes.length / READERS) : 1;
}

/** The thread is gone, or goes. */
function lose(state: State, place: Place, detail: string): void {
  const { worker, job } = place;
  const { options } = state;
  place.worker = undefined;
  place.ready = false;
  void worker?.terminate();
  if (job) {
    const { owner, type, key } = job.subject;
    options.log('catalog.template-stopped', { tenantId: owner, type, version: key, detail });
    blame(state, job.subject, options.deadlineMs);
  }
  finish(state, place, { ok: false, detail: `the template was stopped: ${detail}` });
}

function blame({ ofVersions, ofOwners, options }: State, subject: Subject, ms: number): void {
  const now = options.monotonicMs();
  ofVersions.spend(versionOf(subject), ms, now);
  ofOwners.spend(subject.owner, ms, now);
}

function finish(state: State, place: Place, ran: Ran<never>): void {
  const { job } = place;
  clearTimeout(place.timer);
  place.timer = undefined;
  place.job = undefined;
  job?.resolve(ran);
  pump(state);
}
