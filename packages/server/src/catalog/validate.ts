/** What is wrong with the files of one event type: what stops it, and what only looks like a mistake. */
import type { EventTypeFiles, EventTypeSummary } from '../domain/event-type.ts';
import { DIGEST_TYPE } from '../domain/digest.ts';
import { INLINE_TYPE, type Severity } from '../domain/event.ts';
import { nearest } from '../lib/nearest.ts';
import { DEFINITION_FILE, DIGEST_FILES, checkFiles } from './bundle.ts';
import type { KnownChannels } from './channel-rules.ts';
import { compileContent, type Content } from './content.ts';
import { NOTHING_SAID, type Definition } from './definition-fields.ts';
import { readDefinition } from './definition.ts';
import { compileRules } from './fill.ts';
import type { Scope } from './liquid.ts';
import type { Problem } from './problem.ts';

/** Without any, the type can be used. `channels` are those that this installation knows. */
export function problemsOf(type: string, files: EventTypeFiles, channels: KnownChannels): Problem[] {
  const read = readDefinition(files[DEFINITION_FILE] ?? '', channels);
  const compiled = compileContent(type, files, read.ok ? read.value : NOTHING_SAID);
  return [
    ...nameProblems(type),
    ...checkFiles(files, Object.keys(channels)),
    ...samplesOf(files).problems,
    ...(read.ok ? compileRules(read.value, DEFINITION_FILE).problems : read.problems),
    ...(compiled.ok ? [] : compiled.problems),
  ];
}

function nameProblems(type: string): Problem[] {
  const fits = type !== INLINE_TYPE && type !== DIGEST_TYPE && /^[^._\p{C}][^\p{C}]*$/u.test(type) && Buffer.byteLength(type) <= 256;
  return fits
    ? []
    : [
        {
          file: '.',
          message: `"${type}" can't be an event type: 1 to 256 bytes, no dot or underscore first, and neither inline nor digest`,
        },
      ];
}

interface Sample {
  readonly file: string;
  readonly data: Readonly<Record<string, unknown>>;
}

function samplesOf(files: EventTypeFiles): { samples: Sample[]; problems: Problem[] } {
  const samples: Sample[] = [];
  const problems: Problem[] = [];
  for (const [file, source] of Object.entries(files)) {
    if (!file.startsWith('samples/')) continue;
    try {
      const data: unknown = JSON.parse(source);
      if (typeof data !== 'object' || data === null || Array.isArray(data)) throw new Error('it must be an object: the data of an event');
      samples.push({ file, data: data as Sample['data'] });
    } catch (error) {
      problems.push({ file, message: `can't be used: ${(error as Error).message}` });
    }
  }
  return { samples, problems };
}

/** For a type without problems: variables that no event has, texts that are missing, samples that do not fit or render past a limit. */
export function mistakesOf(type: string, files: EventTypeFiles): Problem[] {
  const read = readDefinition(files[DEFINITION_FILE] ?? '', null);
  const compiled = read.ok ? compileContent(type, files, read.value) : read;
  if (!read.ok || !compiled.ok) return [];
  const { content } = compiled;
  return [
    ...unknownVariables(content, read.value),
    ...unknownInDefinition(read.value),
    ...missingTexts(content),
    ...samplesOf(files).samples.flatMap((sample) => sampleMistakes(sample, content, { type, definition: read.value })),
  ];
}

const EVENT_FIELDS = ['id', 'type', 'title', 'category', 'severity', 'tags', 'accepted_at', 'correlation_id'];
const USER_FIELDS = ['id', 'locale', 'time_zone', 'attributes'];
const ROOTS = ['data', 'event', 'user', 'subject', 'body', 'action_url', 'product_name', 'base_url'];

/** A digest is about several events. */
const DIGEST_ROOTS = ['items', 'count', 'event', 'user', 'subject', 'body', 'product_name', 'base_url'];
const DIGEST_EVENT_FIELDS = ['type', 'title', 'category'];

function unknownVariables(content: Content, definition: Definition): Problem[] {
  return [...content.templates].flatMap(([file, { variables }]) => {
    const inDigest = DIGEST_FILES.some((name) => name === file);
    const unknown = inDigest ? unknownInDigest : (variable: readonly string[]) => unknownVariable(variable, definition);
    return variables.flatMap((variable) => unknown(variable.split('.')).map((message) => ({ file, message })));
  });
}

function unknownInDigest([root = '', field]: readonly string[]): string[] {
  if (!DIGEST_ROOTS.includes(root)) return [`${root} is not known of a digest; there are ${DIGEST_ROOTS.join(', ')}`];
  const known: Readonly<Record<string, readonly string[]>> = { event: DIGEST_EVENT_FIELDS, user: USER_FIELDS };
  const fields = known[root];
  return fields && field !== undefined && !fields.includes(field) ? [`${root}.${field} is not known; there are ${fields.join(', ')}`] : [];
}

function unknownInDefinition(definition: Definition): Problem[] {
  const { rules } = compileRules(definition, DEFINITION_FILE);
  const topics = rules.recipients.flatMap((source) => (typeof source === 'object' && 'topic' in source ? [source.topic] : []));
  const { tags, actionUrl, digestKey } = rules;
  const variables = [...tags, ...topics, actionUrl, digestKey].flatMap((template) => template?.variables ?? []);
  return variables.flatMap((variable) =>
    unknownVariable(variable.split('.'), definition).map((message) => ({ file: DEFINITION_FILE, message })),
  );
}

function unknownVariable([root = '', ...rest]: readonly string[], { data }: Definition): string[] {
  const known: Readonly<Record<string, readonly string[]>> = { event: EVENT_FIELDS, user: USER_FIELDS };
  if (!ROOTS.includes(root)) return [`${root} is not known; the nearest known variable is ${nearest(root, ROOTS) ?? 'data'}`];
  const [field] = rest;
  const fields = known[root];
  if (fields && field !== undefined && !fields.includes(field)) return [`${root}.${field} is not known; there are ${fields.join(', ')}`];
  return root === 'data' && data ? unknownData(rest, data, 'data') : [];
}

/** Only what the schema says for certain: an object that lists its properties has those. */
function unknownData([field, ...rest]: readonly string[], schema: Readonly<Record<string, unknown>>, above: string): string[] {
  const { properties, items } = schema;
  if (field === undefined || field === 'size') return [];
  if (isObject(items) && /^(?:\*|-?\d+|first|last)$/.test(field)) return unknownData(rest, items, `${above}.${field}`);
  if (!isObject(properties) || ['$ref', 'allOf', 'anyOf', 'oneOf', 'if', 'patternProperties'].some((key) => key in schema)) return [];
  const property = properties[field];
  if (property === undefined) return [`${above}.${field} is not in the data's schema; there are ${Object.keys(properties).join(', ')}`];
  return isObject(property) ? unknownData(rest, property, `${above}.${field}`) : [];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function missingTexts({ templates, locales }: Content): Problem[] {
  const keys = new Set([...templates.values()].flatMap((template) => template.keys));
  const names = locales.has('default') || keys.size === 0 ? [...locales.keys()] : ['default', ...locales.keys()];
  return names.flatMap((name) => {
    const texts = locales.get(name) ?? {};
    const parent = name.includes('-') ? (locales.get(name.slice(0, name.lastIndexOf('-'))) ?? {}) : {};
    const missing = [...keys].filter((key) => !Object.hasOwn(texts, key) && !Object.hasOwn(parent, key));
    return missing.map((key) => ({ file: `locales/${name}.json`, message: `has no text for ${key}` }));
  });
}

function sampleMistakes(
  { file, data }: Sample,
  content: Content,
  { type, definition }: { type: string; definition: Definition },
): Problem[] {
  const checked = content.check(data);
  const misfits = checked.errors.map(({ pointer, detail }) => ({ file, message: `${pointer || 'it'} does not fit the schema: ${detail}` }));
  const scope = sampleScope(type, definition, checked.data);
  const text = content.notification(scope);
  const warnings = text.warnings.map((warning) => ({ file, message: warning }));
  if (!text.ok) return [...misfits, ...warnings, { file, message: text.detail }];
  const filled = { ...scope, values: { ...scope.values, ...text.value } };
  return [
    ...misfits,
    ...warnings,
    ...past(text.value.subject.length, LIMITS.subject, 'subject.liquid'),
    ...channelMistakes(file, content, filled),
    ...digestMistakes(file, content, filled),
  ];
}

/** Two of the sample in one message. */
function digestMistakes(sample: string, content: Content, { values, ...scope }: Scope): Problem[] {
  if (!DIGEST_FILES.some((name) => content.templates.has(name))) return [];
  const { event, data, action_url, subject, body, ...rest } = values;
  const item = { ...(event as object), subject, body, action_url, data, at: '2030-01-31T12:00:00.000Z' };
  const collected = { ...scope, values: { ...rest, event, subject, body, items: [item, item], count: 2 }, digest: true };
  const made = [content.notification(collected), content.channel('email', collected)];
  const said = made.flatMap((part) => [...(part?.warnings ?? []), ...(part?.ok === false ? [part.detail] : [])]);
  return said.map((message) => ({ file: sample, message }));
}

/** What the far ends take: beyond it they refuse or cut. */
const LIMITS = { subject: 255, mailKb: 102, slackBlocks: 50, slackSection: 3_000, slackTotal: 13_000, teamsKb: 28 } as const;

function channelMistakes(sample: string, content: Content, scope: Scope): Problem[] {
  const channels = ['email', ...[...content.templates.keys()].flatMap((name) => /^([a-z_]+)\.json\.liquid$/.exec(name)?.[1] ?? [])];
  return channels.flatMap((name) => {
    const made = content.channel(name, scope);
    if (!made) return [];
    const warnings = made.warnings.map((warning) => ({ file: sample, message: warning }));
    if (!made.ok) return [...warnings, { file: sample, message: made.detail }];
    const { html, payload } = made.value;
    if (name === 'email')
      return [
        ...warnings,
        ...past(Math.ceil((html?.length ?? 0) / 1_024), LIMITS.mailKb, 'email.html.liquid', 'KiB, where mail programs cut'),
      ];
    return [...warnings, ...payloadMistakes(name, payload)];
  });
}

function payloadMistakes(channel: string, payload: unknown): Problem[] {
  const file = `${channel}.json.liquid`;
  const text = JSON.stringify(payload);
  if (channel === 'teams') return past(Math.ceil(Buffer.byteLength(text) / 1_024), LIMITS.teamsKb, file, 'KiB');
  if (channel !== 'slack' || !isObject(payload)) return [];
  const blocks: unknown[] = Array.isArray(payload['blocks']) ? payload['blocks'] : [];
  const sections = blocks.map((block) => (isObject(block) && isObject(block['text']) ? String(block['text']['text']).length : 0));
  return [
    ...past(blocks.length, LIMITS.slackBlocks, file, 'blocks'),
    ...past(Math.max(0, ...sections), LIMITS.slackSection, file, 'characters in a section'),
    ...past(text.length, LIMITS.slackTotal, file, 'characters in all'),
  ];
}

function past(size: number, limit: number, file: string, unit = 'characters'): Problem[] {
  return size > limit ? [{ file, message: `makes ${size} ${unit}; the limit is ${limit}` }] : [];
}

function sampleScope(type: string, definition: Definition, data: Sample['data']): Scope {
  const severity: Severity = definition.severity;
  const event = {
    id: 'evt_sample',
    type,
    title: definition.title,
    category: definition.category,
    severity,
    tags: [],
    accepted_at: '2030-01-31T12:00:00.000Z',
    correlation_id: 'sample',
  };
  const user = { id: 'sample', locale: 'en', time_zone: 'UTC', attributes: {} };
  const rest = { action_url: 'https://example.org/', product_name: 'Carillon', base_url: 'https://example.org' };
  return { values: { data, event, user, subject: '', body: '', ...rest }, locale: null, baseUrl: 'https://example.org' };
}

/** Of a type without problems. */
export function summaryIn(files: EventTypeFiles): EventTypeSummary {
  const read = readDefinition(files[DEFINITION_FILE] ?? '', null);
  if (!read.ok) throw new Error('a type with problems has no summary');
  const { title, category, severity, critical, channels } = read.value;
  return { title: title ?? null, category: category ?? null, severity, critical, channels: Object.keys(channels ?? {}) };
}
