/** What the inbox asks touches a few pages, whatever lies in the partitions, even with plans made while the tables were empty. */
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Tx } from '../../src/domain/event.ts';
import { firstIdAt } from '../../src/lib/id.ts';
import { changeItem, readAll } from '../../src/store/inbox-changes.ts';
import { changesSince, listInbox, type InboxFilter } from '../../src/store/inbox.ts';
import type { Statement } from '../../src/store/database.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';

const DAY_MS = 86_400_000;
const OWNER = { tenantId: 'acme', userId: 'user7' };
const EVERYTHING: InboxFilter = {
  ...OWNER,
  status: 'all',
  includeTags: [],
  excludeTags: [],
  tagPrefix: null,
  limit: 25,
  offset: 0,
  cursor: null,
  forward: false,
};
const FILTERED: InboxFilter = { ...EVERYTHING, status: 'unread', includeTags: ['a'], excludeTags: ['b'], tagPrefix: 'a' };

interface Plan {
  'Node Type': string;
  'Relation Name'?: string;
  'Actual Loops'?: number;
  'Shared Hit Blocks'?: number;
  'Shared Read Blocks'?: number;
  Plans?: Plan[];
}

let db: TestDatabase;
let client: pg.Client;
let item = firstIdAt(new Date());
const prepared = new Set<string>();

beforeAll(async () => {
  db = await freshDatabase();
  const today = Math.floor(Date.now() / DAY_MS) * DAY_MS;
  for (let day = 2; day <= 22; day++) {
    const name = `carillon.notifications_old${day}`;
    await db.query(`create table ${name} (like carillon.notifications including all)`);
    await db.query(
      `alter table carillon.notifications attach partition ${name} for values from ('${firstIdAt(new Date(today - day * DAY_MS))}') to ('${firstIdAt(new Date(today - (day - 1) * DAY_MS))}')`,
    );
  }
  const partitions = await db.query<{ name: string }>(
    "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'carillon.notifications'::regclass",
  );
  expect(partitions).toHaveLength(30);
  for (const { name } of [...partitions, { name: 'carillon.inbox' }]) await db.query(`alter table ${name} set (autovacuum_enabled = off)`);

  client = new pg.Client(db.connection);
  await client.connect();
  await client.query(
    "set plan_cache_mode = force_generic_plan; set role carillon_api; select set_config('carillon.tenant', 'acme', false)",
  );
  await db.query("insert into carillon.tenants (id) values ('acme')");
  await db.query("insert into carillon.inbox (tenant_id, user_id) values ('acme', 'user7')");
  for (const [, work] of HOT) await explain(work); // on empty tables: from here on the plans stand
  await fill(today);
});
afterAll(async () => {
  await client.end();
  await db.drop();
});

/** 100 users, 25 days, 20 notifications a day each. */
async function fill(today: number): Promise<void> {
  await db.query(
    `insert into carillon.notifications (id, tenant_id, event_id, user_id, type, subject, body, severity, tags, metadata, created_at, inbox_at, created_sequence, sequence)
     select (lpad(to_hex($1::bigint - day * $2::bigint + n * 1000 + u), 12, '0') || '7000' || '8000' || lpad(to_hex(n * 1000 + u), 12, '0'))::uuid,
            'acme', gen_random_uuid(), 'user' || u, 'inline', 's', 'b', 2, '{a}', '{}', now(), now(), (20 - day) * 20 + n, (20 - day) * 20 + n
       from generate_series(0, 20) day, generate_series(1, 20) n, generate_series(1, 100) u`,
    [today, DAY_MS],
  );
  await db.query(
    'insert into carillon.inbox (tenant_id, user_id, sequence, unread, total) select tenant_id, user_id, max(sequence), count(*), count(*) from carillon.notifications group by 1, 2 on conflict (tenant_id, user_id) do update set sequence = excluded.sequence, unread = excluded.unread, total = excluded.total',
  );
  const [row] = await db.query<{ id: string }>(
    "select id from carillon.notifications where user_id = 'user7' order by id desc offset 50 limit 1",
  );
  item = row!.id;
}

/** A transaction that explains each statement, in a savepoint, before it runs it. */
function explaining(plans: Map<string, Plan>): Tx {
  let last: Promise<unknown> = Promise.resolve();
  const query = async ({ name, text, values }: Statement) => {
    if (!prepared.has(name)) await client.query(`prepare "${name}" as ${text}`);
    prepared.add(name);
    await client.query('savepoint explained');
    const { rows } = await client.query<{ 'QUERY PLAN': { Plan: Plan }[] }>(
      `explain (analyze, buffers, format json) execute "${name}"(${values.map(literal).join(', ')})`,
    );
    await client.query('rollback to explained');
    plans.set(name, rows[0]!['QUERY PLAN'][0]!.Plan);
    return client.query(text, values);
  };
  return { query: (statement: Statement) => (last = last.then(() => query(statement))) } as unknown as Tx;
}

function literal(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return `'{${value.join(',')}}'`;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : pg.escapeLiteral(value as string);
}

async function explain(work: (tx: Tx) => Promise<unknown>): Promise<Map<string, Plan>> {
  const plans = new Map<string, Plan>();
  await client.query('begin');
  await work(explaining(plans));
  await client.query('rollback');
  return plans;
}

function scans(plan: Plan): string[] {
  const own =
    (plan['Actual Loops'] ?? 0) > 0 && plan['Node Type'].includes('Scan') && plan['Relation Name']?.startsWith('notifications')
      ? [`${plan['Node Type']} ${plan['Relation Name']}`]
      : [];
  return [...own, ...(plan.Plans ?? []).flatMap(scans)];
}

/** `partitions`: how many may be looked at; `pages`: how many may be read. */
const HOT: [name: string, work: (tx: Tx) => Promise<unknown>, statement: string, limits: { partitions: number; pages: number }][] = [
  ['the first page', (tx) => listInbox(tx, EVERYTHING), 'inbox-list', { partitions: 12, pages: 150 }],
  ['a filtered page', (tx) => listInbox(tx, FILTERED), 'inbox-list', { partitions: 60, pages: 400 }],
  ['what changed', (tx) => changesSince(tx, { ...OWNER, after: 390, limit: 200 }), 'inbox-changes', { partitions: 30, pages: 150 }],
  ['a verb finds', (tx) => changeItem(tx, { ...OWNER, id: item, verb: 'read' }), 'inbox-find', { partitions: 1, pages: 10 }],
  ['a verb marks', (tx) => changeItem(tx, { ...OWNER, id: item, verb: 'read' }), 'inbox-mark', { partitions: 1, pages: 50 }],
  ['read-all', (tx) => readAll(tx, OWNER), 'inbox-read-all', { partitions: 60, pages: 10_000 }],
];

test.each(HOT)('%s', async (_name, work, statement, { partitions, pages }) => {
  const plan = (await explain(work)).get(statement)!;
  const ran = scans(plan);
  expect(ran.length).toBeGreaterThan(0);
  expect(ran.filter((scan) => scan.startsWith('Seq Scan'))).toEqual([]);
  expect(ran.length).toBeLessThanOrEqual(partitions);
  expect((plan['Shared Hit Blocks'] ?? 0) + (plan['Shared Read Blocks'] ?? 0)).toBeLessThanOrEqual(pages);
});
