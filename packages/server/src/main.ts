/** The composition root: what each part needs is handed to it here, and in the files named main-*, and nowhere else. */
import { randomUUID } from 'node:crypto';
import type { Catalog } from './catalog/catalog.ts';
import type { Config } from './config.ts';
import type { Tx } from './domain/event.ts';
import type { InboxChange } from './domain/notification.ts';
import { systemClock } from './lib/clock.ts';
import { serveApi } from './main-api.ts';
import { catalogDirectory, knownChannels, openCatalog, readCatalog } from './main-catalog.ts';
import { makeChannels } from './main-channels.ts';
import { makeSigning } from './main-signing.ts';
import { makeCore, type Core } from './main-core.ts';
import { makeDestinations } from './main-destinations.ts';
import { makeRecurring, type Recurring } from './main-recurring.ts';
import { makeStages, type Stages } from './main-stages.ts';
import { makeFeed, type Feed } from './realtime/feed.ts';
import { memoryHints, postgresHints, readHint, type Hints } from './realtime/hints.ts';
import { makeScheduler, type Chore, type Scheduler } from './scheduler/scheduler.ts';
import { oldestDueMs } from './store/deliveries.ts';
import { sweepKeys } from './store/idempotency.ts';
import { changesSince, inboxSequences } from './store/inbox.ts';
import { openDatabase } from './store/open.ts';
import { beat, leave, notify } from './store/processes.ts';
import { sweepThrottles } from './store/throttles.ts';
import type { Log } from './telemetry/log.ts';

export interface Running {
  /** Where it listens; undefined without the role `api`. */
  readonly url: string | undefined;
  /** Of the very first start: nobody can read it again. */
  readonly bootstrapKey: string | undefined;
  /** The OpenAPI document of what is served; undefined without the role `api`. */
  readonly openApi: () => unknown;
  /** Runs what the clock has made due, now: after tests have moved it. */
  readonly catchUp: () => Promise<void>;
  /** Takes nothing new, finishes what has begun within `drain`, and gives the rest back. */
  readonly stop: () => Promise<void>;
}

const ENGINE_CONNECTIONS = 8;
const API_CONNECTIONS = 6;
const HINT_CHANNEL = 'carillon';
const MAX_STREAMS = 50_000;
const SECOND_MS = 1_000;
const MINUTE_MS = 60_000;
/** How long a lost hint can delay a stream or a delivery of another process. */
const POLL_MS = 5_000;
const SWEEP_ROWS = 1_000;

/** Ready to serve when it resolves. Rejects with what to do about it, and then nothing is left running. */
export async function start(config: Config, log: Log): Promise<Running> {
  const clock = systemClock();
  const opened = await openDatabase({
    url: config['database.url'],
    dataDir: config.data_dir,
    production: config.env === 'production',
    retentionDays: config['retention.days'],
    connections: { engine: ENGINE_CONNECTIONS, api: API_CONNECTIONS },
    clock,
    log,
  });
  try {
    return await startOn(await makeCore(opened, { config, clock, log }));
  } catch (error) {
    await opened.close();
    throw error;
  }
}

async function startOn(core: Core): Promise<Running> {
  const { config, bootstrapKey } = core;
  const signing = makeSigning(core);
  const channels = await makeChannels(core, signing); // throws on settings: nothing has begun yet
  await signing.refresh();
  const directory = catalogDirectory(config);
  if (directory !== undefined) await readCatalog(directory, knownChannels(config, [...channels.facts.values()])); // before others are told of this process
  const neighbours = await meetNeighbours(core);
  const catalog = await openCatalog(core, channels, neighbours.hints.catalog);
  const feed = feedOf(core);
  const publish = (changes: readonly InboxChange[]) => {
    feed.publish(changes);
    for (const { tenantId, userId } of changes) neighbours.hints.inbox(tenantId, userId);
  };
  const destinations = makeDestinations(core);
  const stages = makeStages({ ...core, channels, catalog, destinations, publish, hints: neighbours.hints });
  const recurring = makeRecurring({ ...core, catalog, stages, hints: neighbours.hints });
  neighbours.listen({ wake: recurring.wake, feed, catalog: catalog.catalog });
  const scheduler = makeScheduler(
    choresOf(core, [...neighbours.chores, ...catalog.chores, { name: 'webhook-secrets', everyMs: POLL_MS, run: signing.refresh }], stages),
    core.log,
  );
  const loops = startLoops(core, { stages, feed, scheduler, recurring });
  const api = config.roles.includes('api')
    ? await serveApi({
        ...{ ...core, signing, channels, destinations, catalog, hints: neighbours.hints, stages, recurring, feed, publish },
        processIsReady: loops.ready,
      })
    : undefined;
  return {
    url: api?.url,
    bootstrapKey,
    openApi: () => api?.openApi(),
    catchUp: async () => {
      await scheduler.runAll();
      recurring.wake();
      await feed.lookAll();
    },
    stop: async () => {
      await loops.drain(async () => {
        await api?.close();
        await stages.acceptor.idle();
      });
      await neighbours.leave();
      await Promise.all([channels.close(), catalog.close(), core.egress.close()]);
      await core.opened.close();
    },
  };
}

/** Who is told what others say. */
interface Told {
  /** Something is due. */
  readonly wake: () => void;
  readonly feed: Feed;
  readonly catalog: Catalog<Tx>;
}

interface Neighbours {
  readonly hints: Hints;
  readonly chores: readonly Chore[];
  readonly listen: (parts: Told) => void;
  readonly leave: () => Promise<void>;
}

/** Other processes on the same database, told where to look by hints. An embedded database has none. */
async function meetNeighbours({ opened, database, config, log }: Core): Promise<Neighbours> {
  if (opened.exclusive) return { hints: memoryHints(), chores: [], listen: () => undefined, leave: () => Promise.resolve() };
  const processId = randomUUID();
  let othersExist = await beat(database.engine, processId, config.roles);
  let lookEverywhere: () => void = () => undefined;
  const sign = async () => {
    othersExist = await beat(database.engine, processId, config.roles);
    if (othersExist) lookEverywhere(); // what a lost hint was about
  };
  const send = (payload: string) => notify(database.engine, HINT_CHANNEL, payload);
  const hints = postgresHints({ notify: send, othersExist: () => othersExist, processId, log });
  let listening: { close: () => Promise<void> } | undefined;
  return {
    hints,
    chores: [{ name: 'neighbours', everyMs: POLL_MS, run: sign }],
    listen: (parts) => {
      lookEverywhere = () => {
        parts.wake();
        void parts.feed.lookAll();
      };
      const onHint = (payload: string) => {
        follow(payload, processId, parts);
      };
      listening = database.listen(HINT_CHANNEL, onHint, lookEverywhere);
    },
    leave: async () => {
      hints.close();
      await listening?.close();
      await leave(database.engine, processId).catch((error: unknown) => {
        log('process.not-signed-off', { error });
      });
    },
  };
}

function follow(payload: string, processId: string, { wake, feed, catalog }: Told): void {
  const hint = readHint(payload, processId);
  if (!hint) return;
  if (hint.work) wake();
  if (hint.catalog) catalog.forget();
  if (hint.all) void feed.lookAll();
  for (const [tenantId, userId] of hint.inbox) feed.look(tenantId, userId);
}

function feedOf({ database, clock, config, log }: Core): Feed {
  return makeFeed({
    changesSince: (wanted) => database.asTenant(wanted.tenantId, (tx) => changesSince(tx, wanted)),
    sequences: (owners) => inboxSequences(database.engine, owners),
    now: clock.now,
    random: Math.random,
    log,
    maxStreams: config.roles.includes('realtime') ? MAX_STREAMS : 0, // a process without the role sends readers on
  });
}

/** Every process follows the clock and its neighbours; upkeep belongs to the role `scheduler`. */
function choresOf({ opened, database, metrics, config }: Core, more: readonly Chore[], { sweepTurns, digestChores }: Stages): Chore[] {
  const sweep = async () => {
    while ((await sweepKeys(database.engine, SWEEP_ROWS)) === SWEEP_ROWS);
  };
  const sweepCounters = async () => {
    while ((await sweepThrottles(database.engine, SWEEP_ROWS)) === SWEEP_ROWS);
  };
  const age = async () => {
    metrics.oldestDue((await oldestDueMs(database.engine)) / SECOND_MS);
  };
  const always = [{ name: 'clock', everyMs: MINUTE_MS, run: opened.followClock }, ...more];
  if (!config.roles.includes('scheduler')) return always;
  return [
    ...always,
    { name: 'partitions', everyMs: 60 * MINUTE_MS, run: opened.maintain },
    { name: 'idempotency-keys', everyMs: MINUTE_MS, run: sweep },
    { name: 'throttles', everyMs: MINUTE_MS, run: sweepCounters },
    { name: 'queue-age', everyMs: 10 * SECOND_MS, run: age },
    { name: 'ordering', everyMs: SECOND_MS, run: sweepTurns },
    ...digestChores,
  ];
}

interface Loops {
  /** False once the process is stopping. */
  readonly ready: () => boolean;
  /**
   * Front to back, so that nobody is handed work that his successor no longer takes: streams are sent away and the doors
   * close (`closeDoors`), then routing ends, then delivery. What is in flight at the end of `drain` is cut short and given back.
   */
  readonly drain: (closeDoors: () => Promise<void>) => Promise<void>;
}

interface Loopers {
  readonly stages: Stages;
  readonly feed: Feed;
  readonly scheduler: Scheduler;
  readonly recurring: Recurring;
}

function startLoops({ config, metrics }: Core, { stages, feed, scheduler, recurring }: Loopers): Loops {
  const { roles, drain } = config;
  const [stopRouting, stopDelivery, kill] = [new AbortController(), new AbortController(), new AbortController()];
  let ready = true;
  const chores = scheduler.run(stopRouting.signal);
  const series = roles.includes('scheduler') ? recurring.run(stopRouting.signal) : undefined;
  const routing = roles.includes('router') ? stages.runRouter(stopRouting.signal) : undefined;
  const delivery = roles.includes('delivery') ? stages.runWorker(stopDelivery.signal, kill.signal) : undefined;
  const beating = setInterval(() => {
    feed.beat();
    metrics.streamsOpen(feed.size());
  }, SECOND_MS);
  return {
    ready: () => ready,
    drain: async (closeDoors) => {
      ready = false;
      const deadline = setTimeout(() => {
        kill.abort(new Error('shutting down'));
      }, drain);
      await Promise.all([feed.drain(), closeDoors()]);
      stopRouting.abort();
      await Promise.all([chores, series, routing]);
      stopDelivery.abort();
      await delivery;
      clearTimeout(deadline);
      clearInterval(beating);
    },
  };
}
