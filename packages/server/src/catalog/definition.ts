/** `event.yaml`: read, checked, and every problem said with its line. */
import { isMap, LineCounter, parseDocument, type Document } from 'yaml';
import { DEFINITION_FILE } from './bundle.ts';
import type { z } from 'zod';
import { nearest } from '../lib/nearest.ts';
import type { KnownChannels } from './channel-rules.ts';
import { definitionSchema, formsOf, namesAt, type Definition } from './definition-fields.ts';
import type { Problem } from './problem.ts';

const MAX_BYTES = 64 * 1024;
const MAX_ALIASES = 50;

export type Read<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problems: readonly Problem[] };

/** `channels` are those that this installation knows; null: any, for what has been checked before. */
export function readDefinition(source: string, channels: KnownChannels | null): Read<Definition> {
  if (Buffer.byteLength(source) > MAX_BYTES) return refused([{ file: DEFINITION_FILE, message: 'is longer than 64 KiB: make it shorter' }]);
  const lines = new LineCounter();
  // Looking for repeated keys costs the square of their number: not again, and not in the thread that serves everybody.
  const document = parseDocument(source, { lineCounter: lines, uniqueKeys: channels !== null });
  if (document.errors.length > 0) {
    return refused(
      document.errors.map(({ message, pos: [at] }) => ({
        file: DEFINITION_FILE,
        line: lines.linePos(at).line,
        message: `is not YAML: ${message.split('\n', 1)[0] ?? ''}`,
      })),
    );
  }
  return check(document, lines, channels);
}

function check(document: Document, lines: LineCounter, channels: KnownChannels | null): Read<Definition> {
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch {
    return refused([{ file: DEFINITION_FILE, message: 'repeats an anchor too often: write it out' }]);
  }
  const schema = definitionSchema(channels);
  const parsed = schema.safeParse(content ?? {});
  if (parsed.success) return { ok: true, value: parsed.data };
  const lineOf = lineFinder(document, lines);
  const knownAt = (path: readonly PropertyKey[]) => namesAt(path, channels);
  const problems = parsed.error.issues.flatMap((issue) => toProblems(issue, lineOf, knownAt));
  return refused(problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0)));
}

function refused(problems: readonly Problem[]): Read<never> {
  return { ok: false, problems };
}

type LineOf = (path: readonly PropertyKey[]) => number | undefined;

function lineFinder(document: Document, lines: LineCounter): LineOf {
  const offsetOf = (path: readonly PropertyKey[]): number | undefined => {
    const parent: unknown = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true);
    const pair = isMap(parent) ? parent.items.find(({ key }) => String(key) === String(path.at(-1))) : undefined;
    const node = (pair?.key ?? document.getIn(path, true)) as { range?: readonly number[] | null } | undefined;
    return node?.range?.[0];
  };
  return (path) => {
    for (let length = path.length; length > 0; length--) {
      const offset = offsetOf(path.slice(0, length));
      if (offset !== undefined) return lines.linePos(offset).line;
    }
    return undefined;
  };
}

function toProblems(issue: z.core.$ZodIssue, lineOf: LineOf, knownAt: (path: readonly PropertyKey[]) => readonly string[]): Problem[] {
  const at = issue.path;
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => problem([...at, key], `is not known${suggestion(key, knownAt(at))}`, lineOf));
  }
  if (issue.code === 'invalid_union') return [problem(at, formsOf(at), lineOf)];
  return [problem(at, messageOf(issue), lineOf)];
}

function suggestion(key: string, known: readonly string[]): string {
  const name = nearest(key, known);
  return name === undefined ? ' here: remove it' : `; the nearest known name is ${name}`;
}

function messageOf(issue: z.core.$ZodIssue): string {
  return issue.message.startsWith('must ') ? issue.message : `is not valid: ${issue.message}`;
}

function problem(path: readonly PropertyKey[], message: string, lineOf: LineOf): Problem {
  const name = path.map(String).join('.');
  return { file: DEFINITION_FILE, line: path.length > 0 ? lineOf(path) : undefined, message: `${name || 'the document'} ${message}` };
}
