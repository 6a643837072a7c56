/** The references as contenders: each a process of its own, on the same server and against the same receiver. */
import type { Contender, Running } from '../contender.ts';
import type { Flooded, Sent } from '../http-load.ts';
import { latencyOf } from '../latency.ts';
import type { Target } from '../load.ts';
import { startChild, type Child, type Pids } from '../processes.ts';
import type { Rig } from '../rig.ts';
import type { Sample } from '../statistics.ts';
import { startRedis } from './redis.ts';

const WARM_UP_SHARE = 0.5;
const LATENCY_PER_SECOND = 200;
const LATENCY_WARM_UP = 1_000;

const targetOf = (port: number, path: string): Target => ({ port, path, headers: {} });

export const insertPerRequest: Contender = {
  name: 'Fastify + one INSERT per request',
  start: async (rig) => {
    const child = startChild(new URL('./insert-per-request.ts', import.meta.url));
    const target = targetOf(await child.call<number>('start', { databaseUrl: await rig.postgres.createDatabase('insert') }), '/events');
    const send = async (seconds: number): Promise<Sample> => {
      const before = await child.call<number>('counted');
      const { accepted, startedMs, endedMs } = await rig.load.call<Flooded>('scheduled', { target, seconds });
      if ((await child.call<number>('counted')) - before !== accepted) throw new Error('the reference lost what it acknowledged');
      return { events: accepted, perSecond: (accepted * 1000) / (endedMs - startedMs) };
    };
    return running(child, { warmUp: () => send(Math.min(3, rig.options.ingestSeconds)), measure: () => send(rig.options.ingestSeconds) });
  },
};

interface Times {
  readonly insertMs: number;
  readonly deliverMs: number;
}

/** A loop that makes its own work: inserted first, then delivered. */
function loop(rig: Rig, child: Child, rateOf: (times: Times, count: number) => Sample): Pick<Work, 'warmUp' | 'measure'> {
  const send = async (count: number): Promise<Sample> => {
    await rig.receiver.call('reset', { mode: 'count' });
    const times = await child.call<Times>('run', { count });
    const { count: received } = await rig.receiver.call<{ count: number }>('counted');
    if (received !== count) throw new Error(`of ${count} jobs ${received} were received`);
    return rateOf(times, count);
  };
  const { pipelineEvents } = rig.options;
  return { warmUp: () => send(Math.ceil(pipelineEvents * WARM_UP_SHARE)), measure: () => send(pipelineEvents) };
}

const endToEnd = ({ insertMs, deliverMs }: Times, count: number): Sample => ({
  events: count,
  perSecond: (count * 1000) / (insertMs + deliverMs),
  deliveredPerSecond: (count * 1000) / deliverMs,
});

/** Delivering alone, work having been added before: the stronger of its two figures. */
const deliverOnly = ({ insertMs, deliverMs }: Times, count: number): Sample => ({
  events: count,
  perSecond: (count * 1000) / deliverMs,
  endToEndPerSecond: (count * 1000) / (insertMs + deliverMs),
});

export const durableLoop: Contender = {
  name: 'bare durable loop',
  start: async (rig) => {
    const child = startChild(new URL('./durable-loop.ts', import.meta.url));
    await child.call('start', { databaseUrl: await rig.postgres.createDatabase('loop'), receiverUrl: rig.receiverUrl });
    return running(child, loop(rig, child, endToEnd));
  },
};

export const graphileWorker: Contender = {
  name: 'graphile-worker',
  start: async (rig) => {
    const child = startChild(new URL('./graphile-worker.ts', import.meta.url));
    await child.call('start', { databaseUrl: await rig.postgres.createDatabase('graphile'), receiverUrl: rig.receiverUrl });
    return running(child, loop(rig, child, deliverOnly));
  },
};

export const bullmq: Contender = {
  name: 'BullMQ',
  start: async (rig) => {
    const redis = await startRedis(rig.directory);
    const child = startChild(new URL('./bullmq.ts', import.meta.url));
    await child.call('start', { port: redis.port, receiverUrl: rig.receiverUrl });
    return running(child, { ...loop(rig, child, deliverOnly), pids: { redis: redis.pid }, stop: redis.stop });
  },
};

async function startRelay(rig: Rig, name: string): Promise<{ child: Child; target: Target }> {
  const child = startChild(new URL('./relay.ts', import.meta.url));
  const port = await child.call<number>('start', { databaseUrl: await rig.postgres.createDatabase(name), receiverUrl: rig.receiverUrl });
  return { child, target: targetOf(port, '/events') };
}

export const relay: Contender = {
  name: 'least durable relay',
  start: async (rig) => {
    const { child, target } = await startRelay(rig, 'relay');
    const { singleEvents } = rig.options;
    const send = async (count: number): Promise<Sample> => {
      await rig.receiver.call('reset', { mode: 'count' });
      await child.call('reset');
      const { startedMs, endedMs } = await rig.load.call<Flooded>('singles', { target, count });
      const recordedMs = await child.call<number>('waitFor', { count });
      return {
        events: count,
        perSecond: (count * 1000) / (recordedMs - startedMs),
        acceptedPerSecond: (count * 1000) / (endedMs - startedMs),
      };
    };
    return running(child, { warmUp: () => send(Math.ceil(singleEvents * WARM_UP_SHARE)), measure: () => send(singleEvents) });
  },
};

export const relayLatency: Contender = {
  name: 'least durable relay',
  start: async (rig) => {
    const { child, target } = await startRelay(rig, 'relay_latency');
    return running(child, {
      warmUp: () => rig.load.call<Sent[]>('paced', { target, perSecond: LATENCY_PER_SECOND, count: LATENCY_WARM_UP }),
      measure: () => latencyOf(rig, target, LATENCY_PER_SECOND),
    });
  },
};

interface Work {
  readonly warmUp: () => Promise<unknown>;
  readonly measure: () => Promise<Sample>;
  readonly pids?: Pids;
  readonly stop?: () => Promise<void>;
}

function running(child: Child, { warmUp, measure, pids, stop }: Work): Running {
  return {
    pids: { reference: child.pid, ...pids },
    warmUp: async () => {
      await warmUp();
    },
    measure,
    stop: async () => {
      await child.stop();
      await stop?.();
    },
  };
}
