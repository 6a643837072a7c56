/** Waiting for the end of the way, and that nothing was lost on it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { nowMs } from '../clock.ts';
import type { Rig } from '../rig.ts';
import type { Carillon } from './server.ts';

const RECORDED_TIMEOUT_MS = 30_000;
const ATTEMPTS = 'select count(*) from carillon.attempts';
/** Whether anything is left to route, send or record. */
const LEFT = `select (exists (select from carillon.deliveries where due_at is not null) or exists (select from carillon.events where due_at is not null))::int`;

/** Call before; what it returns resolves with the time when `count` attempts more have been received and recorded. */
export async function expectDelivered(rig: Rig, carillon: Carillon, count: number): Promise<() => Promise<number>> {
  await rig.receiver.call('reset', { mode: 'count' });
  const before = await carillon.look(ATTEMPTS);
  return async () => {
    await rig.receiver.call('waitFor', { count });
    const atMs = await recorded(carillon);
    const { count: received } = await rig.receiver.call<{ count: number }>('counted');
    const attempts = (await carillon.look(ATTEMPTS)) - before;
    if (attempts !== count || received !== count)
      throw new Error(`of ${count} events ${received} were received and ${attempts} attempts recorded`);
    return atMs;
  };
}

async function recorded(carillon: Carillon): Promise<number> {
  const endMs = nowMs() + RECORDED_TIMEOUT_MS;
  while (nowMs() < endMs) {
    if ((await carillon.look(LEFT)) === 0) return nowMs();
    await sleep(2);
  }
  throw new Error(`not everything was recorded within ${RECORDED_TIMEOUT_MS / 1000} s`);
}
