/**
 * Liquid with what can be bounded and nothing else: listed tags and filters, no files, no prototypes, limits on time, memory
 * and output, every value escaped for where it is shown, and a missing value empty with a warning. Nothing here throws when
 * it renders: what went wrong is a value.
 */
import {
  Context,
  Liquid,
  Output,
  Tag,
  toValueSync,
  TypeGuards,
  type Emitter,
  type TagToken,
  type Template,
  type TopLevelToken,
} from 'liquidjs';
import { describeError } from '../lib/describe-error.ts';
import { absoluteLink, isLink } from '../lib/link.ts';
import { addressOrNone, addressPlace, type AddressPlace } from './address.ts';
import { escapeFor, insideJson, type Target } from './escape.ts';

export const TAGS = ['assign', 'if', 'unless', 'case', 'for', 'break', 'continue', 'comment', '#'];
/** What can blow a text up (`replace` in a chain) is bounded by `memoryLimit`; whatever takes an expression is not here. */
export const FILTERS = [
  ...['append', 'prepend', 'capitalize', 'downcase', 'upcase', 'strip', 'lstrip', 'rstrip', 'strip_newlines', 'squish', 'truncate'],
  ...['truncatewords', 'replace', 'replace_first', 'replace_last', 'remove', 'remove_first', 'remove_last', 'split', 'join', 'first'],
  ...['last', 'size', 'reverse', 'sort', 'sort_natural', 'uniq', 'compact', 'map', 'where', 'reject', 'find', 'has', 'concat', 'slice'],
  ...['sum', 'abs', 'ceil', 'floor', 'round', 'plus', 'minus', 'times', 'divided_by', 'modulo', 'at_least', 'at_most', 'default'],
  ...['date', 'date_to_xmlschema', 'url_encode', 'number_of_words', 'array_to_sentence_string'],
];
/** Each takes a time that grows with its text and no more, and none makes it longer than a few times. */
export const SIMPLE_FILTERS = ['default', 'downcase', 'upcase', 'capitalize', 'strip', 'truncate', 'first', 'last', 'size', 'date'];

const MAX_TEMPLATE = 256 * 1024;
const MAX_OUTPUT = 256 * 1024;
const MAX_MEMORY = 4_000_000;
const MAX_RENDER_MS = 500;
const MAX_PARTIAL_DEPTH = 8;
const MAX_WARNINGS = 20;
const MAX_NAME = 80;

export interface EngineOptions {
  readonly target: Target;
  /** The values stand inside JSON strings of the template. */
  readonly json?: boolean;
  /** By name. */
  readonly partials?: ReadonlyMap<string, string>;
  /** By locale, each by key; `default` last. */
  readonly locales?: ReadonlyMap<string, Readonly<Record<string, string>>>;
  /** What a value goes through, instead of the target's escaping. */
  readonly write?: (text: string) => string;
  /** Outputs and a few filters only: for the short texts of `event.yaml`. */
  readonly simple?: boolean;
}

export interface Scope {
  readonly values: Readonly<Record<string, unknown>>;
  readonly locale: string | null;
  /** Of the tenant; paths are prefixed with it. */
  readonly baseUrl: string | null;
  /** For `{% content %}` of a layout: already rendered. */
  readonly content?: string;
  /** Of a digest: `items` are among the values. */
  readonly digest?: boolean;
}

export type Rendered<T> =
  | { readonly ok: true; readonly value: T; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly detail: string; readonly warnings: readonly string[] };

export interface CompiledTemplate {
  readonly render: (scope: Scope) => Rendered<string>;
  /** Paths that it reads, such as `data.items[0].name`. */
  readonly variables: readonly string[];
  /** Keys of texts that it looks up in the locales. */
  readonly keys: readonly string[];
}

export type Compile = (name: string, source: string) => CompiledTemplate;

/** Throws, with the line in the message, for what is not a template. */
export function makeEngine(options: EngineOptions): Compile {
  const liquid = new Liquid({
    ownPropertyOnly: true,
    strictFilters: true,
    timezoneOffset: 0,
    templates: {},
    parseLimit: MAX_TEMPLATE,
    renderLimit: MAX_RENDER_MS,
    memoryLimit: MAX_MEMORY,
    outputEscape: (value: unknown) => write(value, options),
  });
  keepOnly(liquid.filters, options.simple ? SIMPLE_FILTERS : FILTERS);
  keepOnly(liquid.tags, options.simple ? [] : TAGS);
  if (!options.simple) {
    registerFilters(liquid, options);
    registerTags(liquid, options.partials ?? new Map());
  }
  const naming: Naming = { options, named: new WeakSet() };
  return (name, source) => compile(liquid, naming, { name, source });
}

function keepOnly(table: Record<string, unknown>, names: readonly string[]): void {
  for (const name of Object.keys(table)) if (!names.includes(name)) Reflect.deleteProperty(table, name);
}

function compile(liquid: Liquid, naming: Naming, { name, source }: { name: string; source: string }): CompiledTemplate {
  const templates = liquid.parse(source, name);
  const keys = nameOutputs(templates, naming);
  return { render: (scope) => render(liquid, templates, scope, name), variables: variablesOf(liquid, templates), keys };
}

function variablesOf(liquid: Liquid, templates: Template[]): string[] {
  const all = liquid.globalVariableSegmentsSync(templates);
  return [...new Set(all.map((segments) => segments.map((one) => (typeof one === 'object' ? '*' : String(one))).join('.')))];
}

const MISSING = 'missing';

function render(liquid: Liquid, templates: Template[], scope: Scope, name: string): Rendered<string> {
  const values = Object.assign(Object.create(null), scope.values) as Record<string, unknown>;
  const context = new Context(values, liquid.options, { sync: true }, { liquid });
  const missing = new Set<string>();
  context.setRegister(MISSING, missing);
  context.setRegister('scope', scope);
  const warnings = () => [...missing].slice(0, MAX_WARNINGS).map((what) => `${name}: ${what} has no value`);
  const emitter = boundedEmitter();
  try {
    toValueSync(liquid.renderer.renderTemplates(templates, context, emitter));
    return { ok: true, value: emitter.buffer, warnings: warnings() };
  } catch (error) {
    return { ok: false, detail: `${name}: ${describeError(error).slice(0, 300)}`, warnings: warnings() };
  }
}

function boundedEmitter(): Emitter {
  return {
    buffer: '',
    write(part: unknown) {
      this.buffer += plain(part);
      if (this.buffer.length > MAX_OUTPUT) throw new Error(`the text is longer than ${MAX_OUTPUT / 1024} KiB`);
    },
  };
}

function write(value: unknown, { target, json, write: own }: EngineOptions): string {
  const escaped = own ? own(plain(value)) : escapeFor(target, plain(value));
  return json ? insideJson(escaped) : escaped;
}

function plain(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') return String(value);
  return Array.isArray(value) ? value.map(plain).join('') : JSON.stringify(value);
}

/** The way out of an output, as the library keeps it. */
interface Way {
  handler: (this: { context: Context }, value: unknown) => string;
  readonly raw: boolean;
}

interface Naming {
  readonly options: EngineOptions;
  /** A partial may be in several places, and is named in the first. */
  readonly named: WeakSet<Template>;
}

/** Gives every output its own way out, which knows what it is called when it has no value. Returns the keys of `t`. */
function nameOutputs(templates: readonly Template[], naming: Naming, above = ''): string[] {
  const keys: string[] = [];
  let before = above;
  for (const template of templates) {
    if (naming.named.has(template)) continue;
    naming.named.add(template);
    const children = childrenOf(template);
    keys.push(...nameOutputs(children, naming, before));
    if (template instanceof Output) keys.push(...nameOutput(template, addressPlace(before, naming.options)));
    if (TypeGuards.isHTMLToken(template.token)) before = template.token.getContent();
    else if (template instanceof Output || children.length > 0) before = '';
  }
  return keys;
}

function nameOutput({ value: { filters }, token }: Output, address: AddressPlace): string[] {
  const way = filters.at(-1) as unknown as Way;
  const { handler } = way;
  const text = token.getText();
  const name = nameIn(text);
  way.handler = function (given) {
    const value = address === undefined ? given : addressOrNone(given);
    if (value === undefined || value === null) this.context.getRegister(MISSING, new Set<string>()).add(name);
    return address === 'field' ? insideJson(plain(value)) : handler.call(this, value);
  };
  const key = /^\{\{-?\s*["']([^"']+)["']\s*\|\s*t\b/.exec(text)?.[1];
  return key === undefined ? [] : [key];
}

function childrenOf(template: Template): Template[] {
  const children = template.children?.(true, true);
  return children ? toValueSync<Template[]>(children) : [];
}

function nameIn(text: string): string {
  return text
    .replace(/^\{\{-?|-?\}\}$/g, '')
    .trim()
    .slice(0, MAX_NAME);
}

function scopeOf(context: Context): Scope {
  return context.getRegister<Scope>('scope');
}

function registerFilters(liquid: Liquid, { target, json, locales }: EngineOptions): void {
  liquid.registerFilter('t', function (key: unknown, ...values: [string, unknown][]) {
    const found = lookUp(locales ?? new Map(), scopeOf(this.context).locale, String(key));
    const given = new Map(values);
    return found?.replace(/\{(\w+)\}/g, (whole, name: string) => (given.has(name) ? plain(given.get(name)) : whole));
  });
  liquid.registerFilter('link', function (value: unknown) {
    if (typeof value !== 'string' || !isLink(value)) return undefined;
    return absoluteLink(value, scopeOf(this.context).baseUrl);
  });
  if (target === 'html' && !json) {
    liquid.registerFilter('newline_to_br', {
      raw: true,
      handler: (value: unknown) => escapeFor('html', plain(value)).replace(/\r\n?|\n/g, '<br>\n'),
    });
  }
}

/** `pt-BR`, then `pt`, then the default: the first that has the key. */
function lookUp(locales: ReadonlyMap<string, Readonly<Record<string, string>>>, locale: string | null, key: string): string | undefined {
  for (const name of localeChain(locale)) {
    const texts = locales.get(name);
    if (texts && Object.hasOwn(texts, key)) return texts[key];
  }
  return undefined;
}

function localeChain(locale: string | null): string[] {
  const parts = (locale ?? '')
    .toLowerCase()
    .split('-')
    .filter((part) => part !== '');
  return [...parts.map((_, at) => parts.slice(0, parts.length - at).join('-')), 'default'];
}

/** `{% partial "name" %}` and, for layouts, `{% content %}`. Both are read when the template is, so that none can include itself. */
function registerTags(liquid: Liquid, partials: ReadonlyMap<string, string>): void {
  const open: string[] = [];
  const parsed = new Map<string, Template[]>();
  const parsePartial = (name: string): Template[] => {
    const known = parsed.get(name);
    if (known) return known;
    const source = partials.get(name);
    if (source === undefined) throw new Error(`there is no _partials/${name}.liquid`);
    if (open.includes(name)) throw new Error(`the partial ${name} includes itself`);
    if (open.length >= MAX_PARTIAL_DEPTH) throw new Error(`more than ${MAX_PARTIAL_DEPTH} partials inside one another`);
    open.push(name);
    try {
      const templates = liquid.parse(source, `_partials/${name}.liquid`);
      parsed.set(name, templates);
      return templates;
    } finally {
      open.pop();
    }
  };

  class Partial extends Tag {
    readonly templates: Template[];
    constructor(token: TagToken, rest: TopLevelToken[], owner: Liquid) {
      super(token, rest, owner);
      const name = /^\s*(?:"([\w-]{1,64})"|'([\w-]{1,64})')\s*$/.exec(token.args);
      if (!name) throw new Error('write {% partial "name" %}, with the name of a file in _partials');
      this.templates = parsePartial(name[1] ?? name[2] ?? '');
    }
    *render(context: Context, emitter: Emitter): Generator<unknown, void> {
      yield this.liquid.renderer.renderTemplates(this.templates, context, emitter);
    }
    *children(): Generator<unknown, Template[]> {
      yield undefined;
      return this.templates;
    }
  }
  class Content extends Tag {
    render(context: Context, emitter: Emitter): void {
      emitter.write(scopeOf(context).content ?? '');
    }
  }
  liquid.registerTag('partial', Partial);
  liquid.registerTag('content', Content);
}
