import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { ConfigError, loadConfig, SETTINGS } from './config.ts';
import { parseDuration } from './lib/duration.ts';

const SECRETS = { CARILLON_SECRET: randomBytes(32).toString('base64url'), CARILLON_ENCRYPTION_KEY: randomBytes(32).toString('base64') };
const PRODUCTION = { CARILLON_ENV: 'production', ...SECRETS };

const load = (env: Record<string, string> = {}, files: Record<string, string> = {}) => loadConfig(env, (path) => files[path]);

function problemsOf(env: Record<string, string>, files: Record<string, string> = {}): readonly string[] {
  try {
    load(env, files);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

test('nothing at all is a valid configuration', () => {
  const { config, sources } = load();
  expect(config).toMatchObject({
    port: 7070,
    host: '127.0.0.1',
    env: 'development',
    data_dir: '.carillon',
    secret: undefined,
    'retention.days': 33,
    'delivery.lease': 20_000,
    'stream.max_buffer': 262_144,
  });
  expect(config['webhook.retry']).toEqual(['5s', '5m', '30m', '2h', '5h', '10h', '14h', '20h', '24h'].map(parseDuration));
  expect(config['email.retry']).toHaveLength(7); // eight attempts
  expect(new Set(Object.values(sources))).toEqual(new Set(['default']));
  expect(() => {
    Object.assign(config, { port: 1 });
  }).toThrow(TypeError);
});

test('every default is a value that its own type accepts', () => {
  for (const { name, type, default: value } of SETTINGS) {
    if (value === undefined) continue;
    const shown = type.show(value).replace('(empty)', '');
    expect(type.schema.parse(shown), name).toEqual(value);
  }
});

test('a signature of the operator’s own needs a header that can be sent, and that nothing else sets', () => {
  const header = (name: string, more: Record<string, string> = {}) => problemsOf({ CARILLON_WEBHOOK_SECRET_HEADER: name, ...more });
  expect(header('X-Trevor-Signature', { CARILLON_WEBHOOK_SECRET: 'a secret of the operator' })).toEqual([]);
  for (const name of ['Host', 'content-length', 'transfer-encoding', 'connection', 'cookie', 'webhook-signature', 'x y', 'x\r\ny'])
    expect(header(name), name).toMatchObject([expect.stringContaining('webhook.secret_header')]);
  expect(header('x-a', { CARILLON_WEBHOOK_HEADERS: '{"X-A":"b"}' })).toMatchObject([expect.stringContaining('webhook.headers')]);
  expect(problemsOf({ CARILLON_WEBHOOK_SECRET: 'a secret of the operator' })).toMatchObject([
    expect.stringContaining('needs webhook.secret_header'),
  ]);
  expect(problemsOf({ CARILLON_WEBHOOK_SIGNATURES: 'v2' })).toMatchObject([expect.stringContaining('one of v1, v1a')]);
});

test('a limit is requests in a time of whole seconds', () => {
  expect(load({ CARILLON_LIMITS_KEY: '600/1m', CARILLON_LIMITS_TENANT: '5/1d' }).config).toMatchObject({
    'limits.key': { requests: 600, window_seconds: 60 },
    'limits.tenant': { requests: 5, window_seconds: 86_400 },
  });
  for (const rate of ['600', '0/1m', '1/500ms', '1/2d', '1/m', '-1/1m', '1/1m/1m', '10000000000/1m'])
    expect(problemsOf({ CARILLON_LIMITS_KEY: rate }), rate).toMatchObject([expect.stringContaining('limits.key')]);
});

test('later sources win, and each setting knows where it came from', () => {
  const files = { 'base.yaml': 'port: 1\nhost: base\nlog: { level: warn }\n', 'more.yaml': 'port: 2\n' };
  for (const separator of [',', ':']) {
    const { config, sources } = load({ CARILLON_CONFIG: `base.yaml${separator}more.yaml`, CARILLON_HOST: 'env' }, files);
    expect([config.port, config.host, config['log.level']]).toEqual([2, 'env', 'warn']);
    expect([sources.port, sources.host, sources['log.level'], sources.env]).toEqual(['more.yaml', 'environment', 'base.yaml', 'default']);
  }
  expect(load({}, { 'carillon.yaml': 'port: 3' }).config.port).toBe(3);
  expect(load({ CARILLON_CONFIG: 'more.yaml' }, { ...files, 'carillon.yaml': 'host: stray' }).config.host).toBe('127.0.0.1');
  const overridden = loadConfig({ CARILLON_ROLES: 'api' }, () => undefined, { roles: 'router, delivery' });
  expect([overridden.config.roles, overridden.sources.roles]).toEqual([['router', 'delivery'], 'command line']);
});

const accepted: [name: string, env: string, text: string, yaml: string, value: unknown][] = [
  ['port', 'CARILLON_PORT', '8080', '8080', 8080],
  ['webhook.enabled', 'CARILLON_WEBHOOK_ENABLED', 'false', 'false', false],
  ['drain', 'CARILLON_DRAIN', '5m', '5m', 300_000],
  ['idempotency.ttl', 'CARILLON_IDEMPOTENCY_TTL', '7d', '7d', 604_800_000],
  ['stream.max_buffer', 'CARILLON_STREAM_MAX_BUFFER', '64 KiB', '65536', 65_536],
  ['webhook.retry', 'CARILLON_WEBHOOK_RETRY', '1s, 2m', '[1s, 2m]', [1_000, 120_000]],
  ['egress.allow', 'CARILLON_EGRESS_ALLOW', '10.0.0.0/8,fd00::/8', '[10.0.0.0/8, "fd00::/8"]', ['10.0.0.0/8', 'fd00::/8']],
  ['webhook.headers', 'CARILLON_WEBHOOK_HEADERS', '{"x-team":"ops"}', '{ x-team: ops }', { 'x-team': 'ops' }],
  ['database.url', 'DATABASE_URL', 'postgres://u:p@h/d', 'postgres://u:p@h/d', 'postgres://u:p@h/d'],
  ['database.url', 'DATABASE_URL', 'postgresql://u@/d?host=%2Frun', 'postgresql://u@/d?host=%2Frun', 'postgresql://u@/d?host=%2Frun'],
  ['inbox.cors_origins', 'CARILLON_INBOX_CORS_ORIGINS', 'https://a.example', '[https://a.example]', ['https://a.example']],
];
test.each(accepted)('%s is read alike from %s and from a file', (...[name, env, text, yaml, value]) => {
  const nested = name.split('.').reduceRight((inner, key) => `{ ${key}: ${inner} }`, yaml);
  expect(load({ [env]: text }).config).toHaveProperty([name], value);
  expect(load({}, { 'carillon.yaml': nested }).config).toHaveProperty([name], value);
});

const refused: [what: string, env: Record<string, string>, problem: string][] = [
  ['a port that is none', { CARILLON_PORT: '70000' }, 'port (environment) must be a whole number from 0 to 65535'],
  ['a port with a fraction', { CARILLON_PORT: '1e3' }, 'port (environment)'],
  ['a truth that is none', { CARILLON_WEBHOOK_ENABLED: 'yes' }, 'webhook.enabled (environment) must be true or false'],
  ['a time without unit', { CARILLON_DRAIN: '30' }, 'drain (environment) must be a time from 1s to 10m'],
  ['an unknown choice', { CARILLON_ENV: 'prod' }, 'env (environment) must be one of development, production'],
  ['an unknown role', { CARILLON_ROLES: 'api,web' }, 'roles (environment)'],
  ['no role', { CARILLON_ROLES: ',' }, 'roles (environment)'],
  ['a range that is none', { CARILLON_EGRESS_ALLOW: '10.0.0.0' }, 'egress.allow (environment)'],
  [
    'a header that is ours',
    { CARILLON_WEBHOOK_HEADERS: '{"Host":"x"}' },
    'webhook.headers (environment) must be a mapping of header names to values (in the environment as JSON): the header host is set by Carillon',
  ],
  ['an origin with a path', { CARILLON_INBOX_CORS_ORIGINS: 'https://a.example/' }, 'inbox.cors_origins (environment)'],
  ['another database', { DATABASE_URL: 'mysql://h/d' }, 'database.url (environment)'],
  ['a short secret', { CARILLON_SECRET: 'short' }, 'secret (environment) must be at least 32 characters'],
  [
    'a short key',
    { CARILLON_ENCRYPTION_KEY: randomBytes(31).toString('base64') },
    'encryption_key (environment) must be 32 bytes in base64',
  ],
  ['an unknown name', { CARILLON_PROT: '1' }, 'CARILLON_PROT (environment) is not a setting; the nearest known one is CARILLON_PORT'],
  [
    'half of the credentials',
    { CARILLON_EMAIL_SMTP_HOST: 'h', CARILLON_EMAIL_SMTP_FROM: 'a@example.org', CARILLON_EMAIL_SMTP_USER: 'u' },
    'email.smtp.user needs email.smtp.password',
  ],
  ['a mail server without a sender', { CARILLON_EMAIL_SMTP_HOST: 'h' }, 'email.smtp.host needs email.smtp.from'],
  ['a lease as long as an attempt', { CARILLON_DELIVERY_LEASE: '16s' }, 'delivery.lease must be longer'],
  ['a connect timeout over the total', { CARILLON_DELIVERY_CONNECT_TIMEOUT: '16s' }, 'delivery.connect_timeout must not be longer'],
  ['a lane wider than all slots', { CARILLON_DELIVERY_SLOTS: '31' }, 'delivery.lane_limit must not be larger'],
  ['a schedule as long as the retention', { CARILLON_SCHEDULE_MAX_DAYS: '33' }, 'schedule.max_days (33)'],
  ['a schedule that leaves no room for retries', { CARILLON_SCHEDULE_MAX_DAYS: '26' }, 'schedule.max_days (26)'],
  ['a retention that leaves no room for quiet hours', { CARILLON_RETENTION_DAYS: '30' }, 'quiet hours (3 days)'],
  [
    'a retention that leaves no room for digests',
    { CARILLON_RETENTION_DAYS: '10', CARILLON_SCHEDULE_MAX_DAYS: '0' },
    'the longest digest (7 days) + the longest quiet hours (3 days) + 1 must fit in retention.days (10): keep rows at least 11 days',
  ],
  ['retries longer than the rows', { CARILLON_EMAIL_RETRY: '2d,2d' }, 'schedule.max_days (25)'],
  ['production without secrets', { CARILLON_ENV: 'production' }, 'production needs secret (CARILLON_SECRET)'],
  [
    'production with a secret anyone guesses',
    { ...PRODUCTION, CARILLON_SECRET: 'change'.repeat(6) },
    'secret (CARILLON_SECRET) repeats too few characters',
  ],
  [
    'production with an empty key',
    { ...PRODUCTION, CARILLON_ENCRYPTION_KEY: Buffer.alloc(32).toString('base64') },
    'encryption_key (CARILLON_ENCRYPTION_KEY) repeats too few bytes',
  ],
  [
    'a public address without TLS in production',
    { ...PRODUCTION, CARILLON_PUBLIC_URL: 'http://a.example.org' },
    'public_url must be https',
  ],
  ['a public address with a query', { CARILLON_PUBLIC_URL: 'https://a.example.org/?x' }, 'public_url (environment) must be'],
  ['mail in production without a server', { ...PRODUCTION, CARILLON_EMAIL_ENABLED: 'true' }, 'email.enabled needs email.smtp.host'],
];
test.each(refused)('refused: %s', (_what, env, problem) => {
  expect(problemsOf(env)).toEqual(expect.arrayContaining([expect.stringContaining(problem)]));
});

test.each([
  ['a lease just long enough', { CARILLON_DELIVERY_LEASE: '17s' }],
  ['production with its secrets', PRODUCTION],
  ['a test variable', { CARILLON_TEST_CHAOS: 'full' }],
  ['a foreign variable', { PORT: 'x', KAFKA_HOME: '/x' }],
  ['an empty variable', { CARILLON_PORT: '' }],
])('accepted: %s', (_what, env) => {
  expect(problemsOf(env)).toEqual([]);
});

test('a file is refused for unknown names, wrong shapes, bad YAML and absence, each with its path', () => {
  expect(problemsOf({}, { 'carillon.yaml': 'delivery: { lanes_limit: 3 }\nprot: 1\nlog: debug\nport:\n' })).toEqual([
    'delivery.lanes_limit (carillon.yaml) is not a setting; the nearest known one is delivery.lane_limit',
    'prot (carillon.yaml) is not a setting; the nearest known one is port',
    'log (carillon.yaml) must be a mapping of settings',
    'port (carillon.yaml) must be a whole number from 0 to 65535',
  ]);
  expect(problemsOf({}, { 'carillon.yaml': 'port: 1\nport: 2\n' })).toEqual([
    expect.stringContaining("carillon.yaml can't be read: Map keys must be unique"),
  ]);
  expect(problemsOf({}, { 'carillon.yaml': '- port\n' })).toEqual(['the document (carillon.yaml) must be a mapping of settings']);
  expect(problemsOf({}, { 'carillon.yaml': '# nothing\n' })).toEqual([]);
  expect(problemsOf({ CARILLON_CONFIG: 'gone.yaml' })).toEqual(['gone.yaml (CARILLON_CONFIG) does not exist']);
});

test('A4 and A9 the settings of the platform are taken under its own names, below ours', () => {
  const env = { NOTIF_THROTTLE_MAX_PER_HOUR: '5', NOTIF_THROTTLE_WINDOW_HOURS: '2', NOTIF_MAX_SCHEDULE_DAYS: '24' };
  const files = { 'carillon.yaml': 'throttle: { max_per_window: 9, window: 1d }\n' };
  const of = ({ config }: ReturnType<typeof load>) => [
    config['throttle.max_per_window'],
    config['throttle.window'],
    config['schedule.max_days'],
  ];
  expect(of(load(env, files))).toEqual([5, 7_200_000, 24]);
  expect(of(load({ ...env, CARILLON_THROTTLE_MAX_PER_WINDOW: '7', CARILLON_SCHEDULE_MAX_DAYS: '3' }, files))).toEqual([7, 7_200_000, 3]);
  expect(problemsOf({ NOTIF_MAX_SCHEDULE_DAYS: '40' })).toEqual([expect.stringContaining('schedule.max_days (40)')]);
  expect(problemsOf({ NOTIF_THROTTLE_WINDOW_HOURS: 'x' })).toEqual([expect.stringContaining('throttle.window (environment)')]);
});

test('A9 a schedule window equal to the retention is refused like a longer one, on the merged result of all files', () => {
  const files = {
    'base.yaml': 'retention: { days: 40 }\n',
    'more.yaml': 'schedule: { max_days: 40 }\n',
    'less.yaml': 'schedule: { max_days: 25 }\n',
  };
  const merged = (...names: string[]) => problemsOf({ CARILLON_CONFIG: names.join(',') }, files);
  expect(merged('base.yaml')).toEqual([]);
  for (const days of [40, 41])
    expect(problemsOf({ CARILLON_SCHEDULE_MAX_DAYS: String(days), CARILLON_RETENTION_DAYS: '40' })).toHaveLength(1);
  expect(merged('base.yaml', 'more.yaml')).toEqual([expect.stringContaining('schedule.max_days (40)')]);
  expect(merged('base.yaml', 'more.yaml', 'less.yaml')).toEqual([]); // the later one wins
});

test('all problems are told at once, with what to do, and no secret among them', () => {
  const env = {
    CARILLON_ENV: 'production',
    CARILLON_SECRET: 'tiny-but-secret',
    CARILLON_PORT: 'x',
    CARILLON_FOO: 'bar',
    DATABASE_URL: 'http://u:hunter2@h/',
  };
  const problems = problemsOf(env);
  expect(problems.length).toBeGreaterThanOrEqual(4);
  expect(problems.join()).not.toMatch(/tiny-but-secret|hunter2/);
  expect(new ConfigError(problems).message.split('\n')).toHaveLength(problems.length + 2);
});

test('names are unique, in the file and in the environment', () => {
  expect(new Set(SETTINGS.map(({ name }) => name)).size).toBe(SETTINGS.length);
  expect(new Set(SETTINGS.map(({ env }) => env)).size).toBe(SETTINGS.length);
  const names: string[] = SETTINGS.map(({ name }) => name);
  for (const { requires = [] } of SETTINGS as readonly { requires?: readonly string[] }[])
    for (const other of requires) expect(names).toContain(other);
});
