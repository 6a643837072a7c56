/** Encryption keys change without a stop: what was sealed under the old one opens, is sealed again, and the old one can go. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, test } from 'vitest';
import { makeVault } from '../../src/lib/crypto.ts';
import { keysInUse, reseal } from '../../src/store/sealed.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const CARILLON = join(import.meta.dirname, '../../bin/carillon.mjs');
const key = () => randomBytes(32).toString('base64');
const [OLD, YOUNG] = [key(), key()];
const oldOnly = { encryption_key: OLD };
const both = { encryption_key: YOUNG, encryption_key_id: '2', encryption_old_keys: { '1': OLD } };
const youngOnly = { encryption_key: YOUNG, encryption_key_id: '2' };

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function database(): Promise<TestDatabase> {
  const db = await freshDatabase();
  cleanups.push(db.drop);
  return db;
}

async function started(on: TestDatabase, settings: Parameters<typeof startServer>[0]): Promise<TestServer> {
  const server = await startServer(settings, { on });
  cleanups.push(server.stop);
  return server;
}

/** As an operator runs it, with the settings of `both`. */
async function command(on: TestDatabase, env: Record<string, string> = {}): Promise<{ code: number; output: string }> {
  const settings = {
    DATABASE_URL: on.url,
    CARILLON_ENCRYPTION_KEY: YOUNG,
    CARILLON_ENCRYPTION_KEY_ID: '2',
    CARILLON_ENCRYPTION_OLD_KEYS: JSON.stringify({ '1': OLD }),
    ...env,
  };
  const run = promisify(execFile)(process.execPath, [CARILLON, 'keys', 're-encrypt'], { env: { PATH: process.env.PATH, ...settings } });
  return run.then(
    ({ stdout, stderr }) => ({ code: 0, output: stdout + stderr }),
    (error: unknown) => {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { code, output: stdout + stderr };
    },
  );
}

const secretOf = async (server: TestServer): Promise<string> => {
  await server.api('PUT', '/v1/users/ada', {});
  return (await server.api('GET', '/v1/users/ada/webhook-secret')).body.secret;
};
const inUse = async (on: TestDatabase) => Object.fromEntries(await keysInUse(on.database.engine));

test('planted under the old key, sealed again while the server runs, and the old key is not needed afterwards', async () => {
  const on = await database();
  const before = await started(on, oldOnly);
  const secret = await secretOf(before);
  expect((await before.api('POST', '/v1/tenants', { id: 'acme' })).status).toBe(201);
  await before.stop();
  expect(Object.keys(await inUse(on))).toEqual(['1']);
  await expect(startServer(youngOnly, { on })).rejects.toThrow(/sealed under the encryption key 1, which is not configured/);

  const running = await started(on, both);
  expect(await secretOf(running)).toBe(secret);
  expect((await running.api('POST', '/v1/tenants', { id: 'globex' })).status).toBe(201); // sealed under the new one
  const mixed = await inUse(on);
  expect(mixed['1']).toBeGreaterThan(0);
  expect(mixed['2']).toBeGreaterThan(0);
  const { code, output } = await command(on);
  expect([code, output]).toEqual([0, `{"count":${mixed['1']},"key_id":"2"}\n`]);
  expect(output).not.toContain(OLD);
  expect(await inUse(on)).toEqual({ '2': mixed['1']! + mixed['2']! });
  expect(await secretOf(running)).toBe(secret);
  expect((await command(on)).output).toBe('{"count":0,"key_id":"2"}\n');

  await running.stop();
  const after = await started(on, youngOnly);
  expect(await secretOf(after)).toBe(secret);
  expect((await after.api('POST', '/v1/users/ada/token')).status).toBe(201);
});

test('stopped after any batch it goes on where it was, and changes nothing that is done', async () => {
  const on = await database();
  const server = await started(on, oldOnly);
  await server.api('POST', '/v1/tenants', { id: 'acme' });
  const total = (await inUse(on))['1']!;
  const vault = makeVault({
    keys: new Map([
      ['1', Buffer.from(OLD, 'base64')],
      ['2', Buffer.from(YOUNG, 'base64')],
    ]),
    current: '2',
  });
  expect(await on.database.transaction((tx) => reseal(tx, vault, 1))).toBe(1);
  await expect(
    on.database.transaction(async (tx) => {
      await reseal(tx, vault, 1);
      throw new Error('killed');
    }),
  ).rejects.toThrow('killed');
  expect(await inUse(on)).toEqual({ '1': total - 1, '2': 1 });
  const done = await on.query("select tenant_id, purpose, sealed from carillon.tenant_secrets where substring(sealed from 3 for 1) = '2'");
  expect((await command(on)).output).toContain(`"count":${total - 1}`);
  expect(await on.query('select tenant_id, purpose, sealed from carillon.tenant_secrets')).toEqual(expect.arrayContaining(done));
});

test('without the old key the command says which one is missing, and with one id for both it does not begin', async () => {
  const on = await database();
  await started(on, oldOnly);
  const missing = await command(on, { CARILLON_ENCRYPTION_OLD_KEYS: '{}' });
  expect(missing).toEqual({ code: 1, output: expect.stringContaining('encryption key 1, which is not configured') });
  const twice = await command(on, { CARILLON_ENCRYPTION_KEY_ID: '1' });
  expect(twice).toEqual({ code: 2, output: expect.stringContaining('encryption_old_keys has the id 1') });
  const broken = await command(on, { CARILLON_ENCRYPTION_OLD_KEYS: '{"1":"short"}' });
  expect(broken).toEqual({ code: 2, output: expect.not.stringContaining('short') });
  expect(Object.keys(await inUse(on))).toEqual(['1']);
});

test('a column for bytes is a hash, or among those that are sealed again', async () => {
  const on = await database();
  const columns = await on.query<{ name: string }>(
    "select table_name || '.' || column_name as name from information_schema.columns where table_schema = 'carillon' and data_type = 'bytea' order by 1",
  );
  const hashes = ['api_keys.hash', 'idempotency_keys.request_hash'];
  expect(columns.map(({ name }) => name).filter((name) => !hashes.includes(name))).toEqual([
    'destinations.config',
    'destinations.previous_secret',
    'destinations.secret',
    'tenant_secrets.sealed',
  ]);
});
