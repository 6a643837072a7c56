/** A database is opened when it is fit to be used, as a role that policies apply to, and else refused with nothing left behind. */
import type pg from 'pg';
import { afterEach, beforeAll, afterAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/lib/clock.ts';
import { newId } from '../../src/lib/id.ts';
import { openDatabase, type OpenOptions, type Opened } from '../../src/store/open.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { cleanUp, cleanups, freshDirectory, query, start } from './fixtures/embedded-rig.ts';

interface Logged {
  readonly event: string;
  readonly fields: Record<string, unknown>;
}

afterEach(cleanUp);

function optionsFor(url: string | undefined, changed: Partial<OpenOptions> = {}): OpenOptions & { logged: Logged[] } {
  const logged: Logged[] = [];
  const log = (event: string, fields: Record<string, unknown>) => void logged.push({ event, fields });
  return {
    url,
    dataDir: '',
    production: false,
    retentionDays: 30,
    connections: { engine: 2, api: 2 },
    clock: systemClock(),
    log,
    ...changed,
    logged,
  };
}

async function open(options: OpenOptions): Promise<Opened> {
  const opened = await openDatabase(options);
  let closing: Promise<void> | undefined;
  const close = () => (closing ??= opened.close());
  cleanups.push(close);
  return { ...opened, close };
}

async function whoIs(opened: Opened, as: 'engine' | 'api'): Promise<unknown> {
  const statement = {
    name: `who-${as}`,
    text: 'select current_user::text as name, rolsuper or rolbypassrls as free from pg_roles where rolname = current_user',
    values: [],
  };
  const ask = (tx: unknown) => (tx as Opened['database']['engine']).query(statement);
  const { rows } = as === 'engine' ? await ask(opened.database.engine) : await opened.database.asTenant('acme', ask);
  return rows[0];
}

describe('an outside server', () => {
  let db: TestDatabase;
  beforeAll(async () => {
    db = await freshDatabase();
  });
  afterAll(() => db.drop());

  test('whose clock is over 60 s away is refused, and no connection stays', async () => {
    for (const skewMs of [62_000, -62_000]) {
      const clock = { ...systemClock(), machine: () => new Date(Date.now() + skewMs) };
      await expect(openDatabase(optionsFor(db.url, { clock }))).rejects.toThrow(/62 s apart: set them by NTP/);
    }
    const left = () => db.query("select from pg_stat_activity where datname = current_database() and application_name ~ '^carillon'");
    await expect.poll(left).toEqual([]);
  });

  test('whose clock is almost that far away is followed', async () => {
    await db.moveClock(3_600_000);
    const base = systemClock();
    const clock = { ...base, machine: () => new Date(Date.now() + 55_000) };
    const { exclusive } = await open(optionsFor(db.url, { clock }));
    expect(exclusive).toBe(false);
    expect(Math.abs(base.now().getTime() - Date.now() - 3_600_000)).toBeLessThan(10_000);
  });

  test('reached as a superuser is used with a warning', async () => {
    const options = optionsFor(db.url);
    const opened = await open(options);
    expect(options.logged.map(({ event }) => event)).toContain('database.superuser');
    expect(await whoIs(opened, 'api')).toEqual({ name: 'carillon_api', free: false });
  });
});

describe('a server that loses what it has confirmed', () => {
  const LOSES = { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' };

  async function losing(settings: Record<string, string>): Promise<{ connection: pg.ClientConfig; url: string }> {
    const { connection } = await start(freshDirectory(), settings);
    await query({ ...connection, database: 'postgres' }, 'create database outside');
    return {
      connection: { ...connection, database: 'outside' },
      url: `postgres://postgres@/outside?host=${encodeURIComponent(connection.host)}&port=${connection.port}`,
    };
  }

  test('is refused in production before anything is changed, with what to set', async () => {
    const { connection, url } = await losing(LOSES);
    await expect(openDatabase(optionsFor(url, { production: true }))).rejects.toThrow(/set .*fsync.* to on/);
    await expect(openDatabase(optionsFor(url, { production: true }))).rejects.toThrow(
      /full_page_writes.*synchronous_commit|synchronous_commit.*full_page_writes/,
    );
    expect(await query(connection, "select to_regnamespace('carillon')")).toEqual([null]);
  });

  test('is named in development, and used', async () => {
    const { url } = await losing({ fsync: 'off' });
    const options = optionsFor(url);
    await open(options);
    expect(options.logged).toContainEqual({ event: 'database.not-durable', fields: { settings: ['fsync'] } });
  });

  test('one of its settings is enough', async () => {
    for (const name of Object.keys(LOSES)) {
      const { url } = await losing({ [name]: 'off' });
      await expect(openDatabase(optionsFor(url, { production: true }))).rejects.toThrow(`set ${name} to on`);
      await cleanUp();
    }
  });
});

test('on a new server a user who may create roles needs nobody else', async () => {
  const { connection } = await start(freshDirectory());
  const admin = (text: string) => query({ ...connection, database: 'postgres' }, text);
  await admin('create role app login createrole nosuperuser');
  await admin('create database app owner app');
  const options = optionsFor(`postgres://app@/app?host=${encodeURIComponent(connection.host)}&port=${connection.port}`, {
    production: true,
  });
  const opened = await open(options);
  expect(await whoIs(opened, 'engine')).toEqual({ name: 'app', free: false });
  expect(await whoIs(opened, 'api')).toEqual({ name: 'carillon_api', free: false });
  expect(options.logged.map(({ event }) => event)).toEqual(['database.partitions']);
});

describe('the embedded server', () => {
  test('is used by roles that policies apply to', async () => {
    const dataDir = freshDirectory();
    const opened = await open(optionsFor(undefined, { dataDir }));
    expect(opened.exclusive).toBe(true);
    expect(await whoIs(opened, 'engine')).toEqual({ name: 'carillon_engine', free: false });
    expect(await whoIs(opened, 'api')).toEqual({ name: 'carillon_api', free: false });
  });

  test('gives back at once what a killed process had leased', async () => {
    const dataDir = freshDirectory();
    const first = await open(optionsFor(undefined, { dataDir }));
    await first.database.engine.query({
      name: 'leased',
      text: `insert into carillon.deliveries (id, tenant_id, event_id, channel, status, reason, created_at, due_at, lease_token)
             values ($1, 'acme', gen_random_uuid(), 'webhook', 2, 3, now(), now() + interval '20 s', gen_random_uuid())`,
      values: [newId(new Date())],
    });
    await first.close();
    const second = await open(optionsFor(undefined, { dataDir }));
    const { rows } = await second.database.engine.query({
      name: 'due',
      text: 'select due_at <= now() as due from carillon.deliveries',
      values: [],
    });
    expect(rows).toEqual([{ due: true }]);
  });
});
