/** Brings a database to this program's schema: numbered files, forward only, each in a transaction, remembered with its checksum. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';

const DIRECTORY = new URL('../../migrations/', import.meta.url);
/** Any constant of our own: two processes that start together migrate one after the other. */
const ADVISORY_LOCK = 7_070_001;

export class MigrationError extends Error {
  readonly code: 'schema_newer' | 'migration_changed' | 'roles_missing' | 'server_too_old';
  constructor(code: MigrationError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

interface Migration {
  readonly number: number;
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

export function migrationsIn(directory: URL = DIRECTORY): Migration[] {
  return readdirSync(directory)
    .filter((file) => /^\d{4}_.+\.sql$/.test(file))
    .sort()
    .map((name) => {
      const sql = readFileSync(new URL(name, directory), 'utf8');
      return { number: Number(name.slice(0, 4)), name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    });
}

/** What a DBA runs once where our user may not create roles. `user` is the one in DATABASE_URL. */
export function rolesSql(user: string): string {
  const login = pg.escapeIdentifier(user);
  const role = (name: string) =>
    `do $$ begin create role ${name} nologin; exception when duplicate_object or unique_violation then null; end $$;`;
  return [
    '-- The engine serves all tenants and owns the schema; the api role sees one tenant at a time.',
    role('carillon_engine'),
    role('carillon_api'),
    `grant carillon_engine to ${login};`,
    `grant carillon_api to ${login};`,
    'create schema if not exists carillon authorization carillon_engine;',
  ].join('\n');
}

/** Applies what is missing; resolves with the names applied. Throws MigrationError when this program must not run on that schema. */
export async function migrate(connection: pg.ClientConfig, migrations: readonly Migration[] = migrationsIn()): Promise<string[]> {
  const client = new pg.Client({ ...connection, application_name: 'carillon-migrate' });
  client.on('error', () => undefined); // the statement that it broke rejects too
  await client.connect();
  try {
    await requireServer(client);
    await client.query('select pg_advisory_lock($1)', [ADVISORY_LOCK]);
    await ensureRoles(client);
    await client.query('set role carillon_engine');
    return await applyMissing(client, migrations);
  } finally {
    await client.end();
  }
}

async function requireServer(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ server_version_num: string }>('show server_version_num');
  const version = Number(rows[0]?.server_version_num);
  if (version < 150_000) throw new MigrationError('server_too_old', `PostgreSQL 15 or newer is needed; this server says ${version}`);
}

async function ensureRoles(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ user: string; ready: boolean }>(
    `select current_user as user,
            coalesce((select bool_and(pg_has_role(current_user, oid, 'usage')) and count(*) = 2 from pg_roles where rolname in ('carillon_engine', 'carillon_api')), false)
            and exists (select from pg_namespace where nspname = 'carillon') as ready`,
  );
  const [me] = rows;
  if (!me || me.ready) return;
  try {
    await client.query(rolesSql(me.user));
  } catch (error) {
    throw new MigrationError(
      'roles_missing',
      `this user may not create the roles that Carillon needs (${(error as Error).message}); have a DBA run the output of: carillon migrate --print-roles`,
    );
  }
}

async function applyMissing(client: pg.Client, migrations: readonly Migration[]): Promise<string[]> {
  await client.query(
    'create table if not exists carillon.migrations (number integer primary key, name text not null, checksum text not null, applied_at timestamptz not null default now())',
  );
  const { rows } = await client.query<{ number: number; name: string; checksum: string }>(
    'select number, name, checksum from carillon.migrations order by number',
  );
  refuseForeign(rows, migrations);

  const applied = new Set(rows.map((row) => row.number));
  const missing = migrations.filter((migration) => !applied.has(migration.number));
  for (const { number, name, sql, checksum } of missing) {
    await client.query('begin');
    await client.query(sql);
    await client.query('insert into carillon.migrations (number, name, checksum) values ($1, $2, $3)', [number, name, checksum]);
    await client.query('commit');
  }
  return missing.map(({ name }) => name);
}

function refuseForeign(rows: readonly { number: number; name: string; checksum: string }[], migrations: readonly Migration[]): void {
  for (const row of rows) {
    const ours = migrations.find((migration) => migration.number === row.number);
    if (!ours)
      throw new MigrationError(
        'schema_newer',
        `the database has migration ${row.name}, which this version does not know: run a newer Carillon`,
      );
    if (ours.checksum !== row.checksum)
      throw new MigrationError(
        'migration_changed',
        `migration ${ours.name} was changed after it had been applied: restore the file, or write a new migration`,
      );
  }
}
