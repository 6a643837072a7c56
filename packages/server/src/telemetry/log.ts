/** One line per unit of work, as JSON on standard output. */
import { destination, pino } from 'pino';

/** `event` is `area.what-happened`; a field named `error` makes it an error. Never throws. */
export type Log = (event: string, fields: Record<string, unknown>) => void;

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Whatever stands under such a name is not written, at any depth. */
const SECRET_NAME =
  /^(?:authorization|cookie|set-cookie|password|pass|pepper|token|ticket|api_?key|encryption_?key|bootstrap_?key|signing_?key|key|secret|.+_?secret)$/i;
/** Credentials inside longer texts: our keys, JSON web tokens, and the password of a URL. */
const SECRET_TEXT = /\bcn_(?:live|test)_\w+|\beyJ[\w-]+\.[\w-]+\.[\w-]+|\bwhsec_[\w+/=-]+|(?<=:\/\/[^\s:/@]*:)[^\s/@]+(?=@)/g;
const REDACTED = '[redacted]';
const MAX_DEPTH = 6;
const MAX_TEXT = 8_192;

/** Events that are not `info`. A function looks at the fields. */
const LEVELS: Readonly<Record<string, LogLevel | ((fields: Record<string, unknown>) => LogLevel)>> = {
  'http.request': ({ status }) =>
    Number(status) < 400 ? 'debug' : Number(status) === 503 ? 'warn' : Number(status) >= 500 ? 'error' : 'info',
  'delivery.recorded': 'debug',
  'router.ran': 'debug',
  'delivery.attempted': ({ state }) => (state === 'delivered' ? 'debug' : 'info'),
  'accept.unavailable': 'warn',
  'database.connection-lost': 'warn',
  'database.listen-lost': 'warn',
  'database.not-durable': 'warn',
  'database.superuser': 'warn',
  'delivery.outcomes-waiting': 'warn',
  'egress.loopback-allowed': 'warn',
  'email.no-unsubscribe-link': 'warn',
  'hint.not-sent': 'warn',
  'inapp.disabled': 'warn',
  'postgres.exited': 'warn',
  'process.not-signed-off': 'warn',
  'stream.refused': 'warn',
};

export interface LogOptions {
  readonly level: LogLevel;
  /** Default: standard output, written in the background. */
  readonly write?: ((line: string) => void) | undefined;
}

/** `close` writes what is still in memory: call it last. */
export function makeLog({ level, write }: LogOptions): { log: Log; close: () => void } {
  const out = write ? { write } : destination({ dest: 1, sync: false, minLength: 4_096, periodicFlush: 200 });
  const logger = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    out,
  );
  return {
    log: (event, fields) => {
      const at = levelOf(event, fields);
      if (logger.isLevelEnabled(at)) logger[at]({ event, ...(clean(fields, 0) as object) });
    },
    close: () => {
      if ('flushSync' in out) out.flushSync();
    },
  };
}

export function levelOf(event: string, fields: Record<string, unknown>): LogLevel {
  const level = LEVELS[event];
  if (level !== undefined) return typeof level === 'string' ? level : level(fields);
  return fields.error === undefined ? 'info' : 'error';
}

/** A copy that is safe to write: no secrets, bounded depth and length, errors as message, code and stack. */
function clean(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return cleanText(value);
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Date) return value;
  if (depth >= MAX_DEPTH) return '[deep]';
  if (value instanceof Error) return cleanError(value, depth);
  if (value instanceof Uint8Array) return `[${value.length} bytes]`;
  if (Array.isArray(value)) return value.map((item) => clean(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, SECRET_NAME.test(name) && item != null ? REDACTED : clean(item, depth + 1)]),
  );
}

/** Only these members: a driver's or client's error may carry the whole request. */
function cleanError(error: Error, depth: number): object {
  const code = 'code' in error ? error.code : undefined;
  const cause = error.cause === undefined ? undefined : clean(error.cause, depth + 1);
  return {
    name: error.name,
    message: cleanText(error.message),
    code,
    stack: error.stack === undefined ? undefined : cleanText(error.stack),
    cause,
  };
}

function cleanText(text: string): string {
  const short = text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
  return short.replace(SECRET_TEXT, REDACTED);
}
