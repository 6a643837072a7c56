/** The thread that renders what tenants wrote. It has a deadline, little memory and no environment, and may be killed at any moment. */
import { parentPort } from 'node:worker_threads';
import type { EventTypeFiles } from '../domain/event-type.ts';
import type { KnownChannels } from './channel-rules.ts';
import { compileContent, type Content } from './content.ts';
import { DEFINITION_FILE } from './bundle.ts';
import { readDefinition } from './definition.ts';
import type { Scope } from './liquid.ts';
import { mistakesOf, problemsOf } from './validate.ts';

export type Work =
  | { readonly kind: 'check'; readonly data: Readonly<Record<string, unknown>> }
  | { readonly kind: 'notifications'; readonly scopes: readonly Scope[] }
  /** Everything that is wrong with the files, and everything that looks wrong. */
  | { readonly kind: 'validate'; readonly channels: KnownChannels }
  | { readonly kind: 'channel'; readonly name: string; readonly scope: Scope };

export interface Order {
  readonly key: string;
  readonly type: string;
  /** With the first order for this key, and after the thread has forgotten it. */
  readonly files: EventTypeFiles | undefined;
  readonly work: Work;
}

/** `unknown`: send the files again. */
export type Reply =
  | { readonly kind: 'done'; readonly value: unknown }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'broken'; readonly detail: string };

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

function doWork(content: Content, work: Exclude<Work, { kind: 'validate' }>): unknown {
  switch (work.kind) {
    case 'check':
      return content.check(work.data);
    case 'notifications':
      return work.scopes.map((scope) => content.notification(scope));
    case 'channel':
      return content.channel(work.name, work.scope);
  }
}

function validated(type: string, files: EventTypeFiles, channels: KnownChannels) {
  const problems = problemsOf(type, files, channels);
  return { problems, mistakes: problems.length > 0 ? [] : mistakesOf(type, files) };
}

function answer(order: Order): Reply {
  const { type, files, work } = order;
  try {
    if (work.kind === 'validate') return files ? { kind: 'done', value: validated(type, files, work.channels) } : { kind: 'unknown' };
    const content = contentOf(order);
    return content ? { kind: 'done', value: doWork(content, work) } : { kind: 'unknown' };
  } catch (error) {
    return { kind: 'broken', detail: error instanceof Error ? error.message : String(error) };
  }
}

const port = parentPort;
port?.on('message', (order: Order) => {
  port.postMessage(answer(order));
});
port?.postMessage({ kind: 'ready' });
