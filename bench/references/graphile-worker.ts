/** graphile-worker at its best: local queue, batched completion. Its jobs do nothing but the POST. */
import { Logger, makeWorkerUtils, run as runWorker, type WorkerUtils } from 'graphile-worker';
import pg from 'pg';
import { Pool } from 'undici';
import { nowMs } from '../clock.ts';
import { answerCommands } from '../commands.ts';
import { BATCH, EVENT } from '../events.ts';

const CONCURRENCY = 64;
/** It logs every job. */
const SILENT = new Logger(() => () => undefined);

let database: pg.Pool;
let receiver: Pool;
let utils: WorkerUtils;

answerCommands({ start, run });

async function start({ databaseUrl, receiverUrl }: { databaseUrl: string; receiverUrl: string }): Promise<void> {
  database = new pg.Pool({ connectionString: databaseUrl, max: 20 });
  database.on('error', () => undefined).on('connect', (client) => void client.on('error', () => undefined)); // it warns about pools without
  receiver = new Pool(receiverUrl, { connections: CONCURRENCY });
  utils = await makeWorkerUtils({ pgPool: database, logger: SILENT });
  await utils.migrate();
}

/** All added, then all worked off; ends with the last POST, completions may follow. Times in milliseconds. */
async function run({ count }: { count: number }): Promise<{ insertMs: number; deliverMs: number }> {
  const startedMs = nowMs();
  for (let added = 0; added < count; added += BATCH) {
    const size = Math.min(BATCH, count - added);
    await utils.addJobs(Array.from({ length: size }, () => ({ identifier: 'hook', payload: EVENT })));
  }
  const insertedMs = nowMs();
  const deliveredMs = await workOff(count);
  return { insertMs: insertedMs - startedMs, deliverMs: deliveredMs - insertedMs };
}

async function workOff(count: number): Promise<number> {
  const { promise: finished, resolve: finish } = Promise.withResolvers<number>();
  let delivered = 0;
  const runner = await runWorker({
    pgPool: database,
    concurrency: CONCURRENCY,
    noHandleSignals: true,
    pollInterval: 1000,
    logger: SILENT,
    preset: { worker: { concurrentJobs: CONCURRENCY, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
    taskList: {
      hook: async (payload) => {
        const { body } = await receiver.request({
          path: '/hook',
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(payload),
        });
        await body.dump();
        if (++delivered === count) finish(nowMs());
      },
    },
  });
  const atMs = await finished;
  await runner.stop();
  return atMs;
}
