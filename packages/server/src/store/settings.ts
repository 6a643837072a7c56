/** What the installation itself remembers: in development, the secrets that production is given from outside. */
import type { Queryable } from './database.ts';

export async function getSetting(db: Queryable, name: string): Promise<string | undefined> {
  const { rows } = await db.query<{ value: string }>({
    name: 'settings-get',
    text: 'select value from carillon.settings where name = $1',
    values: [name],
  });
  return rows[0]?.value;
}

/** Resolves with the value that holds: `value`, or what somebody set before. Race-safe. */
export async function setIfAbsent(db: Queryable, name: string, value: string): Promise<string> {
  const { rows } = await db.query<{ value: string }>({
    name: 'settings-set-if-absent',
    // `do nothing` would not return a row that another transaction inserts at the same time.
    text: 'insert into carillon.settings as s (name, value) values ($1, $2) on conflict (name) do update set value = s.value returning value',
    values: [name, value],
  });
  const [row] = rows;
  if (!row) throw new Error(`setting ${name} was neither written nor found`);
  return row.value;
}

const KEY = 'development.encryption_key';

/** The encryption key that development has made, 32 bytes in base64; undefined when it made none. */
export function developmentKey(db: Queryable): Promise<string | undefined> {
  return getSetting(db, KEY);
}

/** Development only: what was not given is made at the first start and kept in the database, so that it outlives the process. `random` returns that many bytes. */
export function makeDevelopmentKey(db: Queryable, random: (bytes: number) => Buffer): Promise<string> {
  return setIfAbsent(db, KEY, random(32).toString('base64'));
}

/** Likewise: text of at least 32 characters. */
export function makeDevelopmentSecret(db: Queryable, random: (bytes: number) => Buffer): Promise<string> {
  return setIfAbsent(db, 'development.secret', random(32).toString('base64url'));
}
