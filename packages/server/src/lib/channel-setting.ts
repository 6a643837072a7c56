/** The setting `channels`: which channels there are besides those that have settings of their own, and who carries them. */
import { isAbsolute, resolve } from 'node:path';
import { z } from 'zod';
import { parseDuration } from './duration.ts';
import type { SettingType } from './setting.ts';

export interface ProviderSetting {
  /** One of the channel's own. */
  readonly name?: string | undefined;
  /** A file, or a package. */
  readonly module?: string | undefined;
  readonly options?: unknown;
}

export interface ChannelSetting {
  readonly enabled: boolean;
  /** Waits in milliseconds. Undefined: the channel's own. */
  readonly retry?: readonly number[] | undefined;
  /** A channel that somebody else wrote. */
  readonly module?: string | undefined;
  /** For the module, or for the channel's standard provider. */
  readonly options?: unknown;
  /** In the order in which they are asked. */
  readonly providers?: readonly ProviderSetting[] | undefined;
}

export type ChannelSettings = Readonly<Record<string, ChannelSetting>>;

const NAME = /^[a-z][a-z0-9_]{0,31}$/;
const MAX_WAIT_MS = 48 * 3_600_000;

const wait = z
  .string()
  .transform((text) => parseDuration(text) ?? Number.NaN)
  .refine((ms) => ms >= 1_000 && ms <= MAX_WAIT_MS, 'must be a time from 1s to 2d');
const moduleName = z.string().min(1).max(1_024);
const provider = z
  .strictObject({ name: z.string().optional(), module: moduleName.optional(), options: z.unknown().optional() })
  .refine(({ name, module }) => (name === undefined) !== (module === undefined), 'needs either a name or a module');
const channel = z
  .strictObject({
    enabled: z.boolean().default(true),
    retry: z.array(wait).max(30).optional(),
    module: moduleName.optional(),
    options: z.unknown().optional(),
    providers: z.array(provider).min(1).max(10).optional(),
  })
  .refine(({ module, providers }) => module === undefined || providers === undefined, 'a module brings its own providers')
  .refine(
    ({ options, providers }) => options === undefined || providers === undefined,
    'with providers the options belong to each of them',
  );
const schema = z.record(
  z.string().regex(NAME),
  channel.nullable().transform((value) => value ?? { enabled: true, options: undefined }),
);

export function channelSettings(): SettingType<ChannelSettings> {
  const checked = z.preprocess(fromText, z.unknown()).transform((value, context): ChannelSettings => {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    for (const { path, message } of parsed.error.issues) context.addIssue({ code: 'custom', message: `${path.join('.')}: ${message}` });
    return z.NEVER;
  });
  return {
    schema: checked,
    words: 'a mapping of channel names to their settings (in the environment as JSON)',
    show: (value) => (Object.keys(value).length === 0 ? '{}' : Object.keys(value).join(', ')),
  };
}

function fromText(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/**
 * A document of settings with what its `channels` leave open filled in: `${NAME}` from the environment, and files relative to
 * the document's own folder. Throws for a variable that is not set.
 */
export function completeChannels(document: unknown, folder: string, env: Readonly<Record<string, string | undefined>>): unknown {
  if (typeof document !== 'object' || document === null || !('channels' in document)) return document;
  return { ...document, channels: complete(document.channels, { folder, env, path: 'channels' }) };
}

interface Place {
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly path: string;
}

const VARIABLE = /^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$/;

function complete(value: unknown, place: Place): unknown {
  if (typeof value === 'string') return completeText(value, place);
  if (Array.isArray(value)) return value.map((item, index) => complete(item, { ...place, path: `${place.path}.${index}` }));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, complete(item, { ...place, path: `${place.path}.${key}` })]));
}

function completeText(text: string, { folder, env, path }: Place): string {
  const name = VARIABLE.exec(text)?.[1];
  if (name === undefined) return isModuleFile(text, path) ? resolve(folder, text) : text;
  const found = env[name];
  if (found === undefined || found === '') throw new Error(`${path} asks for the variable ${name}, which is not set`);
  return found;
}

/** `channels.x.module` and `channels.x.providers.0.module`, and nothing inside options. */
function isModuleFile(text: string, path: string): boolean {
  return /^channels\.[^.]+\.(?:providers\.\d+\.)?module$/.test(path) && (text.startsWith('.') || isAbsolute(text));
}
