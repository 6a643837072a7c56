/** All settings, and the only place that reads the environment. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import type { parse as Parse } from 'yaml';
import { MAX_PER_WINDOW, THROTTLE_PER } from './domain/throttle.ts';
import { addressRules } from './lib/address.ts';
import { channelSettings, completeChannels } from './lib/channel-setting.ts';
import { parseDuration } from './lib/duration.ts';
import { checkHeaders } from './lib/egress-url.ts';
import { checkMailbox } from './lib/mailbox.ts';
import { ACCESS_SETTINGS } from './config-access.ts';
import { fromAliases } from './config-aliases.ts';
import { CLIENT_SETTINGS } from './config-client.ts';
import { INBOX_SETTINGS } from './config-inbox.ts';
import { LIMIT_SETTINGS } from './config-limits.ts';
import { KEY_SETTINGS, keyProblems } from './config-keys.ts';
import { SIGNING_SETTINGS, signingProblems } from './config-signing.ts';
import { timeProblems } from './config-time.ts';
import {
  choice,
  duration,
  flag,
  fromDocument,
  fromEnvironment,
  list,
  mapping,
  optional,
  setting,
  settle,
  text,
  whole,
  type Source,
  type ValuesOf,
} from './lib/setting.ts';

export const ROLES = ['api', 'router', 'delivery', 'realtime', 'scheduler'] as const;

const milliseconds = (...durations: readonly string[]): readonly number[] => durations.map((one) => parseDuration(one) ?? 0);
const WEBHOOK_RETRY = milliseconds('5s', '5m', '30m', '2h', '5h', '10h', '14h', '20h', '24h');
/** Eight attempts over four hours. */
const EMAIL_RETRY = milliseconds('30s', '2m', '10m', '20m', '30m', '1h', '2h');
const retries = list(duration('1s', '2d'), { min: 0, max: 30 });

export const SETTINGS = [
  setting('env', choice('development', 'production'), [
    'development',
    'Development makes its own secrets, allows calls to loopback, and keeps mail in an outbox when there is no SMTP server. Production refuses to start on anything unsafe.',
  ]),
  setting('host', text('a host name or address'), ['127.0.0.1', 'The address to listen on.']),
  setting('port', whole(0, 65_535), [7_070, 'The port to listen on; 0 takes a free one.']),
  setting(
    'product_name',
    text('1 to 64 characters', (value) => value.length <= 64),
    ['Carillon', 'What mails and buttons call this installation.'],
  ),
  optional(
    'public_url',
    text('an http or https address of at most 200 characters, without query', isPublicUrl),
    'Where the outside reaches this program, such as https://notify.example.org; https in production. Without it mails carry no unsubscribe link, and a start with an SMTP server warns of that.',
  ),
  setting('data_dir', text('a directory'), ['.carillon', 'Where the embedded PostgreSQL lives. Not used with database.url.']),
  {
    ...optional(
      'database.url',
      text('a postgres:// URL', isPostgresUrl),
      'A PostgreSQL server, version 15 or newer, instead of the embedded one.',
      { secret: true },
    ),
    env: 'DATABASE_URL',
  },
  setting('roles', list(choice(...ROLES), { min: 1, max: ROLES.length }), [ROLES, 'What this process does.']),
  optional(
    'secret',
    text('at least 32 characters', (value) => value.length >= 32),
    'What API keys are hashed with. Changing it makes every key invalid. Development makes one and keeps it in the database.',
    { secret: true },
  ),
  ...KEY_SETTINGS,
  optional(
    'bootstrap_key',
    text('16 to 256 printable characters without spaces', (value) => /^[\x21-\x7e]{16,256}$/.test(value)),
    'An API key with all scopes that the start creates for the tenant `default`.',
    { secret: true },
  ),
  setting('log.level', choice('debug', 'info', 'warn', 'error'), ['info', 'What is logged; debug writes a line for every request.']),
  setting('drain', duration('1s', '10m'), [30_000, 'How long a stopping process waits for what it has begun.']),

  setting('retention.days', whole(2, 3_650), [
    33,
    'Days that events, notifications and deliveries are kept: at least the longest schedule, retries, quiet hours (3 days) and a day.',
  ]),
  setting('schedule.max_days', whole(0, 3_650), [25, 'How many days ahead an event may be scheduled.']),
  setting('users.create', choice('on_mention', 'never'), [
    'on_mention',
    'Whether a user id not seen before becomes a user, or is skipped as `user_unknown`.',
  ]),
  setting('throttle.max_per_window', whole(0, MAX_PER_WINDOW), [0, 'Notifications for one user in a window; 0: any number.']),
  setting('throttle.window', duration('1s', '30d'), [3_600_000, 'How long the sliding window of the throttle is.']),
  setting('throttle.per', choice(...THROTTLE_PER), ['severity', 'What is counted apart for each user. Without a throttle_key: the type.']),
  setting('idempotency.ttl', duration('1m', '30d'), [86_400_000, 'How long an Idempotency-Key is remembered.']),

  optional(
    'catalog.dir',
    text('a directory'),
    'Where the event types of this installation are: a folder each. Not set: `catalog` in the working folder, if it is there.',
  ),
  setting('catalog.deadline', duration('50ms', '10s'), [
    1_000,
    "How long one of a tenant's own templates or schemas may take before its thread is killed and its delivery fails.",
  ]),

  setting('delivery.slots', whole(1, 10_000), [512, 'Attempts in flight in this process.']),
  setting('delivery.lane_limit', whole(1, 10_000), [32, 'Attempts in flight to one destination.']),
  setting('delivery.lease', duration('2s', '10m'), [20_000, 'How long a delivery belongs to the process that sends it.']),
  setting('delivery.connect_timeout', duration('100ms', '5m'), [5_000, 'For name, TCP and TLS together.']),
  setting('delivery.total_timeout', duration('100ms', '5m'), [15_000, 'For one attempt, the whole answer included.']),

  setting('webhook.enabled', flag(), [true, 'Whether webhooks are sent; off, they are skipped as `channel_disabled`.']),
  setting('webhook.retry', retries, [WEBHOOK_RETRY, 'Waits after the first, second … failed attempt, each ±20 %.']),
  setting('webhook.headers', mapping('a mapping of header names to values (in the environment as JSON)', checkHeaders), [
    {},
    'Sent with every webhook.',
  ]),
  ...SIGNING_SETTINGS,
  ...LIMIT_SETTINGS,
  ...ACCESS_SETTINGS,
  ...CLIENT_SETTINGS,
  setting('egress.allow', list(text('a range such as 10.1.0.0/16', isCidr), { min: 0, max: 100 }), [
    [],
    'Private ranges that webhooks may reach. Metadata addresses stay blocked.',
  ]),

  optional(
    'email.enabled',
    flag(),
    'Whether mails are sent; off, they are skipped as `channel_disabled`. Not set: on with an SMTP server, and in development.',
  ),
  setting('email.retry', retries, [EMAIL_RETRY, 'Waits after the first, second … failed attempt, each ±20 %.']),
  optional(
    'email.smtp.host',
    text('a host name or address'),
    'The SMTP server. Without it development keeps mails in its outbox, and production sends none.',
    { requires: ['email.smtp.from'] },
  ),
  setting('email.smtp.port', whole(1, 65_535), [587, 'The port of the SMTP server.'], { requires: ['email.smtp.host'] }),
  setting(
    'email.smtp.security',
    choice('starttls', 'tls', 'none'),
    ['starttls', 'starttls refuses a server that does not offer it; none sends in the clear.'],
    { requires: ['email.smtp.host'] },
  ),
  optional('email.smtp.user', text('a user name'), 'For authentication.', { requires: ['email.smtp.host', 'email.smtp.password'] }),
  optional('email.smtp.password', text('a password'), 'For authentication.', { secret: true, requires: ['email.smtp.user'] }),
  optional(
    'email.smtp.from',
    text('one mailbox, such as news@example.org', (value) => checkMailbox(value).ok),
    'The sender of every mail.',
    { requires: ['email.smtp.host'] },
  ),
  optional(
    'email.unsubscribe_mailbox',
    text('one mailbox, such as unsubscribe@example.org', (value) => checkMailbox(value).ok),
    "Named in every mail's List-Unsubscribe beside the link, with a token as its subject. Whoever reads it posts to /unsubscribe/{token}.",
  ),
  setting('email.smtp.max_connections', whole(1, 100), [5, 'Connections kept to the SMTP server.'], { requires: ['email.smtp.host'] }),

  setting('channels', channelSettings(), [
    {},
    'Further channels and who carries them: see the guide on channels. A text that is `${NAME}` is read from the environment.',
  ]),

  ...INBOX_SETTINGS,
] as const;

/** By dotted name. Times are milliseconds, sizes bytes. */
export type Config = ValuesOf<typeof SETTINGS>;

export interface LoadedConfig {
  readonly config: Config;
  /** Name → `default`, `environment`, `command line`, or the file's path. */
  readonly sources: Readonly<Record<string, string>>;
}

export class ConfigError extends Error {
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(
      `The settings are not valid:\n${problems.map((problem) => `  - ${problem}`).join('\n')}\ndocs/reference/configuration.md lists all settings.`,
    );
    this.problems = problems;
  }
}

/** Tests of this repository use their own variables; `CARILLON_CONFIG` says where the files are. */
const NOT_SETTINGS = /^CARILLON_(?:TEST_|CONFIG$)/;
const DEFAULT_FILE = 'carillon.yaml';

type Environment = Readonly<Record<string, string | undefined>>;
/** The file's text; undefined when it does not exist. */
type ReadFile = (path: string) => string | undefined;

/**
 * Defaults, then the files of CARILLON_CONFIG (else carillon.yaml, if there is one) in their order, then the environment (aliases first),
 * then `overrides` from the command line. Throws ConfigError with all problems at once.
 */
export function loadConfig(
  env: Environment = process.env,
  readFile: ReadFile = readIfThere,
  overrides: Partial<Record<keyof Config, unknown>> = {},
): LoadedConfig {
  const commandLine = { name: 'command line', values: new Map(Object.entries(overrides)), problems: [] };
  const given = [...fileSources(env, readFile), fromAliases(env), fromEnvironment(SETTINGS, env, NOT_SETTINGS), commandLine];
  const { values, sources, problems } = settle(SETTINGS, given);
  const all = [...problems, ...crossCheck(values)];
  if (all.length > 0) throw new ConfigError(all);
  return { config: values, sources };
}

function fileSources(env: Environment, readFile: ReadFile): Source[] {
  const named = (env.CARILLON_CONFIG ?? '')
    .split(/[,:]/)
    .map((path) => path.trim())
    .filter((path) => path !== '');
  return (named.length > 0 ? named : [DEFAULT_FILE]).flatMap((path) => {
    const problem = (what: string) => [{ name: path, values: new Map<string, unknown>(), problems: [what] }];
    try {
      const content = readFile(path);
      if (content !== undefined) return [fromDocument(SETTINGS, path, completeChannels(parseYaml(content), dirname(resolve(path)), env))];
      return named.length > 0 ? problem(`${path} (CARILLON_CONFIG) does not exist`) : [];
    } catch (error) {
      return problem(`${path} can't be read: ${(error as Error).message.split('\n', 1)[0] ?? ''}`);
    }
  });
}

/** Without a file the library is not loaded. */
function parseYaml(content: string): unknown {
  const { parse } = createRequire(import.meta.url)('yaml') as { parse: typeof Parse };
  return parse(content);
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

const LEASE_MARGIN_MS = 1_000;

/** What no setting alone can tell: looked at once all sources are merged. */
function crossCheck(config: Config): string[] {
  return [
    ...timeProblems(config),
    ...deliveryProblems(config),
    ...productionProblems(config),
    ...signingProblems(config),
    ...keyProblems(config),
  ];
}

function deliveryProblems(config: Config): string[] {
  const {
    'delivery.lease': leaseMs,
    'delivery.total_timeout': totalMs,
    'delivery.connect_timeout': connectMs,
    'delivery.lane_limit': lane,
    'delivery.slots': slots,
  } = config;
  const problems: string[] = [];
  if (leaseMs <= totalMs + LEASE_MARGIN_MS)
    problems.push(
      'delivery.lease must be longer than delivery.total_timeout by more than 1s, else two processes send the same delivery: raise the lease',
    );
  if (connectMs > totalMs) problems.push('delivery.connect_timeout must not be longer than delivery.total_timeout: lower it');
  if (lane > slots) problems.push('delivery.lane_limit must not be larger than delivery.slots: one destination would take all of them');
  return problems;
}

function productionProblems(config: Config): string[] {
  if (config.env !== 'production') return [];
  const problems: string[] = [];
  if (config.secret === undefined)
    problems.push('production needs secret (CARILLON_SECRET), at least 32 characters: make one with `openssl rand -base64 32`');
  else if (new Set(config.secret).size < FEWEST_DIFFERENT)
    problems.push('secret (CARILLON_SECRET) repeats too few characters: make one with `openssl rand -base64 32`');
  if (config.encryption_key === undefined)
    problems.push('production needs encryption_key (CARILLON_ENCRYPTION_KEY), 32 bytes in base64: make one with `openssl rand -base64 32`');
  else if (new Set(Buffer.from(config.encryption_key, 'base64')).size < FEWEST_DIFFERENT)
    problems.push('encryption_key (CARILLON_ENCRYPTION_KEY) repeats too few bytes: make one with `openssl rand -base64 32`');
  if (config.public_url?.startsWith('http:'))
    problems.push('public_url must be https in production: mail programs unsubscribe over nothing else');
  if (config['email.enabled'] === true && config['email.smtp.host'] === undefined)
    problems.push('email.enabled needs email.smtp.host in production: set it, or set email.enabled to false');
  return problems;
}

/** 32 random bytes or characters with fewer different ones do not happen. */
const FEWEST_DIFFERENT = 10;

function isHttpUrl(value: string): boolean {
  return URL.canParse(value) && ['http:', 'https:'].includes(new URL(value).protocol);
}

/** Also without a host between `@` and `/`, as PostgreSQL writes the URL of a Unix socket. */
function isPostgresUrl(value: string): boolean {
  return /^postgres(?:ql)?:\/\//.test(value) && URL.canParse(value.replace('@/', '@localhost/'));
}

/** A longer one would not leave room for a link in a line of a mail. */
const MAX_PUBLIC_URL = 200;

function isPublicUrl(value: string): boolean {
  return isHttpUrl(value) && value.length <= MAX_PUBLIC_URL && /^[\x21-\x7e]+$/.test(value) && !/[?#<>@]/.test(value);
}

function isCidr(value: string): boolean {
  try {
    addressRules({ allowLoopback: false, allowRanges: [value] });
    return true;
  } catch {
    return false;
  }
}
