/** What a type says of an event that is being accepted: whom it concerns, where, how heavily, under which tags. Pure. */
import type { Asked, Filled } from '../domain/event-type.ts';
import { CarillonError } from '../domain/error.ts';
import type { RecipientRule, TypeDigest } from '../domain/event.ts';
import type { ChannelName } from '../domain/channel.ts';
import { isLink } from '../lib/link.ts';
import type { Checked } from './data-schema.ts';
import type { Definition, RecipientSource } from './definition-fields.ts';
import { insideUrl } from './escape.ts';
import { makeEngine, type CompiledTemplate, type Scope } from './liquid.ts';
import type { Problem } from './problem.ts';
import { valuesAt } from './json-path.ts';

const MAX_RECIPIENTS = 1_000;
const MAX_ID_BYTES = 256;
const MAX_TAG_BYTES = 128;
const MAX_KEY = 256;
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;

/** Whom `recipients: [default]` means where the tenant does not say: those who answer for the account. */
const DEFAULT_RECIPIENTS: readonly RecipientRule[] = [{ role: 'owner' }, { role: 'admin' }, { role: 'team_admin' }];

type Source = Exclude<RecipientSource, { readonly topic: string }> | { readonly topic: CompiledTemplate };

/** The short texts of a definition, compiled. */
export interface Rules {
  readonly definition: Definition;
  readonly recipients: readonly Source[];
  readonly tags: readonly CompiledTemplate[];
  readonly actionUrl: CompiledTemplate | undefined;
  readonly delays: Filled['delays'];
  readonly digestKey: CompiledTemplate | undefined;
}

const plain = makeEngine({ target: 'plain', simple: true });
const address = makeEngine({ target: 'plain', simple: true, write: insideUrl });

export function compileRules(definition: Definition, file: string): { rules: Rules; problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const attempt = (name: string, compile: () => CompiledTemplate) => {
    try {
      return compile();
    } catch (error) {
      problems.push({ file, message: `${name} ${(error as Error).message.split('\n', 1)[0] ?? ''}` });
      return undefined;
    }
  };
  const tags = definition.tags.flatMap((tag, at) => attempt(`tags.${at}`, () => plain(tag, tag)) ?? []);
  const recipients = definition.recipients.flatMap((source, at): Source[] => {
    if (typeof source === 'string' || !('topic' in source)) return [source];
    const topic = attempt(`recipients.${at}.topic`, () => plain(`recipients.${at}.topic`, source.topic));
    return topic ? [{ topic }] : [];
  });
  const url = definition.action_url;
  // A value that is the whole address, or begins it, is taken as it is; one further on can't leave its place.
  const engine = url?.startsWith('{{') ? plain : address;
  const actionUrl = url === undefined ? undefined : attempt('action_url', () => engine('action_url', url));
  const key = definition.digest?.key;
  const digestKey = key === undefined ? undefined : attempt('digest.key', () => plain('digest.key', key));
  return { rules: { definition, recipients, tags, actionUrl, digestKey, delays: delaysOf(definition) }, problems };
}

/** Throws `invalid` where the data does not fit and the type is strict, or tags are required and none are given. */
export function fill(
  rules: Rules,
  asked: Asked,
  { version, type, checked }: { version: string; type: string; checked: Checked },
): Omit<Filled, 'tenantTemplates'> {
  const { definition } = rules;
  const { data, errors } = checked;
  if (errors.length > 0 && !definition.lenient) throw misfit(type, errors);
  if (definition.tags_required) requireTags(type, asked);
  const severity = asked.severity ?? definition.severity;
  const scope: Scope = { values: { data, event: { type, severity } }, locale: null, baseUrl: null };
  const warnings = errors.map(({ pointer, detail }) => `data${pointer}: ${detail}`);
  return {
    version,
    data,
    to: asked.to.length > 0 ? asked.to : recipientsOf(rules, { scope, ...asked }, warnings),
    exclude: excludedBy(definition, data),
    severity,
    tags: asked.tags ?? tagsOf(rules, scope, warnings),
    channels: asked.channels ?? channelsOf(definition, severity),
    critical: definition.critical,
    category: definition.category,
    expiresAfterMs: definition.expires_after ?? null,
    throttle: throttleOf(definition),
    digest: digestOf(rules, scope, warnings),
    destinations: definition.destinations,
    delays: rules.delays,
    actionUrl: asked.actionUrl ?? linkOf(rules, scope, warnings),
    warnings,
  };
}

/** A key that misses a value would name something else: the type then goes together by itself. */
function digestOf({ definition, digestKey }: Rules, scope: Scope, warnings: string[]): TypeDigest | undefined {
  if (!definition.digest) return undefined;
  const { every, cron, only_if } = definition.digest;
  const key = digestKey && whole(digestKey, scope, warnings);
  return { key: key?.trim().slice(0, MAX_KEY), every_ms: every, cron, only_if };
}

function requireTags(type: string, { tags = [] }: Asked): void {
  if (tags.length > 0) return;
  const detail = `Events of the type ${type} carry tags.`;
  throw new CarillonError('invalid', detail, { errors: [{ pointer: '/tags', code: 'required', detail }] });
}

/** Nobody to exclude is nothing to warn of. */
function excludedBy({ exclude }: Definition, data: Filled['data']): string[] {
  return [...new Set(exclude.flatMap((rule) => ('path' in rule ? idsAt(rule, data, []) : rule.users)))];
}

function misfit(type: string, errors: Checked['errors']): CarillonError {
  return new CarillonError('invalid', `The data does not fit the type ${type}.`, {
    errors: errors.map(({ pointer, code, detail }) => ({ pointer: `/data${pointer}`, code, detail })),
  });
}

/** A tag that misses a value would name something else: it is left out. */
function tagsOf({ tags }: Rules, scope: Scope, warnings: string[]): string[] {
  const made = tags.flatMap((tag) => {
    const text = whole(tag, scope, warnings)?.trim();
    if (text === undefined) return [];
    const fits = text !== '' && Buffer.byteLength(text) <= MAX_TAG_BYTES && !UNPRINTABLE.test(text);
    if (!fits) warnings.push(`tags: ${JSON.stringify(text.slice(0, 40))} is no tag`);
    return fits ? [text] : [];
  });
  return [...new Set(made)];
}

/** A link that misses a value leads somewhere else: it is left out. */
function linkOf({ actionUrl }: Rules, scope: Scope, warnings: string[]): string | undefined {
  const text = actionUrl && whole(actionUrl, scope, warnings)?.trim();
  if (text === undefined || isLink(text)) return text;
  warnings.push('action_url: what it makes is no link');
  return undefined;
}

/** Undefined when a value is missing. */
function whole(template: CompiledTemplate, scope: Scope, warnings: string[]): string | undefined {
  const made = template.render(scope);
  warnings.push(...made.warnings, ...(made.ok ? [] : [made.detail]));
  return made.ok && made.warnings.length === 0 ? made.value : undefined;
}

interface Known {
  readonly scope: Scope;
  readonly defaults?: Asked['defaults'];
}

function recipientsOf({ recipients }: Rules, known: Known, warnings: string[]): RecipientRule[] {
  const rules = recipients.flatMap((source) => rulesOf(source, known, warnings));
  if (rules.length <= MAX_RECIPIENTS) return rules;
  const detail = `The data names more than ${MAX_RECIPIENTS} recipients.`;
  throw new CarillonError('invalid', detail, { errors: [{ pointer: '/data', code: 'too_big', detail }] });
}

function rulesOf(source: Source, { scope, defaults = DEFAULT_RECIPIENTS }: Known, warnings: string[]): readonly RecipientRule[] {
  if (source === 'default') return defaults;
  if ('rules' in source) return source.rules;
  if ('path' in source) return idsAt(source, scope.values['data'] as Filled['data'], warnings);
  const topic = whole(source.topic, scope, warnings)?.trim();
  if (topic === undefined) return [];
  if (isId(topic)) return [{ topic }];
  warnings.push(`recipients: ${JSON.stringify(topic.slice(0, 40))} is no topic`);
  return [];
}

function throttleOf({ throttle }: Definition): Filled['throttle'] {
  if (!throttle) return undefined;
  const per = throttle.per.filter((one) => one !== 'user');
  const limit = { max_per_window: throttle.limit, window_seconds: Math.round(throttle.window / 1_000), per };
  return throttle.over === 'digest' ? { ...limit, over: 'digest' } : limit;
}

function idsAt({ path, text }: Extract<Source, { path: unknown }>, data: Filled['data'], warnings: string[]): string[] {
  const values = valuesAt(path, data).flat();
  const ids = values
    .map((value) => (typeof value === 'number' ? String(value) : value))
    .filter((value): value is string => typeof value === 'string' && isId(value));
  if (values.length === 0) warnings.push(`recipients: ${text} names nobody`);
  if (ids.length < values.length) warnings.push(`recipients: ${text} names what is no user id`);
  return ids;
}

function isId(value: string): boolean {
  return value !== '' && Buffer.byteLength(value) <= MAX_ID_BYTES && !UNPRINTABLE.test(value);
}

function channelsOf({ channels }: Definition, severity: Filled['severity']): ChannelName[] | undefined {
  if (!channels) return undefined;
  const wanted = Object.entries(channels).filter(([, when]) => when?.severities?.includes(severity) ?? true);
  return wanted.map(([name]) => name);
}

function delaysOf({ channels = {} }: Definition): Filled['delays'] {
  const delayed = Object.entries(channels).flatMap(([name, when]) =>
    when?.delay === undefined ? [] : [[name, { ms: when.delay, only_if: when.only_if }] as const],
  );
  return delayed.length > 0 ? Object.fromEntries(delayed) : undefined;
}
