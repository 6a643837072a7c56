/** BullMQ on Redis. Its jobs do nothing but the POST. */
import { Queue, Worker } from 'bullmq';
import { Pool } from 'undici';
import { nowMs } from '../clock.ts';
import { answerCommands } from '../commands.ts';
import { BATCH, EVENT } from '../events.ts';

const CONCURRENCY = 64;
const NAME = 'hooks';

let redisPort = 0;
let receiver: Pool;

answerCommands({ start, run });

function start({ port, receiverUrl }: { port: number; receiverUrl: string }): void {
  redisPort = port;
  receiver = new Pool(receiverUrl, { connections: CONCURRENCY });
}

/** All added, then all worked off; ends with the last POST. Times in milliseconds. */
async function run({ count }: { count: number }): Promise<{ insertMs: number; deliverMs: number }> {
  const connection = { host: '127.0.0.1', port: redisPort, maxRetriesPerRequest: null };
  const queue = new Queue(NAME, { connection });
  const startedMs = nowMs();
  for (let added = 0; added < count; added += BATCH) {
    const size = Math.min(BATCH, count - added);
    await queue.addBulk(Array.from({ length: size }, () => ({ name: 'hook', data: EVENT, opts: { attempts: 5, removeOnComplete: true } })));
  }
  const insertedMs = nowMs();
  const { promise: finished, resolve: finish } = Promise.withResolvers<number>();
  let delivered = 0;
  const worker = new Worker<typeof EVENT>(
    NAME,
    async ({ data }) => {
      const { body } = await receiver.request({
        path: '/hook',
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(data),
      });
      await body.dump();
      if (++delivered === count) finish(nowMs());
    },
    { connection, concurrency: CONCURRENCY },
  );
  const deliveredMs = await finished;
  await worker.close();
  await queue.close();
  return { insertMs: insertedMs - startedMs, deliverMs: deliveredMs - insertedMs };
}
