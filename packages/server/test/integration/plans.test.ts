/**
 * Each statement looks only at the partitions that its ids name, and what claims looks only at what it takes: with plans made
 * on empty tables, with plans that know the tables, and with the generic plans that the server may choose at any time.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { firstIdAt } from '../../src/lib/id.ts';
import { raiseFloors } from '../../src/store/inbox-changes.ts';
import { BAD, HOT, OVER_MIDNIGHT } from './fixtures/hot-work.ts';
import {
  DAY_MS,
  DAYS,
  nodesOf,
  PARTITIONED,
  planRig,
  scansOf,
  tableOf,
  today,
  type Explainer,
  type Plan,
  type PlanRig,
  type Recorded,
} from './fixtures/plans-rig.ts';

const ROWS = 500;
const ALL = DAYS.back + DAYS.ahead + 1;
/** A lookup by key may read that many rows more than it returns. */
const SPARE_ROWS = 5;

/** Partitions that a statement may look at, where that is not one. `rows`: how many it may read, where that is not what it returns. */
const ALLOWED: Readonly<Record<string, { partitions: number; rows: number }>> = {
  // In due order over all partitions: the first row of each, and what is taken.
  'deliveries-lock-due': { partitions: ALL, rows: 50 + ALL },
  'events-claim': { partitions: ALL, rows: 50 + ALL },
  'events-due-ids': { partitions: ALL, rows: 50 + ALL },
  'deliveries-next-due': { partitions: ALL, rows: ALL },
  'deliveries-oldest-due': { partitions: ALL, rows: ALL },
  'events-next-due': { partitions: ALL, rows: ALL },
  'deliveries-return-all': { partitions: ALL, rows: 21 * ALL }, // all that is being sent: once, at start
  // The first that waits in each of two queues, in whichever partition.
  'ordering-begin-turns': { partitions: ALL, rows: 50 + ALL },
  'ordering-queues-after': { partitions: ALL, rows: 50 + ALL },
  'deliveries-renew': { partitions: 2, rows: 85 }, // locked in order first, so each row is read twice
  // One user's rows, wherever they are: 10 a day.
  'deliveries-recheck-held': { partitions: ALL, rows: 20 * ALL },
  'inbox-changes': { partitions: ALL, rows: 50 + ALL },
  'inbox-list': { partitions: ALL, rows: 10 * ALL },
  'inbox-list-forward': { partitions: ALL, rows: 10 * ALL },
  'inbox-read-all': { partitions: ALL, rows: 20 * ALL },
  'timeline-notifications-user-backward': { partitions: ALL, rows: 11 * ALL },
  'timeline-notifications-user-forward': { partitions: ALL, rows: 11 * ALL },
  'timeline-deliveries-user-backward': { partitions: 2 * ALL, rows: 20 * ALL },
  'timeline-deliveries-user-forward': { partitions: 2 * ALL, rows: 20 * ALL },
  // All that waits for one destination, found by its index: one a day, locked first.
  'destination-deliveries-end': { partitions: ALL, rows: 3 * ALL },
  'destination-deliveries-hold': { partitions: ALL, rows: 3 * ALL },
  'destination-deliveries-recover': { partitions: ALL, rows: 3 * ALL },
  'timeline-deliveries-destination-backward': { partitions: ALL, rows: 2 * ALL },
  'timeline-deliveries-destination-forward': { partitions: ALL, rows: 2 * ALL },
  // A page, partition after partition from its end.
  'timeline-events-user-backward': { partitions: 2 * ALL, rows: 30 * ALL },
  'timeline-events-user-forward': { partitions: 2 * ALL, rows: 30 * ALL },
  'timeline-events-backward': { partitions: 2, rows: 60 },
  'timeline-events-forward': { partitions: 2, rows: 60 },
  'inline-events-list': { partitions: 2, rows: 60 },
  'timeline-notifications-backward': { partitions: 2, rows: 60 },
  'timeline-notifications-forward': { partitions: 2, rows: 60 },
  'timeline-deliveries-all-backward': { partitions: 2, rows: 60 },
  'timeline-deliveries-all-forward': { partitions: 2, rows: 60 },
  'outbox-deliveries': { partitions: 2, rows: 60 },
  'recipients-audience': { partitions: 0, rows: 110 },
  'idempotency-sweep': { partitions: 0, rows: 40 },
};

/** Rare, and about everything that one user was told: reading through the partitions may be the best plan. */
const WHOLE_HISTORY = /^erase-/;

/** Tenants, and some keys for each, looked at once in a while when their last use is noted; the one of a request is found by its hash. */
const SMALL: readonly string[] = ['api_keys', 'tenants'];

let rig: PlanRig;
let recorded: Recorded[];
let overMidnight: Recorded[];
let bad: Recorded[];
let own: Explainer;
let generic: Explainer;

beforeAll(async () => {
  rig = await planRig();
  await rig.fill(60);
  recorded = await rig.record(HOT);
  overMidnight = await rig.record(OVER_MIDNIGHT);
  bad = await rig.record(BAD);
  await rig.empty();
  own = await rig.connect('auto');
  generic = await rig.connect('force_generic_plan');
  // The server compares its first five plans with a generic one.
  for (let run = 1; run <= 6; run++) for (const work of [...recorded, ...overMidnight, ...bad]) await own.replay(work);
  for (const work of [...recorded, ...overMidnight, ...bad]) await generic.replay(work);
  await rig.fill(ROWS);
}, 120_000);
afterAll(() => rig.close());

/** What is wrong with a plan, in words; nothing when it is well. */
function faultsOf(name: string, plan: Plan, limits: { partitions: number; rows: number }): string[] {
  const scans = scansOf(plan);
  const faults: string[] = [];
  const whole = scans.filter(({ node, relation }) => node === 'Seq Scan' && !SMALL.includes(relation));
  if (whole.length > 0) faults.push(`${name}: Seq Scan on ${whole.length} × ${tableOf(whole[0]!.relation)}`);
  for (const table of PARTITIONED) {
    const looked = new Set(
      scans.filter(({ relation }) => relation !== table && tableOf(relation) === table).map(({ relation }) => relation),
    );
    if (looked.size > limits.partitions) faults.push(`${name}: ${looked.size} partitions of ${table} instead of ${limits.partitions}`);
  }
  const rows = scans.filter(({ relation }) => !SMALL.includes(relation)).reduce((sum, scan) => sum + scan.rows, 0);
  if (rows > limits.rows) faults.push(`${name}: ${rows} rows read instead of ${limits.rows}`);
  return faults;
}

const BY_KEY = 20 + SPARE_ROWS;

async function faults(explainer: Explainer, works: readonly Recorded[], partitions: number): Promise<string[]> {
  const found: string[] = [];
  for (const work of works) {
    const plans = await explainer.replay(work);
    for (const { name } of work.statements.filter((statement) => !WHOLE_HISTORY.test(statement.name))) {
      const plan = plans.get(name);
      found.push(...(plan ? faultsOf(name, plan, ALLOWED[name] ?? { partitions, rows: BY_KEY * partitions }) : [`${name}: no plan`]));
    }
  }
  return found;
}

test('there are as many partitions as a month of retention has', async () => {
  const rows = await rig.db.query<{ table: string; count: number }>(
    'select inhparent::regclass::text as table, count(*)::int as count from pg_inherits join pg_class on oid = inhrelid where relkind = $1 group by 1 order by 1',
    ['r'],
  );
  expect(rows).toEqual([...PARTITIONED].sort().map((table) => ({ table: `carillon.${table}`, count: ALL })));
});

test('an API key is found by its hash', async () => {
  const work = recorded.find(({ label }) => label === 'accept: the API key')!;
  for (const explainer of [own, generic]) {
    const plan = (await explainer.replay(work)).get('api-keys-find')!;
    expect(scansOf(plan).filter(({ relation }) => relation === 'api_keys')).toMatchObject([
      { node: expect.stringMatching(/Index Scan|Bitmap/), rows: 1 },
    ]);
  }
});

test('every statement of the store on a partitioned table is explained here', () => {
  const explained = recorded.flatMap(({ statements }) => statements.map(({ name }) => name));
  const missing = statementsOnPartitions().filter(({ pattern }) => !explained.some((one) => pattern.test(one)));
  expect(missing.map(({ name }) => name)).toEqual([]);
});

function statementsOnPartitions(): { name: string; pattern: RegExp }[] {
  const directory = join(import.meta.dirname, '../../src/store');
  return readdirSync(directory)
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .flatMap((file) => {
      const parts = readFileSync(join(directory, file), 'utf8')
        .split(/\bname: (?=['`])/)
        .slice(1);
      return parts
        .filter((part) => /carillon\.(events|notifications|deliveries|attempts)\b/.test(part.slice(0, part.indexOf('values:'))))
        .map((part) => {
          const name = /^(['`])(.*?)\1[,\n]/s.exec(part)?.[2] ?? part.slice(0, 40);
          return { name, pattern: new RegExp(`^${name.replaceAll(/\$\{.*?\}/g, '.*')}$`) };
        });
    });
}

describe.each([
  ['plans made on empty tables', () => own],
  ['generic plans made on empty tables', () => generic],
])('%s', (_title, explainer) => {
  test('look at one partition for one day, and read what they return', async () => {
    expect(await faults(explainer(), recorded, 1)).toEqual([]);
  });

  test('are found out when they probe every partition, or read a table', async () => {
    const found = await faults(explainer(), bad, 1);
    expect(found).toEqual(expect.arrayContaining([`probes: ${ALL} partitions of deliveries instead of 1`, 'reads: Seq Scan on 1 × users']));
  });

  test('look at two partitions for two days', async () => {
    expect(await faults(explainer(), overMidnight, 2)).toEqual([]);
  });
});

/** Rows that a claim reads, by statement, and the kinds of its nodes. */
async function claimed(explainer: Explainer): Promise<{ rows: Record<string, number>; sorted: string[] }> {
  const rows: Record<string, number> = {};
  const sorted: string[] = [];
  for (const work of recorded) {
    for (const [name, plan] of await explainer.replay(work)) {
      if (!/^(deliveries-lock-due|events-claim|events-due-ids|(deliveries|events)-(next|oldest)-due)$/.test(name)) continue;
      rows[`${work.label} ${name}`] = scansOf(plan).reduce((sum, scan) => sum + scan.rows, 0);
      if (nodesOf(plan).some((node) => node.includes('Sort'))) sorted.push(name);
    }
  }
  return { rows, sorted };
}

test('what waits for its turn is not there for a claim; a turn is taken from the front of its queue', async () => {
  const before = [await claimed(own), await claimed(generic)];
  await rig.db.query(
    `update carillon.deliveries d set status = 1, due_at = null, queue = 7 + w.n % 2, ordering = 7, ordering_number = w.n
       from (select id, row_number() over () as n from carillon.deliveries where status = 4 limit 6000) w where d.id = w.id`,
  );
  expect([await claimed(own), await claimed(generic)]).toEqual(before);
  const work = recorded.find(({ label }) => label === 'order: turns')!;
  for (const explainer of [own, generic]) {
    const scans = scansOf((await explainer.replay(work)).get('ordering-begin-turns')!);
    expect(scans.filter(({ node }) => node === 'Seq Scan')).toEqual([]);
    expect(scans.reduce((sum, scan) => sum + scan.rows, 0)).toBeLessThanOrEqual(2 * ALL + 10);
    const sweep = recorded.find(({ label }) => label === 'order: sweep')!;
    expect(scansOf((await explainer.replay(sweep)).get('ordering-queues-after')!).reduce((sum, scan) => sum + scan.rows, 0)).toBeLessThan(
      4 * ALL,
    );
  }
});

test('a claim takes its rows from the index in order, and reads no more of them when 100 times as many wait', async () => {
  const before = [await claimed(own), await claimed(generic)];
  for (const table of ['deliveries', 'events']) {
    await rig.db.query(
      `update carillon.${table} set due_at = now() - interval '100 days' + make_interval(secs => random() * 1000), status = 1 where status = 4 or status = 3`,
    );
  }
  const [waiting] = await rig.db.query<{ count: number }>('select count(*)::int as count from carillon.deliveries where due_at <= now()');
  expect(waiting!.count).toBeGreaterThan(10_000);
  const after = [await claimed(own), await claimed(generic)];
  expect([...before, ...after].flatMap(({ sorted }) => sorted)).toEqual([]);
  for (const [index, { rows }] of after.entries()) {
    expect(Object.keys(rows).length).toBeGreaterThanOrEqual(6);
    for (const [name, read] of Object.entries(rows)) expect(read, name).toBeLessThanOrEqual(before[index]!.rows[name]! + ALL);
  }
});

test('plans that know the tables look at the same partitions', async () => {
  await rig.db.query('analyze');
  expect(await faults(own, recorded, 1)).toEqual([]);
  expect(await faults(own, overMidnight, 2)).toEqual([]);
});

test('what is taken out of the inboxes before a drop is read from the partition that goes', async () => {
  own.plans.clear();
  await raiseFloors(own.client, firstIdAt(new Date(today - (DAYS.back - 1) * DAY_MS)));
  const looked = new Set(
    [...own.plans.values()]
      .flatMap(scansOf)
      .map(({ relation }) => relation)
      .filter((relation) => tableOf(relation) === 'notifications'),
  );
  expect(own.plans.size).toBeGreaterThan(1);
  expect(looked.size).toBe(1);
});
