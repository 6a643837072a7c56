/** Partitions are there before they are needed, and go whole, while everybody else goes on. */
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CarillonEvent } from '../../src/domain/event.ts';
import { firstIdAt, newId } from '../../src/lib/id.ts';
import { isLockTimeout } from '../../src/store/database.ts';
import { insertEvents } from '../../src/store/events.ts';
import { raiseFloors } from '../../src/store/inbox-changes.ts';
import { insertNotifications } from '../../src/store/notifications.ts';
import { maintainPartitions, type PartitionReport } from '../../src/store/partitions.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';

const DAY_MS = 86_400_000;
const TABLES = ['attempts', 'deliveries', 'events', 'notifications'];
const RETENTION_DAYS = 30;

let db: TestDatabase;
const cleanups: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  db = await freshDatabase();
  await db.query("insert into carillon.tenants (id) values ('acme')");
  // Whatever deletes a row here fails.
  await db.query(
    "create function public.refuse() returns trigger language plpgsql as $$ begin raise exception 'a row was deleted'; end $$",
  );
  for (const table of TABLES)
    await db.query(`create trigger refuse before delete on carillon.${table} for each row execute function public.refuse()`);
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await db.drop();
});

const maintain = (beforeDrop = raiseFloors): Promise<PartitionReport> =>
  maintainPartitions(db.connection, { retentionDays: RETENTION_DAYS, beforeDrop });

async function nowMs(): Promise<number> {
  const [row] = await db.query<{ now: Date }>('select carillon.now() as now');
  return row!.now.getTime();
}

const suffixOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10).replaceAll('-', '');

/** Days of a table's partitions that are attached, in order. */
async function daysOf(table: string): Promise<string[]> {
  const rows = await db.query<{ day: string }>(
    `select right(c.relname, 8) as day from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = $1::regclass and c.relkind = 'r' and not i.inhdetachpending order by 1`,
    [`carillon.${table}`],
  );
  return rows.map((row) => row.day);
}

/** Tables named like partitions, attached or not. */
async function tablesOf(day: string): Promise<string[]> {
  const rows = await db.query<{ relname: string }>(
    "select relname from pg_class where relkind = 'r' and relname ~ ('^[a-z]+_' || $1 || '$') order by 1",
    [day],
  );
  return rows.map((row) => row.relname);
}

function daysBetween(from: number, to: number): string[] {
  return Array.from({ length: Math.round((to - from) / DAY_MS) + 1 }, (_, index) => suffixOf(from + index * DAY_MS));
}

async function holdLocks(): Promise<pg.Client> {
  const holder = new pg.Client(db.connection);
  cleanups.push(() => holder.end());
  holder.on('error', () => undefined);
  await holder.connect();
  await holder.query('begin');
  for (const table of TABLES) await holder.query(`select count(*) from carillon.${table}`);
  await holder.query(`lock table ${TABLES.map((table) => `carillon.${table}`).join(', ')} in row exclusive mode`);
  return holder;
}

async function insertEvent(): Promise<void> {
  const at = new Date(await nowMs());
  const event: CarillonEvent = {
    ...{ id: newId(at), tenantId: 'acme', type: 'inline', severity: 'low', tags: [], acceptedAt: at, dueAt: at },
    ...{
      scheduledFor: null,
      expiresAt: null,
      correlationId: null,
      traceparent: null,
      version: null,
      cursor: null,
      request: { to: ['ada'], data: {} },
    },
  };
  await db.database.transaction((tx) => insertEvents(tx, [{ event, requestJson: '{}', state: 'accepted' }]));
}

/** Inserts one event after another, as the product does, until `end`, which resolves with how many. */
function insertOneByOne(): { end: () => Promise<number> } {
  const stop = new AbortController();
  const inserting = (async () => {
    let inserted = 0;
    for (; !stop.signal.aborted; inserted++) await insertEvent();
    return inserted;
  })();
  inserting.catch(() => undefined); // `end` rejects with it
  return {
    end: () => {
      stop.abort();
      return inserting;
    },
  };
}

async function tell(userId: string, count: number, at: Date): Promise<void> {
  const row = {
    tenantId: 'acme',
    userId,
    type: 'inline',
    subject: 's',
    body: 'b',
    actionUrl: null,
    severity: 'low',
    tags: [],
    metadata: {},
    createdAt: at,
    inApp: true,
  } as const;
  const rows = Array.from({ length: count }, () => ({ ...row, id: newId(at), eventId: newId(at) }));
  await db.database.transaction((tx) => insertNotifications(tx, rows));
}

describe('making', () => {
  test('from yesterday to a week ahead, with row-level security on each, and no more by a second run', async () => {
    await maintain();
    const now = await nowMs();
    for (const table of TABLES) expect(await daysOf(table)).toEqual(expect.arrayContaining(daysBetween(now - DAY_MS, now + 7 * DAY_MS)));
    const open = await db.query(
      `select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where c.relkind = 'r' and (not c.relrowsecurity or exists (select from pg_policy p where p.polrelid = c.oid))`,
    );
    expect(open).toEqual([]);
    expect(await maintain()).toEqual({ made: [], dropped: [], postponed: [] });
  });

  test('after a stop of 20 days no day is missing', async () => {
    const before = await nowMs();
    await db.moveClock(20 * DAY_MS);
    const { made } = await maintain();
    expect(made.length).toBe(4 * 20);
    for (const table of TABLES) expect(await daysOf(table)).toEqual(expect.arrayContaining(daysBetween(before, before + 27 * DAY_MS)));
    await insertEvent();
  });

  test('after a stop of years there are the days of the retention', async () => {
    await db.moveClock(800 * DAY_MS);
    expect((await maintain()).made.length).toBe(4 * (RETENTION_DAYS + 8));
  });

  test('a new partition has the indexes of the others', async () => {
    await db.moveClock(DAY_MS);
    await maintain();
    const day = suffixOf((await nowMs()) + 7 * DAY_MS);
    const indexes = await db.query<{ table: string; count: number }>(
      `select t as table, (select count(*)::int from pg_index where indrelid = ('carillon.' || t)::regclass)
                        - (select count(*)::int from pg_index where indrelid = ('carillon.' || t || '_' || $2)::regclass) as count from unnest($1::text[]) t`,
      [TABLES, day],
    );
    expect(indexes.map(({ count }) => count)).toEqual([0, 0, 0, 0]);
  });

  test('several processes at once make each partition once', async () => {
    await db.moveClock(20 * DAY_MS);
    const reports = await Promise.all([maintain(), maintain(), maintain()]);
    const made = reports.flatMap((report) => report.made);
    expect(new Set(made).size).toBe(made.length);
    expect(made.length).toBe(4 * 20);
  });

  test('while transactions hold their locks on the tables, and inserts go on', async () => {
    await db.moveClock(5 * DAY_MS);
    await holdLocks();
    const inserting = insertOneByOne();
    const { made } = await maintain();
    expect(made.length).toBe(4 * 5);
    expect(await inserting.end()).toBeGreaterThan(0);
  });

  test('a table that was left unattached under the name of a day to come is replaced', async () => {
    await db.moveClock(DAY_MS);
    const day = suffixOf((await nowMs()) + 7 * DAY_MS);
    await db.query(`create table carillon.events_${day} (left_over integer); alter table carillon.events_${day} owner to carillon_engine`);
    await maintain();
    expect(await daysOf('events')).toContain(day);
  });
});

describe('dropping', () => {
  const PAST_DAYS = RETENTION_DAYS + 3;

  /** What was today lies beyond the retention now. */
  async function age(): Promise<string> {
    const day = suffixOf(await nowMs());
    await db.moveClock(PAST_DAYS * DAY_MS);
    return day;
  }

  test('takes whole partitions, and nothing that the retention keeps', async () => {
    await insertEvent();
    const day = await age();
    const { dropped } = await maintain();
    expect(dropped).toEqual(expect.arrayContaining(TABLES.map((table) => `${table}_${day}`)));
    expect(await tablesOf(day)).toEqual([]);
    const now = await nowMs();
    for (const table of TABLES) {
      const days = await daysOf(table);
      expect(days[0]).toBe(suffixOf(now - RETENTION_DAYS * DAY_MS));
      expect(days).toEqual(daysBetween(now - RETENTION_DAYS * DAY_MS, now + 7 * DAY_MS));
    }
  });

  test('counts go down and floors up before the rows are gone', async () => {
    const at = new Date(await nowMs());
    await tell('ada', 3, at);
    await tell('bob', 2, at);
    const read = await db.query<{ id: string }>(
      "update carillon.notifications set read_at = now() where id = (select min(id::text)::uuid from carillon.notifications where user_id = 'ada') returning id",
    );
    await db.query("update carillon.inbox set unread = 2 where user_id = 'ada'");
    expect(read).toHaveLength(1);
    await age();
    await maintainPartitions(db.connection, { retentionDays: 300, beforeDrop: raiseFloors });
    await tell('ada', 1, new Date(await nowMs()));

    const seen: { upTo: string; left: number; unread: number }[] = [];
    await maintain(async (client, upTo) => {
      await raiseFloors(client, upTo);
      const { rows } = await client.query<{ left: number; unread: number }>(
        "select (select count(*)::int from carillon.notifications where id < $1) as left, (select unread from carillon.inbox where user_id = 'ada') as unread",
        [upTo],
      );
      seen.push({ upTo, ...rows[0]! });
    });
    expect(seen).toContainEqual({ upTo: firstIdAt(new Date(Math.floor(at.getTime() / DAY_MS + 1) * DAY_MS)), left: 5, unread: 1 });
    const inboxes = await db.query('select user_id, unread, total, sequence, floor from carillon.inbox order by user_id');
    expect(inboxes).toEqual([
      { user_id: 'ada', unread: 1, total: 1, sequence: '5', floor: '5' },
      { user_id: 'bob', unread: 0, total: 0, sequence: '3', floor: '3' },
    ]);
    expect(await db.query('select count(*)::int as count from carillon.notifications')).toEqual([{ count: 1 }]);
  });

  test('a transaction that goes on for long postpones it, blocks nobody, and the next run drops', async () => {
    await maintainPartitions(db.connection, { retentionDays: 300, beforeDrop: raiseFloors });
    const day = await age();
    const holder = await holdLocks();
    const made = maintainPartitions(db.connection, { retentionDays: 300, beforeDrop: raiseFloors });
    expect((await made).made.length).toBeGreaterThan(0);
    const inserting = insertOneByOne();
    const first = await maintain();
    expect(await inserting.end()).toBeGreaterThan(0);
    expect(first.dropped).toEqual([]);
    expect(first.postponed).toEqual(expect.arrayContaining(TABLES.map((table) => `${table}_${day}`)));
    await holder.query('rollback');
    const second = await maintain();
    expect(second.postponed).toEqual([]);
    expect(second.dropped.toSorted()).toEqual(first.postponed.toSorted());
    expect(await tablesOf(day)).toEqual([]);
  });

  test('a run that is killed while it detaches is finished by the next', async () => {
    await maintainPartitions(db.connection, { retentionDays: 300, beforeDrop: raiseFloors });
    const day = await age();
    await maintainPartitions(db.connection, { retentionDays: 300, beforeDrop: raiseFloors });
    const holder = await holdLocks();
    const killed = maintain().then(
      () => 'ended',
      (error: unknown) => (isLockTimeout(error) ? 'timed out' : 'killed'),
    );
    await expect
      .poll(
        () =>
          db.query(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'carillon-partitions' and datname = current_database() and wait_event_type = 'Lock' and query like '%finalize'",
          ),
        { interval: 5, timeout: 10_000 },
      )
      .toHaveLength(1);
    expect(await killed).toBe('killed');
    await holder.query('rollback');
    expect(await db.query('select count(*)::int as count from pg_inherits where inhdetachpending')).not.toEqual([{ count: 0 }]);
    const { dropped, postponed } = await maintain();
    expect(dropped).toEqual(expect.arrayContaining(TABLES.map((table) => `${table}_${day}`)));
    expect(postponed).toEqual([]);
    expect(await db.query('select count(*)::int as count from pg_inherits where inhdetachpending')).toEqual([{ count: 0 }]);
  });

  test('a partition that was detached and not dropped is dropped by the next run', async () => {
    const day = await age();
    for (const table of TABLES) await db.query(`alter table carillon.${table} detach partition carillon.${table}_${day}`);
    const { dropped } = await maintain();
    expect(dropped).toEqual(expect.arrayContaining(TABLES.map((table) => `${table}_${day}`)));
    expect(await tablesOf(day)).toEqual([]);
  });

  test('several processes at once drop each partition once', async () => {
    await age();
    const reports = await Promise.all([maintain(), maintain(), maintain()]);
    const dropped = reports.flatMap((report) => report.dropped);
    expect(dropped.length).toBeGreaterThan(0);
    expect(new Set(dropped).size).toBe(dropped.length);
    expect(reports.flatMap((report) => report.postponed)).toEqual([]);
  });
});
