/** Two processes on one database, of which one after the other is killed. */
import { randomUUID } from 'node:crypto';
import { freePort, KEY, spawnCarillon } from '../harness/process.ts';
import { letRun } from './scale.ts';

interface Pair {
  /** Until it is accepted, by whichever process is there. */
  readonly call: (method: string, path: string, body: unknown) => Promise<{ readonly id: string }>;
  /** In turn, each after a pause in milliseconds, and started again. */
  readonly kill: (times: number, pauseMs: () => number) => Promise<void>;
  readonly end: () => void;
}

const LEASE_MS = 2_300;

/** Ready, with leases and retries short enough for a test. */
export async function startPair(databaseUrl: string): Promise<Pair> {
  const settings = {
    DATABASE_URL: databaseUrl,
    CARILLON_DELIVERY_LEASE: `${LEASE_MS}ms`,
    CARILLON_DELIVERY_TOTAL_TIMEOUT: '1100ms',
    CARILLON_DELIVERY_CONNECT_TIMEOUT: '1100ms',
    CARILLON_WEBHOOK_RETRY: '1s,1s,1s,1s,1s,1s',
  };
  const ports = [await freePort(), await freePort()];
  const start = (port: number) => spawnCarillon({ ...settings, CARILLON_PORT: String(port) });
  const both = ports.map(start);
  await Promise.all(both.map(({ ready }) => ready));

  return {
    call: async (method, path, body) => {
      const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json', 'idempotency-key': randomUUID() };
      for (let tries = 0; ; tries++) {
        const { url } = both[tries % both.length]!;
        const answer = await fetch(`${url}${path}`, { method, headers, body: JSON.stringify(body) }).catch(() => undefined);
        if (answer?.ok) return (await answer.json()) as { id: string };
        await letRun(50);
      }
    },
    kill: async (times, pauseMs) => {
      for (let round = 0; round < times; round++) {
        await letRun(pauseMs());
        const at = round % both.length;
        both[at]!.signal('SIGKILL');
        await both[at]!.ended;
        both[at] = start(ports[at]!);
        await both[at].ready;
      }
    },
    end: () => {
      for (const one of both) one.signal('SIGKILL');
    },
  };
}
