/** The files of one event type, with the layouts and partials that they use: what a version is made of. */
import { hash } from 'node:crypto';
import type { EventTypeFiles, EventTypeVersion } from '../domain/event-type.ts';
import { nearest } from '../lib/nearest.ts';
import type { Problem } from './problem.ts';

export const DEFINITION_FILE = 'event.yaml';

const MAX_FILE_BYTES = 256 * 1024;
const MAX_TYPE_BYTES = 768 * 1024;
const MAX_FILES = 200;
const NAME = '[\\w-]{1,64}';
const SHARED = new RegExp(`^(?:_partials/${NAME}\\.liquid|_layouts/${NAME}\\.(?:html|txt)\\.liquid)$`);
const OWN = new RegExp(`^(?:samples/${NAME}\\.json|locales/[A-Za-z0-9-]{1,35}\\.json)$`);
/** `{% partial "footer" %}` in any template. */
const PARTIAL = /\{%-?\s*partial\s+(?:"([\w-]{1,64})"|'([\w-]{1,64})')/g;

/** What each channel's content can be written as; those without a template show the subject and the body. */
export const CONTENT_FILES = ['subject.liquid', 'in_app.liquid', 'email.html.liquid', 'email.txt.liquid'] as const;
/** The same for the message of a digest whose items are all of this type: subject, body, and what a mail shows. */
export const DIGEST_FILES = ['digest_subject.liquid', 'digest.liquid', 'digest.html.liquid', 'digest.txt.liquid'] as const;
/** Channels that take a JSON of the type's own. */
const PAYLOAD_CHANNELS = ['slack', 'teams'];

export function payloadFile(channel: string): string {
  return `${channel}.json.liquid`;
}

/** Those of `shared` (`_layouts/…`, `_partials/…`) that `own` uses are added, whichever way they are reached. */
export function bundle(own: EventTypeFiles, shared: EventTypeFiles): EventTypeFiles {
  const files: Record<string, string> = { ...own };
  const layouts = Object.keys(shared).filter((name) => name.startsWith('_layouts/'));
  const hasMail = Object.keys(own).some((name) => name.startsWith('email.') || /^digest\.(?:html|txt)\./.test(name));
  const wanted = hasMail ? layouts.filter((name) => usesLayout(own, name)) : [];
  const waiting = [...wanted, ...partialsIn(Object.values(own))];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const text = shared[name];
    if (text === undefined || name in files) continue;
    files[name] = text;
    waiting.push(...partialsIn([text]));
  }
  return sorted(files);
}

/** Without a layout named, the one called `default` is used where there is one. */
function usesLayout(own: EventTypeFiles, name: string): boolean {
  const layout = /^layout:\s*["']?([\w-]+)/m.exec(own[DEFINITION_FILE] ?? '')?.[1] ?? 'default';
  return name === `_layouts/${layout}.html.liquid` || name === `_layouts/${layout}.txt.liquid`;
}

function partialsIn(texts: readonly string[]): string[] {
  return texts.flatMap((text) => [...text.matchAll(PARTIAL)].map((found) => `_partials/${found[1] ?? found[2] ?? ''}.liquid`));
}

function sorted(files: Readonly<Record<string, string>>): EventTypeFiles {
  return Object.fromEntries(Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The same content is the same version, whoever made it and whenever. */
export function toVersion(type: string, files: EventTypeFiles): EventTypeVersion {
  const content = sorted(files);
  const digest = hash('sha256', JSON.stringify([type, content]), 'hex');
  const version = [digest.slice(0, 8), digest.slice(8, 12), digest.slice(12, 16), digest.slice(16, 20), digest.slice(20, 32)].join('-');
  return { type, version, files: content };
}

/** Names that mean nothing, and sizes. What the files say is looked at elsewhere. */
export function checkFiles(files: EventTypeFiles, channels: readonly string[]): Problem[] {
  const known = [
    DEFINITION_FILE,
    ...CONTENT_FILES,
    ...DIGEST_FILES,
    ...channels.filter((name) => PAYLOAD_CHANNELS.includes(name)).map(payloadFile),
  ];
  const names = Object.keys(files);
  const problems = names.flatMap((file): Problem[] => {
    const bytes = Buffer.byteLength(files[file] ?? '');
    if (bytes > MAX_FILE_BYTES) return [{ file, message: 'is longer than 256 KiB: make it shorter' }];
    return known.includes(file) || OWN.test(file) || SHARED.test(file) ? [] : [{ file, message: unknownFile(file, known) }];
  });
  if (!names.includes(DEFINITION_FILE)) problems.push({ file: DEFINITION_FILE, message: 'is missing: every event type has one' });
  if (names.length > MAX_FILES) problems.push({ file: '.', message: `has more than ${MAX_FILES} files: remove some` });
  const total = names.reduce((sum, name) => sum + Buffer.byteLength(files[name] ?? ''), 0);
  if (total > MAX_TYPE_BYTES) problems.push({ file: '.', message: 'is longer than 768 KiB in all: make it shorter' });
  return problems;
}

function unknownFile(file: string, known: readonly string[]): string {
  return `is not a file of an event type; the nearest known one is ${nearest(file, [...known, 'samples/one.json', 'locales/en.json']) ?? DEFINITION_FILE}`;
}
