/** Secrets are planted wherever one may stand, things go well and badly, and nothing that comes out holds one. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startMailServer, type MailServer } from '../harness/mail-server.ts';
import { endProcesses, freePort, spawnCarillon, type Carillon } from '../harness/process.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';

/** Of the installation: neither shown nor stored. */
const PLANTED = {
  CARILLON_BOOTSTRAP_KEY: 'planted-bootstrap-key-0123456789',
  CARILLON_SECRET: 'planted-pepper-0123456789abcdefghijklmn',
  CARILLON_ENCRYPTION_KEY: Buffer.from('planted-encryption-key-012345678').toString('base64'),
  CARILLON_EMAIL_SMTP_PASSWORD: 'planted-smtp-password',
  CARILLON_WEBHOOK_HEADERS: JSON.stringify({ 'X-Api-Token': 'planted-header-value' }),
} as const;
const SMTP = { CARILLON_EMAIL_SMTP_HOST: '127.0.0.1', CARILLON_EMAIL_SMTP_USER: 'carillon', CARILLON_EMAIL_SMTP_FROM: 'news@example.org' };

let db: TestDatabase;
let mail: MailServer;
let far: Receiver;
let carillon: Carillon;
const home = mkdtempSync(join(tmpdir(), 'carillon-planted-'));
/** Everything that an answer held, but for answers whose purpose is to show a secret. */
const shown: string[] = [];

beforeAll(async () => {
  db = await freshDatabase();
  mail = await startMailServer({ auth: () => ({ status: 535, text: 'no' }) });
  far = await startReceiver((response, { path }) => response.writeHead(path.startsWith('/bad') ? 500 : 200).end('ok'));
  const port = String(await freePort());
  const config = join(home, 'carillon.yaml');
  writeFileSync(config, 'log:\n  level: debug\n');
  carillon = spawnCarillon({
    ...PLANTED,
    ...SMTP,
    CARILLON_EMAIL_SMTP_PORT: String(mail.port),
    CARILLON_EMAIL_SMTP_SECURITY: 'none',
    CARILLON_CONFIG: config,
    CARILLON_PORT: port,
    DATABASE_URL: db.url,
  });
  await carillon.ready;
});
afterAll(async () => {
  await endProcesses();
  await Promise.all([mail.close(), far.close()]);
  await db.drop();
  rmSync(home, { recursive: true, force: true });
});

interface Asked {
  readonly method?: string;
  readonly body?: unknown;
  readonly authorization?: string;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- whatever JSON came
async function ask(path: string, { method = 'GET', body, authorization }: Asked = {}, { secret = false } = {}): Promise<any> {
  const json = body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const credential = authorization ?? `Bearer ${PLANTED.CARILLON_BOOTSTRAP_KEY}`;
  const response = await fetch(`${carillon.url}${path}`, { method, ...json, headers: { ...json.headers, authorization: credential } });
  const text = await response.text();
  if (!secret) shown.push(text, JSON.stringify([...response.headers]));
  const isJson = response.headers.get('content-type')?.includes('json') === true;
  return isJson ? JSON.parse(text) : text;
}

const told = (id: string) => ask(`/v1/events/${id}`);

test('no answer, page, metric, log line or row holds a planted secret', async () => {
  const made = await ask('/v1/api-keys', { method: 'POST', body: { name: 'made', scopes: ['events:read'] } }, { secret: true });
  const { token } = await ask('/v1/users/ada/token', { method: 'POST' }, { secret: true });
  const { secret } = await ask('/v1/users/ada/webhook-secret', {}, { secret: true });
  const planted = [
    ...Object.values(PLANTED),
    'planted-header-value',
    'planted-in-the-query',
    made.key,
    token,
    secret,
    'planted-in-an-address',
  ] as string[];

  const to = ['/good', '/bad'].map((path, n) => ({
    user_id: `user${n}`,
    email: 'ada@example.org',
    webhook_url: `http://127.0.0.1:${far.port}${path}`,
  }));
  const chat = { slack: { enabled: true, webhook_url: `http://127.0.0.1:${far.port}/bad/planted-in-an-address` } };
  await ask('/v1/users/chatty', { method: 'PUT', body: {} });
  await ask('/v1/users/chatty/preferences', { method: 'PUT', body: { channels: chat } }, { secret: true });
  const event = await ask('/v1/notifications', {
    method: 'POST',
    body: { to: [...to, 'ada', 'chatty'], subject: 'Hello', channels: ['in_app', 'email', 'webhook', 'slack'] },
  });
  // Each of them has been tried: the good one arrived, the mail server refused the password, the other receiver failed.
  await expect
    .poll(async () => {
      const { notifications } = await told(event.id);
      const all = notifications.flatMap(({ deliveries }: { deliveries: { attempt_count: number; channel: string }[] }) => deliveries);
      return all.filter(
        ({ attempt_count: count, channel }: { attempt_count: number; channel: string }) => channel !== 'in_app' && count > 0,
      ).length;
    })
    .toBeGreaterThanOrEqual(4);

  for (const { id } of (await told(event.id)).notifications as { id: string }[]) await ask(`/v1/notifications/${id}`);
  await ask(`/v1/deliveries?event_id=${event.id}`);
  await ask('/v1/events?api_key=planted-in-the-query');
  await ask(`/v1/inbox/stream?ticket=planted-in-the-query`, { authorization: '' });
  await ask('/v1/inbox', { authorization: `Bearer ${token}` });
  await ask('/v1/events', { authorization: `Bearer ${made.key}x` });
  await ask('/v1/events', { method: 'POST', authorization: `Bearer ${made.key}`, body: { type: 'x', to: ['ada'] } });
  await ask('/v1/events', { method: 'POST', body: { type: made.key, to: [] } }, { secret: true }); // the caller's own words come back
  for (const path of ['/metrics', '/dev/outbox', '/health/ready', '/openapi.json', '/v1/api-keys', '/v1/users/ada']) await ask(path);

  for (const one of planted) for (const text of shown) expect(text).not.toContain(one);
  expect(far.requests.some(({ headers }) => headers['x-api-token'] === 'planted-header-value')).toBe(true);

  carillon.signal('SIGTERM');
  await carillon.ended;
  const log = carillon.logged.map((line) => JSON.stringify(line)).join('\n') + carillon.stderr();
  expect(carillon.logged.filter(({ event: name }) => name === 'delivery.attempted').length).toBeGreaterThanOrEqual(4);
  for (const one of planted) expect(log).not.toContain(one);

  const stored = await everyRow();
  expect(stored).toContain('Hello');
  const mayBeStored = ['planted-in-an-address', token, 'planted-in-the-query']; // an address is the user's own row
  for (const one of planted.filter((text) => !mayBeStored.includes(text))) expect(stored).not.toContain(one);
});

/** As text: JSON, arrays and bytes as PostgreSQL writes them. */
async function everyRow(): Promise<string> {
  const client = new pg.Client(db.connection);
  await client.connect();
  const { rows: tables } = await client.query<{ name: string }>(
    "select format('%I.%I', table_schema, table_name) as name from information_schema.tables where table_schema = 'carillon' and table_type = 'BASE TABLE'",
  );
  let text = '';
  for (const { name } of tables) {
    const { rows } = await client.query<{ row: string }>(`select t::text as row from ${name} t`);
    text += rows.map(({ row }) => row).join('\n');
  }
  await client.end();
  return text;
}
