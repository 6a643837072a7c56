/** The thread that renders what tenants wrote. It has a deadline, little memory and no environment, and may be killed at any moment. */
import { parentPort } from 'node:worker_threads';
import type { EventTypeFiles, EventTypeSummary } from '../domain/event-type.ts';
import type { KnownChannels } from './channel-rules.ts';
import { compileContent, type Content } from './content.ts';
import { DEFINITION_FILE } from './bundle.ts';
import { readDefinition } from './definition.ts';
import type { Scope } from './liquid.ts';
import type { Problem } from './problem.ts';
import { mistakesOf, problemsOf, summaryIn } from './validate.ts';

export type Work =
  | { readonly kind: 'check'; readonly data: Readonly<Record<string, unknown>> }
  | { readonly kind: 'notifications'; readonly scopes: readonly Scope[] }
  /** Everything that is wrong with the files, and everything that looks wrong. */
  | { readonly kind: 'validate'; readonly channels: KnownChannels }
  /** What the definition says: even to read it may take its time. */
  | { readonly kind: 'define' }
  | { readonly kind: 'channel'; readonly name: string; readonly scope: Scope };

export interface Order {
  readonly key: string;
  readonly type: string;
  /** With the first order for this key, and after the thread has forgotten it. */
  readonly files: EventTypeFiles | undefined;
  readonly work: Work;
}

/** `unknown`: send the files again. */
type Answer =
  | { readonly kind: 'done'; readonly value: unknown }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'broken'; readonly detail: string };

/** `usedMs`: of this thread's processor time. Undefined where Node does not tell. */
export type Reply = Answer & { readonly usedMs: number | undefined };

const MAX_KEPT = 200;
const kept = new Map<string, Content>();

function contentOf({ key, type, files }: Order): Content | undefined {
  const known = kept.get(key);
  if (known || !files) return known;
  const definition = readDefinition(files[DEFINITION_FILE] ?? '', null);
  const compiled = definition.ok ? compileContent(type, files, definition.value) : definition;
  if (!compiled.ok) throw new Error(compiled.problems.map(({ file, message }) => `${file} ${message}`).join('; '));
  const oldest = kept.keys().next();
  if (kept.size >= MAX_KEPT && !oldest.done) kept.delete(oldest.value);
  const { content } = compiled;
  kept.set(key, content);
  return content;
}

function doWork(content: Content, work: Exclude<Work, { kind: 'validate' | 'define' }>): unknown {
  switch (work.kind) {
    case 'check':
      return content.check(work.data);
    case 'notifications':
      return work.scopes.map((scope) => content.notification(scope));
    case 'channel':
      return content.channel(work.name, work.scope);
  }
}

export interface Validated {
  readonly problems: readonly Problem[];
  readonly mistakes: readonly Problem[];
  /** Of files without problems. */
  readonly summary: EventTypeSummary | undefined;
}

function validated(type: string, files: EventTypeFiles, channels: KnownChannels): Validated {
  const problems = problemsOf(type, files, channels);
  if (problems.length > 0) return { problems, mistakes: [], summary: undefined };
  return { problems, mistakes: mistakesOf(type, files), summary: summaryIn(files) };
}

/** Undefined: the files are needed. */
function done({ type, files }: Order, work: Extract<Work, { kind: 'validate' | 'define' }>): unknown {
  if (!files) return undefined;
  return work.kind === 'validate' ? validated(type, files, work.channels) : readDefinition(files[DEFINITION_FILE] ?? '', null);
}

function answer(order: Order): Answer {
  const { work } = order;
  try {
    if (work.kind === 'validate' || work.kind === 'define') {
      const value = done(order, work);
      return value === undefined ? { kind: 'unknown' } : { kind: 'done', value };
    }
    const content = contentOf(order);
    return content ? { kind: 'done', value: doWork(content, work) } : { kind: 'unknown' };
  } catch (error) {
    return { kind: 'broken', detail: error instanceof Error ? error.message : String(error) };
  }
}

/** On a busy machine a thread waits for its turn: that is not its template's slowness. Node 22 may lack the function. */
function processorMs(): number | undefined {
  if (!('threadCpuUsage' in process)) return undefined;
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

const port = parentPort;
port?.on('message', (order: Order) => {
  const before = processorMs();
  const answered = answer(order);
  const after = processorMs();
  const usedMs = before === undefined || after === undefined ? undefined : after - before;
  port.postMessage({ ...answered, usedMs } satisfies Reply);
});
port?.postMessage({ kind: 'ready' });
