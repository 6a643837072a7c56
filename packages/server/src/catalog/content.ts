/**
 * One version, ready to use: its data schema and its templates. The same code serves the operator's files in this thread and
 * tenants' own in a worker.
 */
import type { EventTypeFiles } from '../domain/event-type.ts';
import { describeError } from '../lib/describe-error.ts';
import { htmlToText } from '../lib/html-text.ts';
import { CONTENT_FILES, DEFINITION_FILE, DIGEST_FILES, payloadFile } from './bundle.ts';
import { compileSchema, type CheckData } from './data-schema.ts';
import type { Definition } from './definition-fields.ts';
import type { Target } from './escape.ts';
import { makeEngine, type CompiledTemplate, type Rendered, type Scope } from './liquid.ts';
import type { Problem } from './problem.ts';

/** What the inbox shows, and what channels without a template of their own say. */
export interface NotificationText {
  readonly subject: string;
  readonly body: string;
}

/** What a template made for a channel. A part without a template is undefined. */
export interface ChannelContent {
  readonly html: string | undefined;
  readonly text: string | undefined;
  /** The JSON that the channel's provider takes. */
  readonly payload: unknown;
}

export interface Content {
  readonly check: CheckData;
  readonly notification: (scope: Scope) => Rendered<NotificationText>;
  /** Undefined: nothing is written for this channel. */
  readonly channel: (name: string, scope: Scope) => Rendered<ChannelContent> | undefined;
  readonly templates: ReadonlyMap<string, CompiledTemplate>;
  readonly locales: ReadonlyMap<string, Readonly<Record<string, string>>>;
}

export type Compiled = { readonly ok: true; readonly content: Content } | { readonly ok: false; readonly problems: readonly Problem[] };

const PAYLOAD_TARGETS: Readonly<Record<string, Target>> = { slack: 'slack', teams: 'markdown', discord: 'markdown', telegram: 'html' };
const MAX_SUBJECT = 500;

/** `definition` is what the type's own `event.yaml` says. Never throws: all problems are listed. */
export function compileContent(type: string, files: EventTypeFiles, definition: Definition): Compiled {
  const problems: Problem[] = [];
  const check = attempt(problems, DEFINITION_FILE, 'data', () => compileSchema(definition.data));
  const locales = localesOf(files, problems);
  const templates = templatesOf(files, locales, problems);
  const layout = definition.layout ?? 'default';
  if (definition.layout !== undefined && files[`_layouts/${layout}.html.liquid`] === undefined)
    problems.push({ file: DEFINITION_FILE, message: `layout names _layouts/${layout}.html.liquid, which is not there` });
  if (problems.length > 0 || !check) return { ok: false, problems };
  const content: Content = {
    check,
    notification: (scope) =>
      scope.digest ? renderDigest(templates, scope) : renderNotification(templates, scope, { type, title: definition.title }),
    channel: (name, scope) => renderChannel(templates, scope, { name, layout }),
    templates,
    locales,
  };
  return { ok: true, content };
}

function attempt<T>(problems: Problem[], file: string, what: string, work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    const message = error instanceof Error ? error.message : describeError(error);
    const line = /line:(\d+)/.exec(message)?.[1];
    problems.push({
      file,
      line: line === undefined ? undefined : Number(line),
      message: `${what} ${message.split('\n', 1)[0] ?? ''}`.trim(),
    });
    return undefined;
  }
}

function localesOf(files: EventTypeFiles, problems: Problem[]): Map<string, Readonly<Record<string, string>>> {
  const locales = new Map<string, Readonly<Record<string, string>>>();
  for (const [file, source] of Object.entries(files)) {
    const name = /^locales\/(.+)\.json$/.exec(file)?.[1];
    if (name === undefined) continue;
    const texts = attempt(problems, file, '', () => JSON.parse(source) as unknown);
    if (isTexts(texts)) locales.set(name.toLowerCase(), texts);
    else if (texts !== undefined) problems.push({ file, message: 'must map keys to texts: { "greeting": "Hello {name}" }' });
  }
  return locales;
}

function isTexts(value: unknown): value is Record<string, string> {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every((text) => typeof text === 'string')
  );
}

function templatesOf(
  files: EventTypeFiles,
  locales: ReadonlyMap<string, Readonly<Record<string, string>>>,
  problems: Problem[],
): Map<string, CompiledTemplate> {
  const partials = new Map(
    Object.entries(files).flatMap(([name, source]) => {
      const partial = /^_partials\/(.+)\.liquid$/.exec(name)?.[1];
      return partial === undefined ? [] : [[partial, source] as const];
    }),
  );
  const templates = new Map<string, CompiledTemplate>();
  for (const [file, source] of Object.entries(files)) {
    if (!file.endsWith('.liquid') || file.startsWith('_partials/')) continue;
    const compile = makeEngine({ ...targetOf(file), partials, locales });
    const template = attempt(problems, file, '', () => compile(file, source));
    if (template) templates.set(file, template);
  }
  return templates;
}

function targetOf(file: string): { target: Target; json: boolean } {
  if (file.endsWith('.html.liquid')) return { target: 'html', json: false };
  const channel = /^([a-z_]+)\.json\.liquid$/.exec(file)?.[1];
  return channel === undefined ? { target: 'plain', json: false } : { target: PAYLOAD_TARGETS[channel] ?? 'plain', json: true };
}

type Templates = ReadonlyMap<string, CompiledTemplate>;
const [SUBJECT, IN_APP, EMAIL_HTML, EMAIL_TEXT] = CONTENT_FILES;
const [DIGEST_SUBJECT, DIGEST_BODY, DIGEST_HTML, DIGEST_TEXT] = DIGEST_FILES;

function renderNotification(
  templates: Templates,
  scope: Scope,
  { type, title }: { type: string; title: string | undefined },
): Rendered<NotificationText> {
  const subject = templates.get(SUBJECT)?.render(scope) ?? given(title ?? `Notification: ${type}`);
  const body = templates.get(IN_APP)?.render(scope) ?? given(templates.has(SUBJECT) || title !== undefined ? '' : `Event: ${type}`);
  return together(subject, body);
}

/** What has no template stays as it is without any. */
function renderDigest(templates: Templates, scope: Scope): Rendered<NotificationText> {
  const { subject, body } = scope.values;
  return together(
    templates.get(DIGEST_SUBJECT)?.render(scope) ?? given(String(subject)),
    templates.get(DIGEST_BODY)?.render(scope) ?? given(String(body)),
  );
}

function together(subject: Rendered<string>, body: Rendered<string>): Rendered<NotificationText> {
  const warnings = [...subject.warnings, ...body.warnings];
  if (!subject.ok) return { ...subject, warnings };
  if (!body.ok) return { ...body, warnings };
  const plainBody = body.value.replaceAll('\0', '').trim(); // the database takes no NUL
  return { ok: true, value: { subject: oneLine(subject.value), body: plainBody }, warnings };
}

function given(value: string): Rendered<string> {
  return { ok: true, value, warnings: [] };
}

/** Line breaks would end a mail's header. */
function oneLine(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, ' ')
    .trim()
    .slice(0, MAX_SUBJECT);
}

function renderChannel(
  templates: Templates,
  scope: Scope,
  { name, layout }: { name: string; layout: string },
): Rendered<ChannelContent> | undefined {
  if (name === 'email') return renderEmail(templates, scope, layout);
  return scope.digest ? undefined : renderPayload(templates, scope, name);
}

function renderEmail(templates: Templates, scope: Scope, layout: string): Rendered<ChannelContent> | undefined {
  const render = (file: string, kind: string) =>
    within(templates.get(`_layouts/${layout}.${kind}.liquid`), templates.get(file)?.render(scope), scope);
  const html = render(scope.digest ? DIGEST_HTML : EMAIL_HTML, 'html');
  const text = render(scope.digest ? DIGEST_TEXT : EMAIL_TEXT, 'txt');
  if (!html && !text) return undefined;
  const warnings = [html, text].flatMap((part) => part?.warnings ?? []);
  const failed = [html, text].find((part) => part?.ok === false);
  if (failed?.ok === false) return { ...failed, warnings };
  return { ok: true, value: { html: valueOf(html), text: valueOf(text) ?? twinOf(valueOf(html)), payload: undefined }, warnings };
}

function valueOf(made: Rendered<string> | undefined): string | undefined {
  return made?.ok ? made.value : undefined;
}

/** Made here, where a deadline holds for it too. */
function twinOf(html: string | undefined): string | undefined {
  return html === undefined ? undefined : `${htmlToText(html).trim()}\n`;
}

function within(layout: CompiledTemplate | undefined, inner: Rendered<string> | undefined, scope: Scope): Rendered<string> | undefined {
  if (!layout || !inner?.ok) return inner;
  const outer = layout.render({ ...scope, content: inner.value });
  return { ...outer, warnings: [...inner.warnings, ...outer.warnings] };
}

function renderPayload(templates: Templates, scope: Scope, channel: string): Rendered<ChannelContent> | undefined {
  const file = payloadFile(channel);
  const made = templates.get(file)?.render(scope);
  if (!made?.ok) return made;
  try {
    const payload: unknown = JSON.parse(made.value);
    return { ok: true, value: { html: undefined, text: undefined, payload }, warnings: made.warnings };
  } catch (error) {
    return { ok: false, detail: `${file}: what it makes is not JSON: ${describeError(error).slice(0, 200)}`, warnings: made.warnings };
  }
}
