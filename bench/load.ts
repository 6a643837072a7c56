/** The load generator, a process of its own. */
import { randomUUID } from 'node:crypto';
import { answerCommands } from './commands.ts';
import { BATCH, batchOf, scheduledEvent, USERS, webhookEvent } from './events.ts';
import { flood, pace, requestText, type Flooded, type Sent } from './http-load.ts';
import { nowMs } from './clock.ts';

export interface Target {
  readonly port: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

const CONNECTIONS = 64;
const BATCHES_IN_FLIGHT = 4;
const DAY_MS = 86_400_000;
const KEY = 'KEY-OF-THIS-REQUEST';

answerCommands({ scheduled, batches, singles, paced });

/** For so long, each with an Idempotency-Key of its own. */
function scheduled({ target: { port, path, headers }, seconds }: { target: Target; seconds: number }): Promise<Flooded> {
  const text = requestText({ path, headers: { ...headers, 'idempotency-key': KEY }, body: scheduledEvent(new Date(Date.now() + DAY_MS)) });
  const run = randomUUID().slice(0, KEY.length - 8); // as long as what it replaces, with eight digits
  const [before = '', after = ''] = text.split(KEY);
  const endMs = nowMs() + seconds * 1000;
  let sent = 0;
  return flood(port, CONNECTIONS, () => (nowMs() < endMs ? before + run + String(sent++).padStart(8, '0') + after : undefined));
}

function batches({ target: { port, path, headers }, count }: { target: Target; count: number }): Promise<Flooded> {
  const requests = Array.from({ length: Math.ceil(count / BATCH) }, (_, index) => {
    const first = index * BATCH;
    return requestText({ path, headers, body: batchOf(first, Math.min(BATCH, count - first)) });
  });
  return flood(port, BATCHES_IN_FLIGHT, () => requests.shift());
}

function singles({ target: { port, path, headers }, count }: { target: Target; count: number }): Promise<Flooded> {
  const requests = Array.from({ length: USERS }, (_, index) => requestText({ path, headers, body: webhookEvent(index) }));
  let sent = 0;
  return flood(port, CONNECTIONS, () => (sent < count ? requests[sent++ % USERS] : undefined));
}

function paced({
  target: { port, path, headers },
  perSecond,
  count,
}: {
  target: Target;
  perSecond: number;
  count: number;
}): Promise<Sent[]> {
  return pace(port, { perSecond, count, request: (index) => requestText({ path, headers, body: webhookEvent(index) }) });
}
