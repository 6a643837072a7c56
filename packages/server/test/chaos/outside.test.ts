/** Processes that share an outside PostgreSQL: one is killed, one is stopped, and the database itself goes away. */
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { ENTRY_KINDS } from '../../src/domain/delivery.ts';
import {
  missing,
  repeats,
  startLoad,
  startReceiver,
  type Answer,
  type Answering,
  type Kill,
  type Load,
  type Receiver,
} from '../harness/ledger.ts';
import {
  endProcesses,
  freePort,
  KEY,
  spawnCarillon,
  startOutsidePostgres,
  type Carillon,
  type OutsidePostgres,
} from '../harness/process.ts';
import { FULL, letRun, report, seededRandom } from './scale.ts';

const LEASE_MS = 2_300;
const RECOVERY_MS = LEASE_MS + 5_000;
const recovery = { timeout: RECOVERY_MS, interval: 5 };
/** Longer than a lease: what was sent and could not be recorded is then due again. */
const AWAY_MS = FULL ? 30_000 : LEASE_MS + 500;
const SLOTS = 64;
const USERS = Array.from({ length: 12 }, (_, index) => `user-${index}`);
/** What a lane that has not answered yet may have in flight. */
const BEGUN = 2;
const LONG = 300_000;

const random = seededRandom('outside');
let postgres: OutsidePostgres;
const closing: (() => Promise<void>)[] = [];

beforeAll(async () => {
  postgres = await startOutsidePostgres();
});

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

afterAll(endProcesses);

type Store = Awaited<ReturnType<OutsidePostgres['createDatabase']>>;

interface Process {
  readonly running: () => Carillon;
  readonly start: () => Promise<void>;
}

async function processOn({ url }: Store): Promise<Process> {
  const settings = {
    CARILLON_PORT: String(await freePort()),
    DATABASE_URL: url,
    CARILLON_DELIVERY_SLOTS: String(SLOTS),
    CARILLON_DELIVERY_LEASE: `${LEASE_MS}ms`,
    CARILLON_DELIVERY_TOTAL_TIMEOUT: '1100ms',
    CARILLON_DELIVERY_CONNECT_TIMEOUT: '1100ms',
    CARILLON_WEBHOOK_RETRY: '1s,1s,1s,1s,1s,1s,1s,1s',
  };
  let running: Carillon | undefined;
  const start = async () => {
    running = spawnCarillon(settings);
    await running.ready;
  };
  closing.push(async () => {
    running?.signal('SIGKILL');
    await running?.ended;
  });
  return { running: () => running!, start };
}

async function receiverOf(answering: Answering): Promise<Receiver> {
  const receiver = await startReceiver(answering);
  closing.push(receiver.close);
  return receiver;
}

function loadOn(processes: readonly Process[], receiver: Receiver): Load {
  const urls = processes.map(({ running }) => running().url);
  return startLoad({ urls, key: KEY, users: USERS, urlOf: receiver.urlOf, random, singles: 6, batches: 2, pauseMs: FULL ? 60 : 30 });
}

const statusesOf = (answers: readonly Answer[]) =>
  Object.fromEntries([...Map.groupBy(answers, ({ status }) => status)].map(([status, { length }]) => [status, length]));

/** Each recipient of an event has one notification of it, and nobody has two of the same request. */
async function expectInboxesToBeExact({ query }: Store, { acknowledged }: Load): Promise<void> {
  const rows = await query<{ user_id: string; sequences: number[]; marks: number; sequence: string; unread: number; total: number }>(
    `select i.user_id, array_agg(n.sequence::int order by n.sequence) as sequences, count(distinct n.metadata->>'mark')::int as marks, i.sequence, i.unread, i.total
       from carillon.inbox i join carillon.notifications n using (tenant_id, user_id) group by i.user_id, i.sequence, i.unread, i.total`,
  );
  for (const { user_id: user, sequences, marks, sequence, unread, total } of rows) {
    const count = sequences.length;
    expect({ user, sequences, marks, sequence: Number(sequence), unread, total }).toEqual({
      user,
      sequences: sequences.map((_, index) => index + 1),
      marks: count,
      sequence: count,
      unread: count,
      total: count,
    });
  }
  const owed = acknowledged.reduce((sum, { users }) => sum + users.length, 0);
  expect(rows.reduce((sum, { sequences }) => sum + sequences.length, 0)).toBeGreaterThanOrEqual(owed);
}

test('two processes: whichever is killed, the other delivers what it had leased once the lease has ended', { timeout: LONG }, async () => {
  const store = await postgres.createDatabase('two_processes');
  const pair = [await processOn(store), await processOn(store)];
  await Promise.all(pair.map(({ start }) => start()));
  const receiver = await receiverOf((_arrival, done) => setTimeout(done, 150 * random()));
  const load = loadOn(pair, receiver);
  const kills: (Kill & { takenOverMs: number })[] = [];
  for (let round = 0; round < (FULL ? 10 : 2); round++) {
    await letRun(800 + 800 * random());
    const victim = pair[round < 2 ? round : Math.floor(random() * 2)]!;
    const fromMs = performance.now();
    victim.running().signal('SIGKILL');
    await victim.running().ended;
    const untilMs = performance.now() + 500; // what it had written may still wait in the receiver's sockets
    const at = new Date().toISOString();
    const left = async () =>
      (await store.query(`select from carillon.deliveries where finished_at is null and created_at < '${at}' limit 1`)).length;
    await vi.waitUntil(async () => (await left()) === 0, recovery);
    kills.push({ what: 'process', fromMs, untilMs, takenOverMs: performance.now() - fromMs });
    await victim.start();
  }
  await load.stop();
  await vi.waitUntil(() => missing(load.acknowledged, receiver.arrivals).length === 0, recovery).catch(() => undefined);

  const again = repeats(receiver.arrivals, kills);
  const [lost] = await store.query<{ count: number }>(
    `select count(*)::int as count from carillon.attempts where kind = ${ENTRY_KINDS.lease_lost}`,
  );
  report('two processes', {
    kills: kills.length,
    acknowledged: load.acknowledged.length,
    arrivals: receiver.arrivals.length,
    'leases taken over': lost!.count,
    duplicates: kills.map((kill) => again.filter((one) => one.kill === kill).length).join('+'),
    'all of before finished after ms, at most': Math.max(...kills.map(({ takenOverMs }) => takenOverMs)),
    answers: JSON.stringify(statusesOf(load.answers)),
  });
  expect(missing(load.acknowledged, receiver.arrivals)).toEqual([]);
  expect(lost!.count).toBeGreaterThan(0);
  expect(again.filter(({ kill }) => kill === undefined)).toEqual([]);
  for (const kill of kills) expect(again.filter((one) => one.kill === kill).length).toBeLessThanOrEqual(SLOTS);
  await expectInboxesToBeExact(store, load);
});

test('a process stopped past its leases and then continued sends nothing of them and changes nothing', { timeout: LONG }, async () => {
  const store = await postgres.createDatabase('stopped_worker');
  const [first, second] = [await processOn(store), await processOn(store)];
  const held: (() => void)[] = [];
  let holding = true;
  const receiver = await receiverOf((arrival, done) => {
    if (holding && arrival.userId === 'held') held.push(done);
    else done();
  });
  const arrivalsAt = (userId: string) => receiver.arrivals.filter((arrival) => arrival.userId === userId);
  await first.start();
  const post = async (to: Process, userId: string, count: number) => {
    const wire = { to: [{ user_id: userId, webhook_url: receiver.urlOf(userId) }], subject: 'Chaos' };
    const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
    const response = await fetch(`${to.running().url}/v1/notifications/batch`, {
      method: 'POST',
      headers,
      body: JSON.stringify(Array(count).fill(wire)),
    });
    expect(response.status).toBe(202);
  };
  await post(first, 'warm', 1);
  await vi.waitUntil(() => arrivalsAt('warm').length === 1, recovery);

  await post(first, 'held', 20);
  await vi.waitUntil(() => held.length === BEGUN, { timeout: RECOVERY_MS, interval: 1 });
  first.running().signal('SIGSTOP');
  holding = false;
  const stoppedAt = performance.now();
  await second.start();
  await vi.waitUntil(
    () =>
      new Set(
        arrivalsAt('held')
          .filter(({ atMs }) => atMs > stoppedAt)
          .map(({ deliveryId }) => deliveryId),
      ).size === 20,
    recovery,
  );
  const look = () =>
    store.query(
      `select d.id, d.status, d.attempt_count, d.entry_count, d.lease_token, d.finished_at, json_agg(a order by a.number) as entries
       from carillon.deliveries d join carillon.attempts a on a.delivery_id = d.id where d.user_id = 'held' group by d.id, d.status, d.attempt_count, d.entry_count, d.lease_token, d.finished_at order by d.id`,
    );
  const finished = async () => (await look()).filter(({ finished_at }) => finished_at !== null).length === 20;
  await vi.waitUntil(finished, recovery);
  const [rows, sent] = [await look(), receiver.arrivals.length];

  for (const done of held) done(); // its own attempts succeeded, as far as it can see
  first.running().signal('SIGCONT');
  const lost = async () =>
    Number(/^carillon_lease_lost_total (\d+)/m.exec(await (await fetch(`${first.running().url}/metrics`)).text())?.[1]);
  await expect.poll(lost, { timeout: RECOVERY_MS }).toBe(BEGUN);
  await post(first, 'held', 1); // through the same lane: what it still held would go out before
  await vi.waitUntil(() => receiver.arrivals.length > sent, recovery);
  await post(first, 'held', 1);
  await vi.waitUntil(() => receiver.arrivals.length > sent + 1, recovery);

  report('stopped worker', {
    'in flight when stopped': BEGUN,
    arrivals: sent - 1,
    'sent by the other': arrivalsAt('held').filter(({ atMs }) => atMs > stoppedAt).length - 2,
  });
  expect(receiver.arrivals.length).toBe(sent + 2);
  const ids = new Set(rows.map(({ id }) => id as string));
  expect((await look()).filter(({ id }) => ids.has(id as string))).toEqual(rows);
  expect(arrivalsAt('held').length).toBe(20 + BEGUN + 2);
});

interface Absence {
  readonly name: string;
  readonly begin: () => void;
  readonly end: () => Promise<void>;
}

const absences: Absence[] = [
  { name: 'gone', begin: () => postgres.goAway(), end: () => postgres.comeBack() },
  { name: 'frozen', begin: () => postgres.freeze(), end: async () => postgres.thaw() },
];

test('PostgreSQL is gone, and then frozen: 503 with Retry-After and never a 2xx; afterwards all flows', { timeout: LONG }, async () => {
  const store = await postgres.createDatabase('away');
  const one = await processOn(store);
  await one.start();
  for (const absence of absences) await expectToOutlast(absence, store, one);
});

async function expectToOutlast({ name, begin, end }: Absence, store: Store, one: Process): Promise<void> {
  const receiver = await receiverOf((_arrival, done) => setTimeout(done, 20 * random()));
  const load = loadOn([one], receiver);
  await letRun(700);
  begin();
  const fromMs = performance.now();
  await letRun(AWAY_MS);
  const backMs = performance.now();
  await end();
  const untilMs = performance.now();
  await vi.waitUntil(() => load.acknowledged.some(({ atMs }) => atMs > untilMs), recovery);
  const acceptsAfterMs = performance.now() - untilMs;
  await vi.waitUntil(() => (receiver.arrivals.at(-1)?.atMs ?? 0) > untilMs, recovery);
  const deliversAfterMs = performance.now() - untilMs;
  await letRun(500);
  await load.stop();
  await vi.waitUntil(() => missing(load.acknowledged, receiver.arrivals).length === 0, recovery).catch(() => undefined);

  const meanwhile = load.answers.filter(({ sentMs, atMs }) => sentMs >= fromMs && atMs <= backMs);
  const again = repeats(receiver.arrivals, [{ what: name, fromMs, untilMs }]);
  report(`PostgreSQL ${name}`, {
    'for ms': untilMs - fromMs,
    'answers meanwhile': JSON.stringify(statusesOf(meanwhile)),
    'answers in all': JSON.stringify(statusesOf(load.answers)),
    acknowledged: load.acknowledged.length,
    arrivals: receiver.arrivals.length,
    duplicates: again.length,
    'accepts after ms': acceptsAfterMs,
    'delivers after ms': deliversAfterMs,
  });
  // A frozen one is given up after 10 s of silence, which only the long form waits for.
  if (name === 'gone' || FULL) expect(meanwhile.length).toBeGreaterThan(name === 'gone' ? 10 : 0);
  expect(meanwhile.filter(({ status, retryAfter }) => status !== 503 || !(Number(retryAfter) > 0))).toEqual([]);
  expect(missing(load.acknowledged, receiver.arrivals)).toEqual([]);
  expect(again.filter(({ kill }) => kill === undefined)).toEqual([]);
  // A process that lives remembers what it has sent. While it waits for answers, it can't.
  expect(again.length).toBeLessThanOrEqual(name === 'gone' ? 0 : SLOTS);
  await expectInboxesToBeExact(store, load);
}
