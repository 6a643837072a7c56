/** One partition a day, made ahead and dropped whole. Made apart and attached, detached and dropped: `PARTITION OF` and `DROP` would lock the parent. */
import pg from 'pg';
import { firstIdAt } from '../lib/id.ts';
import { isLockTimeout } from './database.ts';

const TABLES = { events: 'id', notifications: 'id', deliveries: 'id', attempts: 'delivery_id' } as const;
const DAY_MS = 86_400_000;
const DAYS_AHEAD = 7;
const LOCK_TRIES = 5;

interface Day {
  /** `20261121` */
  readonly suffix: string;
  readonly from: Date;
  readonly to: Date;
}

function dayOf(instant: number): Day {
  const from = Math.floor(instant / DAY_MS) * DAY_MS;
  return { suffix: new Date(from).toISOString().slice(0, 10).replaceAll('-', ''), from: new Date(from), to: new Date(from + DAY_MS) };
}

function startOf(suffix: string): number {
  return Date.parse(`${suffix.slice(0, 4)}-${suffix.slice(4, 6)}-${suffix.slice(6)}T00:00:00Z`);
}

/** `deliveries_20261121` → `deliveries` */
function tableOf(name: string): string {
  return name.slice(0, -'_20261121'.length);
}

export interface PartitionReport {
  readonly made: string[];
  readonly dropped: string[];
  /** Due to be dropped, but somebody held a lock for too long: the next run drops them. */
  readonly postponed: string[];
}

/**
 * Makes the partitions from yesterday (or from the last one there is: no gap stays after a long stop) to a week ahead,
 * and drops those that ended more than `retentionDays` ago. Safe to run in several processes at once.
 */
export async function maintainPartitions(
  connection: pg.ClientConfig,
  { retentionDays, beforeDrop }: { retentionDays: number; beforeDrop: (client: pg.Client, upTo: string) => Promise<void> },
): Promise<PartitionReport> {
  const client = new pg.Client({ ...connection, application_name: 'carillon-partitions' });
  client.on('error', () => undefined); // the statement that it broke rejects too
  await client.connect();
  try {
    await client.query('set role carillon_engine; select pg_advisory_lock(7070002)'); // as long as another process takes
    await client.query("set lock_timeout = '200ms'");
    const now = await databaseNow(client);
    const oldest = now - retentionDays * DAY_MS;
    const made = await makeMissing(client, await partitions(client), { now, oldest });
    return { made, ...(await dropOld(client, await partitions(client), { before: oldest, beforeDrop })) };
  } finally {
    await client.end();
  }
}

async function databaseNow(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ now: Date }>('select carillon.now() as now');
  const [row] = rows;
  if (!row) throw new Error('the database gave no time');
  return row.now.getTime();
}

/** `detaching` and `detached` are what a run that was killed, or gave up waiting, has left. */
type Attachment = 'attached' | 'detaching' | 'detached';

async function partitions(client: pg.Client): Promise<Map<string, Attachment>> {
  const { rows } = await client.query<{ name: string; attachment: Attachment }>(
    `select c.relname as name, case when i.inhrelid is null then 'detached' when i.inhdetachpending then 'detaching' else 'attached' end as attachment
       from pg_class c left join pg_inherits i on i.inhrelid = c.oid
      where c.relnamespace = 'carillon'::regnamespace and c.relkind = 'r' and c.relname ~ $1 order by c.relname`,
    [`^(${Object.keys(TABLES).join('|')})_[0-9]{8}$`],
  );
  return new Map(rows.map((row) => [row.name, row.attachment]));
}

async function makeMissing(
  client: pg.Client,
  existing: ReadonlyMap<string, Attachment>,
  { now, oldest }: { now: number; oldest: number },
): Promise<string[]> {
  const days = [...existing].flatMap(([name, attachment]) => (attachment === 'attached' ? [startOf(name.slice(-8))] : []));
  const newest = days.length > 0 ? Math.max(...days) : Infinity;
  const today = dayOf(now).from.getTime();
  const first = Math.max(Math.min(newest, today - DAY_MS), dayOf(oldest).from.getTime());
  const made: string[] = [];
  for (let at = first; at <= today + DAYS_AHEAD * DAY_MS; at += DAY_MS) {
    for (const table of Object.keys(TABLES) as (keyof typeof TABLES)[]) {
      const day = dayOf(at);
      const name = `${table}_${day.suffix}`;
      if (existing.get(name) === 'attached') continue;
      await withLock(client, () => client.query(makeSql(table, day)));
      made.push(name);
    }
  }
  return made;
}

/** `LIKE … INCLUDING INDEXES` makes the same indexes, and the CHECK spares ATTACH its scan. */
function makeSql(table: keyof typeof TABLES, { suffix, from, to }: Day): string {
  const name = `carillon.${table}_${suffix}`;
  const range = [firstIdAt(from), firstIdAt(to)] as const;
  const key = TABLES[table];
  return [
    'begin',
    `drop table if exists ${name}`, // detached by a process that was killed before it could drop it
    `create table ${name} (like carillon.${table} including all)`,
    `alter table ${name} enable row level security`,
    `alter table ${name} add constraint ${table}_${suffix}_range check (${key} >= '${range[0]}' and ${key} < '${range[1]}')`,
    `alter table carillon.${table} attach partition ${name} for values from ('${range[0]}') to ('${range[1]}')`,
    'commit',
  ].join('; ');
}

interface Drop {
  /** What ended before this goes. */
  readonly before: number;
  readonly beforeDrop: (client: pg.Client, upTo: string) => Promise<void>;
}

async function dropOld(
  client: pg.Client,
  existing: ReadonlyMap<string, Attachment>,
  { before, beforeDrop }: Drop,
): Promise<Omit<PartitionReport, 'made'>> {
  const dropped: string[] = [];
  const postponed: string[] = [];
  for (const [name, attachment] of existing) {
    const to = dayOf(startOf(name.slice(-8))).to;
    if (to.getTime() > before) continue;
    const behind = postponed.some((other) => tableOf(other) === tableOf(name)); // a table has one detachment under way at most
    const done =
      !behind &&
      (await unlessLocked(async () => {
        if (attachment === 'attached' && tableOf(name) === 'notifications') await beforeDrop(client, firstIdAt(to));
        await detachAndDrop(client, name, attachment);
      }));
    (done ? dropped : postponed).push(name);
  }
  return { dropped, postponed };
}

async function detachAndDrop(client: pg.Client, name: string, attachment: Attachment): Promise<void> {
  const detach = `alter table carillon.${tableOf(name)} detach partition carillon.${name}`;
  if (attachment === 'attached') await withLock(client, () => startDetaching(client, name, detach));
  if ((await partitions(client)).get(name) === 'detaching') await withLock(client, () => client.query(`${detach} finalize`));
  await withLock(client, () => client.query(`drop table carillon.${name}`));
}

/** Commits its first half, which can't be done twice: from then on the way is `finalize`. */
async function startDetaching(client: pg.Client, name: string, detach: string): Promise<void> {
  try {
    await client.query(`${detach} concurrently`);
  } catch (error) {
    if ((await partitions(client)).get(name) === 'attached') throw error;
  }
}

/** False when somebody, such as a dump, holds a lock for longer than we try. */
async function unlessLocked(work: () => Promise<void>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (isLockTimeout(error)) return false;
    throw error;
  }
}

/** A lock that does not come within 200 ms is asked for again, so that nobody queues behind us for long. */
async function withLock(client: pg.Client, statement: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await statement();
      return;
    } catch (error) {
      await client.query('rollback');
      if (attempt === LOCK_TRIES || !isLockTimeout(error)) throw error;
    }
  }
}
