/**
 * A module and its thread. The thread is started again after it died or blocked; what it had under way then counts as an answer
 * that never came, and is tried again under the same delivery id.
 */
import { Worker } from 'node:worker_threads';
import type { Message, SendResult } from '../../domain/channel.ts';
import { onAbort, throwIfAborted } from '../../lib/abort.ts';
import { describeError } from '../../lib/describe-error.ts';
import type { Description } from './contract.ts';
import type { FromThread, Made, Setup, ToThread, Unrendered } from './protocol.ts';

export interface ModuleHost {
  readonly description: Description;
  /** Rejects only when `signal` was aborted. */
  readonly send: (provider: number, message: Message, signal: AbortSignal) => Promise<SendResult>;
  /** What the module makes of it, and sends to nobody. */
  readonly render: (content: Unrendered) => Promise<Made>;
  readonly close: () => Promise<void>;
}

export interface HostDeps {
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  readonly monotonicMs: () => number;
  /** Of one send; a thread that then does not answer at all is ended. */
  readonly timeoutMs: number;
}

const START_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 2_000;
const LOG_LINES_PER_MINUTE = 100;
const MEMORY_MB = 256;

interface Call {
  readonly done: (result: SendResult) => void;
}

interface State {
  readonly setup: Setup;
  readonly deps: HostDeps;
  readonly calls: Map<number, Call>;
  readonly renders: Map<number, (made: Made) => void>;
  readonly logLine: () => boolean;
  count: number;
  /** Messages from the thread. */
  heard: number;
  thread: Promise<Thread> | undefined;
}

interface Thread {
  readonly worker: Worker;
  readonly description: Description;
}

/** Starts the thread. Rejects with why the module can't be used. */
export async function startModule(setup: Setup, deps: HostDeps): Promise<ModuleHost> {
  const state: State = {
    setup,
    deps,
    calls: new Map(),
    renders: new Map(),
    logLine: ration(deps.monotonicMs),
    count: 0,
    heard: 0,
    thread: undefined,
  };
  state.thread = startThread(state);
  const { description } = await state.thread;
  return {
    description,
    send: (provider, message, signal) => send(state, { provider, message }, signal),
    render: (content) => render(state, content),
    close: () => close(state),
  };
}

function startThread(state: State): Promise<Thread> {
  // Its output is nobody's: a module that prints would fill the server's.
  const worker = new Worker(new URL('./thread.ts', import.meta.url), {
    workerData: state.setup,
    stdout: true,
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB },
  });
  worker.stdout.resume();
  worker.stderr.resume();
  worker.unref();
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      clearTimeout(timer);
      void worker.terminate();
      reject(error);
    };
    const timer = setTimeout(() => {
      fail(new Error(`it is not ready after ${START_TIMEOUT_MS / 1_000} s`));
    }, START_TIMEOUT_MS);
    worker.on('message', (message: FromThread) => {
      if (message.type === 'ready') {
        clearTimeout(timer);
        resolve({ worker, description: message.description });
      } else if (message.type === 'failed') fail(new Error(message.message));
      else hear(state, message);
    });
    worker.on('error', (error: Error) => {
      state.deps.log('module.died', { module: state.setup.module, error });
      fail(error);
    });
    worker.on('exit', () => {
      fail(new Error('it ended its thread'));
      lose(state, 'the thread of the module ended');
    });
  });
}

function hear(state: State, message: FromThread): void {
  const { calls, renders, deps, setup, logLine } = state;
  state.heard++;
  if (message.type === 'result') {
    calls.get(message.call)?.done(message.result);
    calls.delete(message.call);
  } else if (message.type === 'rendered') renders.get(message.call)?.(message.made);
  else if (message.type === 'log' && logLine())
    deps.log('module.said', { module: setup.module, said: message.event, fields: message.fields });
}

/** The thread is no more: what it had under way may have left. The next send starts another. */
function lose(state: State, detail: string): void {
  state.thread = undefined;
  const lost = [...state.calls.values()];
  state.calls.clear();
  for (const { done } of lost) done({ kind: 'unknown', reason: 'internal', detail });
  for (const answer of [...state.renders.values()]) answer({ ok: false, detail });
}

async function send(state: State, { provider, message }: { provider: number; message: Message }, signal: AbortSignal): Promise<SendResult> {
  throwIfAborted(signal);
  let thread: Thread;
  try {
    thread = await (state.thread ??= startThread(state));
  } catch (error) {
    state.thread = undefined;
    return { kind: 'transient', reason: 'internal', detail: `the module does not start: ${describeError(error)}`.slice(0, 300) };
  }
  const call = ++state.count;
  const say = (said: ToThread) => {
    thread.worker.postMessage(said);
  };
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      forget();
      state.calls.delete(call);
    };
    const forget = onAbort(signal, (reason) => {
      end();
      say({ type: 'abort', call });
      reject(reason);
    });
    const timer = setTimeout(() => {
      end();
      say({ type: 'abort', call });
      endIfBlocked(state, thread.worker);
      resolve({ kind: 'unknown', reason: 'timeout', detail: `the module gave no answer within ${state.deps.timeoutMs} ms` });
    }, state.deps.timeoutMs);
    state.calls.set(call, {
      done: (result) => {
        end();
        resolve(result);
      },
    });
    say({ type: 'send', call, provider, message });
  });
}

async function render(state: State, content: Unrendered): Promise<Made> {
  let thread: Thread;
  try {
    thread = await (state.thread ??= startThread(state));
  } catch (error) {
    state.thread = undefined;
    return { ok: false, detail: `the module does not start: ${describeError(error)}`.slice(0, 300) };
  }
  const call = ++state.count;
  const say = (said: ToThread) => {
    thread.worker.postMessage(said);
  };
  return new Promise((resolve) => {
    const answer = (made: Made) => {
      clearTimeout(timer);
      state.renders.delete(call);
      resolve(made);
    };
    const timer = setTimeout(() => {
      say({ type: 'abort', call });
      endIfBlocked(state, thread.worker);
      answer({ ok: false, detail: `the module gave no answer within ${state.deps.timeoutMs} ms` });
    }, state.deps.timeoutMs);
    state.renders.set(call, answer);
    say({ type: 'render', call, content });
  });
}

const ALIVE_WITHIN_MS = 1_000;

/** A thread that does not even take note of an abort is in an endless loop. */
function endIfBlocked(state: State, worker: Worker): void {
  const { heard } = state;
  setTimeout(() => {
    if (state.heard > heard) return;
    state.deps.log('module.blocked', { module: state.setup.module });
    void worker.terminate();
  }, ALIVE_WITHIN_MS);
}

async function close(state: State): Promise<void> {
  const { thread } = state;
  if (!thread) return;
  const worker = await thread.then(
    (started) => started.worker,
    () => undefined,
  );
  if (!worker) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    worker.on('message', (message: FromThread) => {
      if (message.type === 'closed') done();
    });
    worker.once('exit', done);
    worker.postMessage({ type: 'close' } satisfies ToThread);
  });
  await worker.terminate();
}

/** False for what is over a hundred a minute. */
function ration(monotonicMs: () => number): () => boolean {
  let [begun, used] = [Number.NEGATIVE_INFINITY, 0];
  return () => {
    const nowMs = monotonicMs();
    if (nowMs - begun > 60_000) [begun, used] = [nowMs, 0];
    return ++used <= LOG_LINES_PER_MINUTE;
  };
}
