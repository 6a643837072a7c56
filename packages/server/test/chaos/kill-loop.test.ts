/** One process with its embedded PostgreSQL: whichever is killed under load, what was acknowledged is delivered. */
import { hostname } from 'node:os';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { missing, repeats, startLoad, startReceiver, type Acknowledged, type Kill, type Load, type Receiver } from '../harness/ledger.ts';
import { endProcesses, freePort, freshDataDir, KEY, postmasterOf, spawnCarillon, type Carillon } from '../harness/process.ts';
import { follow, inboxOf, tokenOf, type Follower, type Inbox } from './inbox.ts';
import { FULL, letRun, report, seededRandom } from './scale.ts';

const KILLS = FULL ? 30 : 5;
/** For so long each PostgreSQL that the server starts again is killed at once. */
const FLAP_MS = FULL ? 4_000 : 1_000;
const [RUN_MS, RUN_SPREAD_MS] = FULL ? [1_000, 2_000] : [500, 500];
const LEASE_MS = 5_000;
/** What quality.md promises: the lease, and five seconds. */
const RECOVERY_MS = LEASE_MS + 5_000;
const recovery = { timeout: RECOVERY_MS, interval: 5 };
const SLOTS = 64;
const USERS = Array.from({ length: 12 }, (_, index) => `user-${index}`);
const TARGETS = ['server', 'postgres', 'both', 'every postgres'] as const;

interface Killed extends Kill {
  readonly what: (typeof TARGETS)[number];
  /** Of the start that followed; undefined when only PostgreSQL was killed. */
  readonly adopted: boolean | undefined;
  readonly readyAfterMs: number;
  readonly deliversAfterMs: number;
}

const random = seededRandom('kill loop');
const dataDir = freshDataDir();
let settings: Record<string, string>;
let server: Carillon;
let receiver: Receiver;
let load: Load;
let followers: Map<string, Follower>;
let inboxes: Map<string, Inbox>;
let acknowledged: readonly Acknowledged[];
const kills: Killed[] = [];

beforeAll(async () => {
  settings = {
    CARILLON_PORT: String(await freePort()),
    CARILLON_DATA_DIR: dataDir,
    CARILLON_DELIVERY_SLOTS: String(SLOTS),
    CARILLON_DELIVERY_LEASE: `${LEASE_MS}ms`,
    CARILLON_DELIVERY_TOTAL_TIMEOUT: '3500ms',
    CARILLON_DELIVERY_CONNECT_TIMEOUT: '3500ms',
  };
  receiver = await startReceiver((_arrival, done) => setTimeout(done, 20 * random()));
  server = spawnCarillon(settings);
  await server.ready;
  const tokens = new Map<string, string>();
  for (const user of USERS) tokens.set(user, await tokenOf(server.url, user));
  followers = new Map(USERS.slice(0, 4).map((user) => [user, follow(server.url, tokens.get(user)!)]));
  load = startLoad({
    urls: [server.url],
    key: KEY,
    users: USERS,
    urlOf: receiver.urlOf,
    random,
    singles: 6,
    batches: 2,
    pauseMs: FULL ? 60 : 30,
  });

  for (let kill = 0; kill < KILLS; kill++) {
    await letRun(RUN_MS + RUN_SPREAD_MS * random());
    kills.push(await killOne(TARGETS[kill < TARGETS.length ? kill : Math.floor(random() * TARGETS.length)]!));
  }
  await load.stop();
  ({ acknowledged } = load);
  await vi.waitUntil(() => missing(acknowledged, receiver.arrivals).length === 0, recovery).catch(() => undefined); // the tests say what is missing
  inboxes = new Map();
  for (const user of USERS) inboxes.set(user, await inboxOf(server.url, tokens.get(user)!));
  const behind = () => [...followers].filter(([user, { notifications }]) => notifications.at(-1)?.sequence !== inboxes.get(user)!.sequence);
  await vi.waitUntil(() => behind().length === 0, recovery).catch(() => undefined);
  for (const follower of followers.values()) await follower.stop();
}, 600_000);

afterAll(async () => {
  await endProcesses();
  await receiver.close();
});

async function killOne(what: Killed['what']): Promise<Killed> {
  const postmaster = await vi.waitUntil(() => postmasterOf(dataDir), recovery);
  const restarts = () => server.logged.filter(({ event }) => event === 'postgres.restarted').length;
  const before = restarts();
  const fromMs = performance.now();
  if (what !== 'server') process.kill(postmaster, 'SIGKILL');
  if (what === 'every postgres') await killEach(fromMs + FLAP_MS);
  if (killsServer(what)) {
    server.signal('SIGKILL');
    await server.ended;
    server = spawnCarillon(settings);
    await server.ready;
  } else await vi.waitUntil(() => restarts() > before && postmasterOf(dataDir), recovery);
  const untilMs = performance.now();
  await vi.waitUntil(() => (receiver.arrivals.at(-1)?.atMs ?? 0) > untilMs, recovery);
  const deliversAfterMs = performance.now() - untilMs;
  const started = await vi.waitUntil(() => server.logged.find(({ event }) => event === 'postgres.started'), recovery);
  const adopted = killsServer(what) ? (started.adopted as boolean) : undefined;
  return { what, fromMs, untilMs, adopted, readyAfterMs: untilMs - fromMs, deliversAfterMs };
}

const killsServer = (what: Killed['what']) => what === 'server' || what === 'both';

async function killEach(untilMs: number): Promise<void> {
  while (performance.now() < untilMs) {
    const pid = postmasterOf(dataDir);
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    await letRun(20);
  }
}

test('the load was real: acknowledged, refused and cut off, and nothing else', () => {
  const statuses = Object.fromEntries(
    [...Map.groupBy(load.answers, ({ status }) => status)].map(([status, { length }]) => [status, length]),
  );
  report('kill loop', {
    kills: kills.map(({ what }) => what).join('+'),
    acknowledged: acknowledged.length,
    deliveries: acknowledged.reduce((sum, { users }) => sum + users.length, 0),
    arrivals: receiver.arrivals.length,
    answers: JSON.stringify(statuses),
    'ready after ms, at most': Math.max(...kills.map((kill) => kill.readyAfterMs)),
    'delivers after ms, at most': Math.max(...kills.map((kill) => kill.deliversAfterMs)),
  });
  expect(acknowledged.length).toBeGreaterThan(KILLS * 50);
  expect(Object.keys(statuses).filter((status) => !['0', '202', '503'].includes(status))).toEqual([]);
  expect(load.answers.filter(({ status, retryAfter }) => status === 503 && !(Number(retryAfter) > 0))).toEqual([]);
});

test('every acknowledged event was delivered to everyone it names', () => {
  expect(missing(acknowledged, receiver.arrivals)).toEqual([]);
});

test('what was delivered twice was in flight when the server was killed, and that was no more than its slots', () => {
  const ofServer = kills.filter(({ what }) => killsServer(what));
  const all = repeats(receiver.arrivals, ofServer);
  report('kill loop', {
    duplicates: all.length,
    'at each kill of the server': ofServer.map((kill) => all.filter((one) => one.kill === kill).length).join('+'),
  });
  expect(all.filter(({ kill }) => kill === undefined)).toEqual([]);
  for (const kill of kills) expect(all.filter((one) => one.kill === kill).length).toBeLessThanOrEqual(SLOTS);
});

test('a PostgreSQL that lives is adopted by the next start, and a dead one replaced', () => {
  expect(kills.map(({ adopted }) => adopted)).toEqual(kills.map(({ what }) => (killsServer(what) ? what === 'server' : undefined)));
});

test('each inbox has every acknowledged event once, numbered without a gap, and counts what it has', () => {
  for (const [user, { items, total, unread_count, sequence }] of inboxes) {
    const count = (values: readonly string[]) => new Set(values).size;
    const owed = acknowledged.filter(({ users }) => users.includes(user)).map(({ eventId }) => eventId);
    const has = new Set(items.map((item) => item.event_id));
    expect(owed.filter((eventId) => !has.has(eventId))).toEqual([]);
    expect([count(items.map((item) => item.id)), count([...has]), count(items.map((item) => item.metadata.mark))]).toEqual([
      items.length,
      items.length,
      items.length,
    ]);
    expect(items.map((item) => item.sequence).sort((a, b) => a - b)).toEqual(items.map((_, index) => index + 1));
    expect([total, unread_count, sequence]).toEqual([items.length, items.length, items.length]);
  }
});

test('a stream that comes again with its last number has seen each notification once and in order', () => {
  for (const [user, { notifications, others, connections }] of followers) {
    expect(notifications.map((item) => item.sequence)).toEqual(notifications.map((_, index) => index + 1));
    expect(notifications.map((item) => item.id).sort()).toEqual(
      inboxes
        .get(user)!
        .items.map((item) => item.id)
        .sort(),
    );
    expect(others).toEqual([]);
    expect(connections()).toBeGreaterThan(1);
  }
});

test('a second process on the same data directory is refused, and the first one does not notice', async () => {
  const second = spawnCarillon({ ...settings, CARILLON_PORT: String(await freePort()) });
  expect(await second.ended).toBe(1);
  expect(second.stderr()).toBe(
    `The data directory ${dataDir} is in use by process ${server.pid} on ${hostname()}. Stop that process, or choose another data directory.\n`,
  );
  expect((await fetch(`${server.url}/health/ready`)).status).toBe(200);
});
