/** The schema of this version: reached from an empty database, by whoever may, once, and never a wrong one. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, describe, expect, inject, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { start } from '../../src/main.ts';
import { migrate, migrationsIn, rolesSql } from '../../src/store/migrate.ts';

const { connection: server } = inject('server');
const CARILLON = join(import.meta.dirname, '../../bin/carillon.mjs');
const KEY = 'a-bootstrap-key-of-the-tests';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function query<Row extends pg.QueryResultRow>(connection: pg.ClientConfig, text: string): Promise<Row[]> {
  const client = new pg.Client(connection);
  await client.connect();
  return client
    .query<Row>(text)
    .then(({ rows }) => rows)
    .finally(() => client.end());
}

const asAdmin = (text: string) => query({ ...server, database: 'postgres' }, text);

/** An empty database, as a superuser sees it. */
async function emptyDatabase(owner?: string): Promise<pg.ClientConfig & { database: string }> {
  const database = `carillon_migrate_${randomBytes(6).toString('hex')}`;
  await asAdmin(`create database ${database}${owner === undefined ? '' : ` owner ${owner}`}`);
  cleanups.push(() => asAdmin(`drop database ${database} with (force)`));
  return { ...server, database };
}

async function login(attributes = 'nosuperuser'): Promise<{ user: string; password: string }> {
  const user = `app_${randomBytes(6).toString('hex')}`;
  const password = randomBytes(8).toString('hex');
  await asAdmin(`create role ${user} login password '${password}' ${attributes}`);
  cleanups.push(() => asAdmin(`drop role ${user}`));
  return { user, password };
}

function urlOf({ user, password, database }: pg.ClientConfig): string {
  const credentials = `${String(user)}:${typeof password === 'string' ? password : ''}`;
  return server.host.startsWith('/')
    ? `postgres://${credentials}@/${String(database)}?host=${encodeURIComponent(server.host)}&port=${server.port}`
    : `postgres://${credentials}@${server.host}:${server.port}/${String(database)}`;
}

const appliedIn = (connection: pg.ClientConfig) => query(connection, 'select number, name from carillon.migrations order by number');
const known = () => migrationsIn().map(({ number, name }) => ({ number, name }));

/** `carillon …` as a child process in an empty folder. */
async function carillon(args: readonly string[], url?: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const cwd = mkdtempSync(join(tmpdir(), 'carillon-cli-'));
  cleanups.push(() => {
    rmSync(cwd, { recursive: true });
  });
  const child = spawn(process.execPath, [CARILLON, ...args], {
    cwd,
    env: { PATH: process.env.PATH, ...(url !== undefined && { DATABASE_URL: url }) },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number];
  return { code, stdout, stderr };
}

describe('an empty database', () => {
  test('is brought to the schema, and a second run has nothing to do', async () => {
    const database = await emptyDatabase();
    expect(await migrate(database)).toEqual(migrationsIn().map(({ name }) => name));
    expect(await appliedIn(database)).toEqual(known());
    expect(await migrate(database)).toEqual([]);
  });

  test('is migrated once by processes that start together', async () => {
    const database = await emptyDatabase();
    const applied = await Promise.all([migrate(database), migrate(database), migrate(database)]);
    expect(applied.flat()).toEqual(migrationsIn().map(({ name }) => name));
  });

  test('may be one of several on a server, migrated at the same time', async () => {
    const databases = await Promise.all([emptyDatabase(), emptyDatabase(), emptyDatabase()]);
    await Promise.all(databases.map((database) => migrate(database)));
    for (const database of databases) expect(await appliedIn(database)).toEqual(known());
  });

  test('is migrated by the command, which says what it did', async () => {
    const database = await emptyDatabase();
    const { user, password } = await login('superuser');
    const url = urlOf({ ...database, user, password });
    expect(await carillon(['migrate'], url)).toMatchObject({
      code: 0,
      stdout: `${JSON.stringify({ applied: migrationsIn().map(({ name }) => name) })}\n`,
      stderr: '',
    });
    expect(await carillon(['migrate'], url)).toMatchObject({ code: 0, stdout: '{"applied":[]}\n' });
  });
});

describe('refused', () => {
  test('a schema that is newer than the program', async () => {
    const database = await emptyDatabase();
    await migrate(database);
    await expect(migrate(database, migrationsIn().slice(0, -1))).rejects.toMatchObject({
      code: 'schema_newer',
      message: expect.stringContaining('run a newer Carillon'),
    });
    await query(database, "insert into carillon.migrations (number, name, checksum) values (9999, '9999_tomorrow.sql', 'x')");
    const config = {
      ...loadConfig({}, () => undefined).config,
      port: 0,
      'database.url': urlOf({ ...database, ...(await login('superuser')) }),
    };
    await expect(start(config, () => undefined)).rejects.toMatchObject({
      code: 'schema_newer',
      message: expect.stringContaining('9999_tomorrow.sql'),
    });
  });

  test('a migration that was changed after it had been applied', async () => {
    const database = await emptyDatabase();
    await migrate(database);
    const changed = migrationsIn().map((migration) => ({ ...migration, checksum: `${migration.checksum.slice(1)}0` }));
    await expect(migrate(database, changed)).rejects.toMatchObject({
      code: 'migration_changed',
      message: expect.stringContaining('0001_core.sql'),
    });
  });

  test('a migration that fails: nothing of it stays, and what came before it does', async () => {
    const database = await emptyDatabase();
    const failing = { number: 9000, name: '9000_failing.sql', sql: 'create table carillon.half (id integer); select 1 / 0', checksum: 'x' };
    await expect(migrate(database, [...migrationsIn(), failing])).rejects.toThrow('division by zero');
    expect(await query(database, "select to_regclass('carillon.half') as half")).toEqual([{ half: null }]);
    expect(await appliedIn(database)).toEqual(known());
  });

  test('DATABASE_URL is missing: the command says so', async () => {
    expect(await carillon(['migrate'])).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('DATABASE_URL is not set') });
  });
});

describe('a user that is no superuser', () => {
  test('and may not create roles is told what a DBA has to run; after that he can', async () => {
    const app = await login();
    const database = await emptyDatabase(app.user);
    const asApp = { ...database, ...app };
    await expect(migrate(asApp)).rejects.toMatchObject({
      code: 'roles_missing',
      message: expect.stringContaining('carillon migrate --print-roles'),
    });

    const refused = await carillon(['migrate'], urlOf(asApp));
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('carillon migrate --print-roles') });

    const { code, stdout: sql } = await carillon(['migrate', '--print-roles'], urlOf(asApp));
    expect([code, sql]).toEqual([0, `${rolesSql(app.user)}\n`]);
    expect(sql).toContain(app.user);
    await query(database, sql);
    await query(database, sql); // a DBA may run it twice
    expect(await migrate(asApp)).toEqual(migrationsIn().map(({ name }) => name));
    cleanups.push(() => asAdmin(`revoke carillon_engine, carillon_api from ${app.user}`));
  });

  test('runs the whole program', async () => {
    const app = await login();
    const database = await emptyDatabase(app.user);
    await query(database, rolesSql(app.user));
    cleanups.push(() => asAdmin(`revoke carillon_engine, carillon_api from ${app.user}`));
    await runsWholeProgram(urlOf({ ...database, ...app }));
    expect(await query(database, "select distinct tableowner from pg_tables where schemaname = 'carillon'")).toEqual([
      { tableowner: 'carillon_engine' },
    ]);
  });

  test('who may create roles needs no DBA on a server of his own', async () => {
    const app = await login('nosuperuser createrole');
    const database = await emptyDatabase(app.user);
    const [found] = await query<{ major: number }>(database, "select current_setting('server_version_num')::int / 10000 as major");
    // The roles belong to the whole server, and since 16 only who made them may grant them: here that is the superuser of the tests.
    if (found!.major >= 16) await asAdmin(`grant carillon_engine, carillon_api to ${app.user} with admin option`);
    cleanups.push(() => asAdmin(`revoke carillon_engine, carillon_api from ${app.user} cascade`));
    await runsWholeProgram(urlOf({ ...database, ...app }));
  });
});

async function runsWholeProgram(url: string): Promise<void> {
  const logged: string[] = [];
  const config = { ...loadConfig({}, () => undefined).config, port: 0, bootstrap_key: KEY, 'database.url': url };
  const running = await start(config, (event) => logged.push(event));
  cleanups.push(running.stop);
  const call = async (path: string, body?: unknown) => {
    const response = await fetch(`${running.url!}${path}`, {
      ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }),
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
    });
    return (await response.json()) as Record<string, unknown>;
  };
  const { id } = await call('/v1/notifications', { to: ['ada'], channels: ['in_app', 'email'], subject: 's', body: 'b' });
  await expect
    .poll(() => call(`/v1/events/${String(id)}`), { timeout: 10_000 })
    .toMatchObject({ counts: { recipients: 1, pending: 0, sending: 0 } });
  expect(await call('/v1/users/ada')).toMatchObject({ id: 'ada' });
  await running.catchUp();
  expect(logged).not.toContain('database.superuser');
  await running.stop();
  cleanups.splice(cleanups.indexOf(running.stop), 1);
}
