/** Stopping on request, under load: nothing is lost, nothing goes out twice, and streams are told when to come again. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { missing, repeats, startLoad, startReceiver, type Load, type Receiver } from '../harness/ledger.ts';
import { endProcesses, freePort, freshDataDir, KEY, postmasterOf, spawnCarillon, type Carillon } from '../harness/process.ts';
import { follow, tokenOf, type Follower } from './inbox.ts';
import { FULL, letRun, report, seededRandom } from './scale.ts';

const DRAIN_MS = 10_000;
const RECOVERY_MS = 10_000;
const USERS = Array.from({ length: 8 }, (_, index) => `user-${index}`);
/** `npm start` passes on what the process group has had already: a repeat within this time is the same wish. */
const SAME_WISH_MS = 900;
const WISHES = FULL
  ? (['once', 'repeated', 'once', 'repeated', 'repeated', 'once', 'repeated', 'once'] as const)
  : (['once', 'repeated'] as const);

interface Stop {
  readonly wish: (typeof WISHES)[number];
  readonly code: number | NodeJS.Signals;
  readonly tookMs: number;
  readonly sentAway: readonly number[];
  readonly postmaster: number | undefined;
}

const random = seededRandom('stop');
const dataDir = freshDataDir();
let settings: Record<string, string>;
let receiver: Receiver;
let load: Load;
let followers: Follower[];
const stops: Stop[] = [];

beforeAll(async () => {
  settings = {
    CARILLON_PORT: String(await freePort()),
    CARILLON_DATA_DIR: dataDir,
    CARILLON_DRAIN: `${DRAIN_MS}ms`,
    CARILLON_DELIVERY_SLOTS: '64',
  };
  receiver = await startReceiver((_arrival, done) => setTimeout(done, 100 * random()));
  let server = spawnCarillon(settings);
  await server.ready;
  const tokens = await Promise.all(USERS.slice(0, 4).map((user) => tokenOf(server.url, user)));
  followers = tokens.map((token) => follow(server.url, token));
  load = startLoad({ urls: [server.url], key: KEY, users: USERS, urlOf: receiver.urlOf, random, singles: 6, batches: 2, pauseMs: 30 });
  for (const wish of WISHES) {
    await letRun(1_000 + 500 * random());
    stops.push(await stop(server, wish));
    server = spawnCarillon(settings);
    await server.ready;
    const connected = followers.map(({ connections }) => connections());
    await vi.waitUntil(() => followers.every(({ connections }, index) => connections() > connected[index]!), { timeout: RECOVERY_MS });
  }
  await load.stop();
  await vi.waitUntil(() => missing(load.acknowledged, receiver.arrivals).length === 0, { timeout: RECOVERY_MS }).catch(() => undefined); // the tests say what is missing
  for (const follower of followers) await follower.stop();
}, 300_000);

afterAll(async () => {
  await endProcesses();
  await receiver.close();
});

async function stop(server: Carillon, wish: Stop['wish']): Promise<Stop> {
  const sentBefore = followers.map(({ sentAway }) => sentAway.length);
  const since = performance.now();
  server.signal('SIGTERM');
  const repeat = setInterval(() => {
    if (wish === 'repeated' && performance.now() - since < SAME_WISH_MS) server.signal('SIGTERM');
  }, 5);
  const code = await server.ended;
  clearInterval(repeat);
  const tookMs = performance.now() - since;
  const sentAway = followers.flatMap((follower, index) => follower.sentAway.slice(sentBefore[index]));
  return { wish, code, tookMs, sentAway, postmaster: postmasterOf(dataDir) };
}

test('it ends by itself within the drain, with its PostgreSQL, however often it is told within a second', () => {
  report('stop', {
    told: stops.map(({ wish }) => wish).join('+'),
    'took ms': stops.map(({ tookMs }) => Math.round(tookMs)).join('+'),
    acknowledged: load.acknowledged.length,
    arrivals: receiver.arrivals.length,
    duplicates: repeats(receiver.arrivals, []).length,
  });
  for (const { code, tookMs, postmaster } of stops) {
    expect([code, postmaster]).toEqual([0, undefined]);
    expect(tookMs).toBeLessThan(DRAIN_MS + 5_000);
  }
});

test('while it stops, what it takes is taken for good, and what it does not take is a broken connection or a 503', () => {
  const statuses = new Set(load.answers.map(({ status }) => status));
  expect([...statuses].filter((status) => ![0, 202, 503].includes(status))).toEqual([]);
  expect(missing(load.acknowledged, receiver.arrivals)).toEqual([]);
});

test('nothing is sent twice', () => {
  expect(load.acknowledged.length).toBeGreaterThan(WISHES.length * 50);
  expect(repeats(receiver.arrivals, [])).toEqual([]);
});

test('streams end with the time at which to come again, each its own', () => {
  for (const { sentAway } of stops) {
    expect(sentAway.length).toBeGreaterThanOrEqual(followers.length);
    for (const ms of sentAway) expect(ms).toBeGreaterThanOrEqual(1_000);
    for (const ms of sentAway) expect(ms).toBeLessThanOrEqual(10_000);
    expect(new Set(sentAway).size).toBeGreaterThan(1);
  }
});

test('streams resumed where they were', () => {
  for (const { notifications, others } of followers) {
    expect(notifications.length).toBeGreaterThan(0);
    expect(notifications.map(({ sequence }) => sequence)).toEqual(notifications.map((_, index) => index + 1));
    expect(others).toEqual([]);
  }
});

test('told to end while it still starts, it takes its PostgreSQL with it', async () => {
  const elsewhere = freshDataDir();
  const server = spawnCarillon({ ...settings, CARILLON_PORT: String(await freePort()), CARILLON_DATA_DIR: elsewhere });
  await vi.waitUntil(() => postmasterOf(elsewhere), { timeout: RECOVERY_MS, interval: 1 });
  server.signal('SIGTERM');
  expect([await server.ended, postmasterOf(elsewhere)]).toEqual([0, undefined]);
});
