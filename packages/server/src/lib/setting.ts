/** Settings as a table: one row each, from which parsing, messages and the reference page are made. */
import { z } from 'zod';
import { formatDuration, parseDuration } from './duration.ts';
import { nearest } from './nearest.ts';

/** `schema` takes text from the environment and what YAML made of a file alike. */
export interface SettingType<T> {
  readonly schema: z.ZodType<T>;
  /** For the reference and for messages: `a whole number from 1 to 512`. */
  readonly words: string;
  /** How a default is shown. A method, so that a type of something is also a type of anything. */
  show(value: T): string;
}

export interface Setting<N extends string = string, T = unknown> {
  readonly name: N;
  readonly env: string;
  readonly type: SettingType<unknown>;
  /** Undefined: not set, and nothing takes its place. */
  readonly default: T;
  readonly description: string;
  /** Its value appears nowhere. */
  readonly secret?: boolean;
  /** Names of settings that must be set when this one is. */
  readonly requires?: readonly string[];
}

type Options = Pick<Setting, 'secret' | 'requires'>;

export function setting<const N extends string, T>(
  name: N,
  type: SettingType<T>,
  [value, description]: readonly [NoInfer<T>, string],
  options: Options = {},
): Setting<N, T> {
  return { name, env: environmentName(name), type, default: value, description, ...options };
}

/** Not set by default. */
export function optional<const N extends string, T>(
  name: N,
  type: SettingType<T>,
  description: string,
  options: Options = {},
): Setting<N, T | undefined> {
  return { name, env: environmentName(name), type, default: undefined, description, ...options };
}

function environmentName(name: string): string {
  return `CARILLON_${name.replaceAll('.', '_').toUpperCase()}`;
}

export type ValuesOf<S extends readonly Setting[]> = { readonly [One in S[number] as One['name']]: One['default'] };

/** One place that settings come from. `values` is what it said, by dotted name. */
export interface Source {
  /** `environment`, or the file's path. */
  readonly name: string;
  readonly values: ReadonlyMap<string, unknown>;
  readonly problems: readonly string[];
}

export interface Settled<S extends readonly Setting[]> {
  readonly values: ValuesOf<S>;
  readonly sources: Readonly<Record<string, string>>;
  readonly problems: readonly string[];
}

/** Later sources win. Every problem is found, not only the first. */
export function settle<const S extends readonly Setting[]>(settings: S, given: readonly Source[]): Settled<S> {
  const values: Record<string, unknown> = {};
  const sources: Record<string, string> = {};
  const problems = given.flatMap((source) => source.problems);
  for (const setting of settings) {
    values[setting.name] = setting.default;
    sources[setting.name] = 'default';
    for (const source of given) {
      if (!source.values.has(setting.name)) continue;
      const parsed = setting.type.schema.safeParse(source.values.get(setting.name));
      if (!parsed.success)
        problems.push(`${setting.name} (${source.name}) must be ${setting.type.words}${reasonOf(parsed.error, setting)}`);
      else Object.assign(values, { [setting.name]: parsed.data });
      sources[setting.name] = source.name;
    }
  }
  return { values: Object.freeze(values) as ValuesOf<S>, sources, problems: [...problems, ...missing(settings, sources)] };
}

/** A refinement knows more than the type's words; the value itself is never shown, it may be a secret. */
function reasonOf(error: z.ZodError, { secret }: Setting): string {
  const custom = error.issues.find((issue) => issue.code === 'custom' && issue.message !== 'Invalid input');
  return custom && !secret ? `: ${custom.message}` : '';
}

function missing(settings: readonly Setting[], sources: Readonly<Record<string, string>>): string[] {
  const isSet = (name: string) => sources[name] !== 'default';
  return settings.flatMap(({ name, requires = [] }) =>
    isSet(name) ? requires.filter((other) => !isSet(other)).map((other) => `${name} needs ${other}: set that too, or remove ${name}`) : [],
  );
}

export function fromEnvironment(settings: readonly Setting[], env: Readonly<Record<string, string | undefined>>, ignored: RegExp): Source {
  const byEnv = new Map(settings.map((setting) => [setting.env, setting.name]));
  const values = new Map<string, unknown>();
  const problems: string[] = [];
  for (const [key, value] of Object.entries(env)) {
    const name = byEnv.get(key);
    // An empty variable is how scripts and compose files say "not set".
    if (name !== undefined && value !== '') values.set(name, value);
    if (name === undefined && key.startsWith('CARILLON_') && !ignored.test(key))
      problems.push(unknown(key, [...byEnv.keys()], 'environment'));
  }
  return { name: 'environment', values, problems };
}

/** `content` is the document that the file at `path` holds. */
export function fromDocument(settings: readonly Setting[], path: string, content: unknown): Source {
  const names = settings.map(({ name }) => name);
  const values = new Map<string, unknown>();
  const problems: string[] = [];
  const visit = (node: unknown, above: string): void => {
    if (typeof node !== 'object' || node === null || Array.isArray(node)) {
      problems.push(`${above || 'the document'} (${path}) must be a mapping of settings`);
      return;
    }
    for (const [key, value] of Object.entries(node)) {
      const name = above ? `${above}.${key}` : key;
      if (names.includes(name)) values.set(name, value);
      else if (names.some((known) => known.startsWith(`${name}.`))) visit(value, name);
      else problems.push(unknown(name, names, path));
    }
  };
  if (content !== null && content !== undefined) visit(content, '');
  return { name: path, values, problems };
}

function unknown(name: string, known: readonly string[], source: string): string {
  return `${name} (${source}) is not a setting; the nearest known one is ${nearest(name, known) ?? '(none)'}`;
}

export function text(words: string, check: (value: string) => boolean = () => true): SettingType<string> {
  return { schema: z.string().min(1).refine(check), words, show: (value) => value };
}

export function choice<const T extends string>(...options: readonly T[]): SettingType<T> {
  return { schema: z.enum(options), words: `one of ${options.join(', ')}`, show: (value) => value };
}

export function whole(min: number, max: number): SettingType<number> {
  const schema = z
    .union([
      z.int(),
      z
        .string()
        .regex(/^\d{1,15}$/)
        .transform(Number),
    ])
    .refine((value) => value >= min && value <= max);
  return { schema, words: `a whole number from ${min} to ${max}`, show: String };
}

export function flag(): SettingType<boolean> {
  return {
    schema: z.union([z.boolean(), z.enum(['true', 'false']).transform((value) => value === 'true')]),
    words: 'true or false',
    show: String,
  };
}

/** Milliseconds inside. */
export function duration(min: string, max: string): SettingType<number> {
  const [minMs, maxMs] = [parseDuration(min) ?? 0, parseDuration(max) ?? Infinity];
  const schema = z
    .string()
    .transform((value) => parseDuration(value) ?? NaN)
    .refine((ms) => ms >= minMs && ms <= maxMs);
  return { schema, words: `a time from ${min} to ${max}, such as 20s or 5m`, show: formatDuration };
}

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, KiB: 1024, MiB: 1024 * 1024 };

/** Bytes inside. */
export function size(min: number, max: number): SettingType<number> {
  const parse = (value: string) => {
    const [, amount, unit] = /^(\d{1,12}) ?(KiB|MiB|)$/.exec(value) ?? [];
    return amount === undefined ? NaN : Number(amount) * (SIZE_UNITS[unit ?? ''] ?? NaN);
  };
  const schema = z.union([z.int(), z.string().transform(parse)]).refine((bytes) => bytes >= min && bytes <= max);
  return { schema, words: `a number of bytes from ${showSize(min)} to ${showSize(max)}, such as 256 KiB`, show: showSize };
}

function showSize(bytes: number): string {
  const [unit, factor] = Object.entries(SIZE_UNITS).findLast(([, step]) => bytes % step === 0 && bytes >= step) ?? ['', 1];
  return `${bytes / factor} ${unit}`.trim();
}

/** A list in YAML; in the environment separated by commas. */
export function list<T>(item: SettingType<T>, { min, max }: { min: number; max: number }): SettingType<readonly T[]> {
  const split = (value: unknown) =>
    typeof value === 'string'
      ? value
          .split(',')
          .map((part) => part.trim())
          .filter((part) => part !== '')
      : value;
  return {
    schema: z.preprocess(split, z.array(item.schema).min(min).max(max)),
    words: `a list (in the environment separated by commas), each ${item.words}`,
    show: (values) => (values.length === 0 ? '(empty)' : values.map((value) => item.show(value)).join(', ')),
  };
}

/** A mapping of text to text in YAML; in the environment as JSON. `refusal` says what is wrong with it, if anything. */
export function mapping(
  words: string,
  refusal: (value: Readonly<Record<string, string>>) => string | undefined,
): SettingType<Readonly<Record<string, string>>> {
  const schema = z.preprocess(parseJson, z.record(z.string(), z.string())).superRefine((value, context) => {
    const message = refusal(value);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });
  return { schema, words, show: (value) => JSON.stringify(value) };
}

function parseJson(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
