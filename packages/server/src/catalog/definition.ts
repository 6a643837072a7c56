/** `event.yaml`: read, checked, and every problem said with its line. */
import { isMap, LineCounter, parseDocument, type Document } from 'yaml';
import { z } from 'zod';
import { SEVERITIES, type RecipientRule, type Severity } from '../domain/event.ts';
import { parseDuration } from '../lib/duration.ts';
import { nearest } from '../lib/nearest.ts';
import { parsePath, type JsonPath } from './json-path.ts';
import type { Problem } from './problem.ts';

export const DEFINITION_FILE = 'event.yaml';
const MAX_BYTES = 64 * 1024;
const MAX_RULES = 20;
const MAX_TAGS = 32;
const MAX_ALIASES = 50;

/** Whom `recipients: [default]` means: those who answer for the account. */
const DEFAULT_RECIPIENTS: readonly RecipientRule[] = [{ role: 'owner' }, { role: 'admin' }, { role: 'team_admin' }];

const id = z.string().min(1).max(256);
const severity = z.enum(Object.keys(SEVERITIES) as Severity[]);
/** A text with `{{ … }}` in it. */
const text = z.string().min(1).max(500);
const path = z.string().transform((value, context) => {
  const parsed = parsePath(value);
  if (parsed) return { path: parsed, text: value };
  context.addIssue({ code: 'custom', message: 'must be a path such as $.user_id, $.members[*].id or $.teams[0]' });
  return z.NEVER;
});
const duration = z.string().transform((value, context) => {
  const ms = parseDuration(value);
  if (ms !== undefined && ms > 0) return ms;
  context.addIssue({ code: 'custom', message: 'must be a time such as 30m, 12h or 7d' });
  return z.NEVER;
});

const recipient = z.union([
  z.literal('default').transform(() => ({ rules: DEFAULT_RECIPIENTS })),
  z.strictObject({ role: id }).transform((rule) => ({ rules: [rule] as readonly RecipientRule[] })),
  z.strictObject({ users: z.array(id).min(1).max(1_000) }).transform(({ users }) => ({ rules: users })),
  z
    .strictObject({ active_within: z.string().regex(/^[1-9]\d{0,4}[smhd]$/) })
    .transform((rule) => ({ rules: [rule] as readonly RecipientRule[] })),
  z.strictObject({ path }).transform((rule) => rule.path),
]);
const excluded = z.union([
  z.strictObject({ path }).transform((rule) => rule.path),
  z.strictObject({ users: z.array(id).min(1).max(1_000) }),
]);

/** One rule of `recipients`: fixed ones, or a path into the data. */
export type RecipientSource = { readonly rules: readonly RecipientRule[] } | { readonly path: JsonPath; readonly text: string };

const shape = {
  title: z.string().min(1).max(200).optional(),
  category: z
    .string()
    .regex(/^[\w.-]{1,64}$/, 'must be 1 to 64 letters, digits, dots, dashes or underscores')
    .optional(),
  severity: severity.default('medium'),
  critical: z.boolean().default(false),
  tags: z.array(text).max(MAX_TAGS).default([]),
  tags_required: z.boolean().default(false),
  recipients: z.array(recipient).max(MAX_RULES).default([]),
  exclude: z.array(excluded).max(MAX_RULES).default([]),
  expires_after: duration.optional(),
  action_url: text.optional(),
  layout: z
    .string()
    .regex(/^[\w-]{1,64}$/, 'must be the name of a file in _layouts, without its ending')
    .optional(),
  lenient: z.boolean().default(false),
  data: z.record(z.string(), z.unknown()).optional(),
};

const channel = z.strictObject({ severities: z.array(severity).min(1).optional() }).nullable();

function schemaFor(channels: readonly string[] | null) {
  const known = (named: Readonly<Record<string, unknown>>, context: z.RefinementCtx) => {
    const keys = Object.keys(named).filter((name) => channels && !channels.includes(name));
    if (keys.length > 0) context.addIssue({ code: 'unrecognized_keys', keys, input: named });
  };
  return z.strictObject({ ...shape, channels: z.record(z.string(), channel).superRefine(known).optional() });
}

export type Definition = z.output<ReturnType<typeof schemaFor>>;

/** What an empty file says. */
export const NOTHING_SAID: Definition = schemaFor(null).parse({});

export type Read<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problems: readonly Problem[] };

/** `channels` are the names that this installation knows; null: any, for what has been checked before. */
export function readDefinition(source: string, channels: readonly string[] | null): Read<Definition> {
  if (Buffer.byteLength(source) > MAX_BYTES) return refused([{ file: DEFINITION_FILE, message: 'is longer than 64 KiB: make it shorter' }]);
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, uniqueKeys: true });
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

function check(document: Document, lines: LineCounter, channels: readonly string[] | null): Read<Definition> {
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch {
    return refused([{ file: DEFINITION_FILE, message: 'repeats an anchor too often: write it out' }]);
  }
  const schema = schemaFor(channels);
  const parsed = schema.safeParse(content ?? {});
  if (parsed.success) return { ok: true, value: parsed.data };
  const lineOf = lineFinder(document, lines);
  const namesAt = (path: readonly PropertyKey[]) => {
    if (path.length === 0) return [...Object.keys(shape), 'channels'];
    return path.length === 1 && path[0] === 'channels' ? (channels ?? []) : [];
  };
  const problems = parsed.error.issues.flatMap((issue) => toProblems(issue, lineOf, namesAt));
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
  if (issue.code === 'invalid_union') return [problem(at, unionMessage(at), lineOf)];
  return [problem(at, messageOf(issue), lineOf)];
}

function suggestion(key: string, known: readonly string[]): string {
  const name = nearest(key, known);
  return name === undefined ? ' here: remove it' : `; the nearest known name is ${name}`;
}

function unionMessage(path: readonly PropertyKey[]): string {
  return path[0] === 'exclude'
    ? 'must be { path: $.… } or { users: […] }'
    : 'must be default, { role: … }, { path: $.… }, { users: […] } or { active_within: 30d }';
}

function messageOf(issue: z.core.$ZodIssue): string {
  return issue.message.startsWith('must ') ? issue.message : `is not valid: ${issue.message}`;
}

function problem(path: readonly PropertyKey[], message: string, lineOf: LineOf): Problem {
  const name = path.map(String).join('.');
  return { file: DEFINITION_FILE, line: path.length > 0 ? lineOf(path) : undefined, message: `${name || 'the document'} ${message}` };
}
