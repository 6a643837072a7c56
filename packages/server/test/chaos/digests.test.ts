/** Digests under kills: two processes share a database, and one after the other is killed while digests fill, close and are sent. */
import { randomUUID } from 'node:crypto';
import { afterAll, expect, test, vi } from 'vitest';
import { endProcesses, freePort, KEY, spawnCarillon, startOutsidePostgres, type Carillon } from '../harness/process.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { FULL, letRun, report, seededRandom } from './scale.ts';

const LEASE_MS = 2_300;
const USERS = ['ada', 'bob'] as const;

let receiver: Receiver | undefined;
afterAll(async () => {
  await endProcesses();
  await receiver?.close();
});

/** Until it is accepted, by whichever process is there. */
async function call(processes: readonly Carillon[], method: string, path: string, body: unknown): Promise<{ id: string }> {
  const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json', 'idempotency-key': randomUUID() };
  for (let tries = 0; ; tries++) {
    const { url } = processes[tries % processes.length]!;
    const answer = await fetch(`${url}${path}`, { method, headers, body: JSON.stringify(body) }).catch(() => undefined);
    if (answer?.ok) return (await answer.json()) as { id: string };
    await letRun(50);
  }
}

test('each item is in one message, whoever is killed', { timeout: 300_000 }, async () => {
  const random = seededRandom('digests');
  const postgres = await startOutsidePostgres();
  const store = await postgres.createDatabase('digests');
  receiver = await startReceiver((response) => setTimeout(() => response.end(), 20 * random()));
  const settings = {
    DATABASE_URL: store.url,
    CARILLON_DELIVERY_LEASE: `${LEASE_MS}ms`,
    CARILLON_DELIVERY_TOTAL_TIMEOUT: '1100ms',
    CARILLON_DELIVERY_CONNECT_TIMEOUT: '1100ms',
    CARILLON_WEBHOOK_RETRY: '1s,1s,1s,1s,1s,1s',
  };
  const ports = [await freePort(), await freePort()];
  const pair = ports.map((port) => spawnCarillon({ ...settings, CARILLON_PORT: String(port) }));
  await Promise.all(pair.map(({ ready }) => ready));
  for (const user of USERS) {
    await call(pair, 'PUT', `/v1/users/${user}`, { webhook_url: `http://127.0.0.1:${receiver.port}/${user}` });
    await call(pair, 'PUT', `/v1/users/${user}/preferences`, { channels: { webhook: { digest: '1h' } } });
  }

  const sent: string[] = [];
  const stop = new AbortController();
  const load = (async () => {
    while (!stop.signal.aborted)
      sent.push((await call(pair, 'POST', '/v1/events', { type: 'counted', to: USERS, channels: ['webhook'] })).id);
  })();
  // An hour is over every now and then.
  const dueNow = 'update carillon.digests set closes_at = carillon.now() where closed_at is null';
  const hours = (async () => {
    while (!stop.signal.aborted) {
      await store.query(dueNow);
      await letRun(150);
    }
  })();
  const kills = FULL ? 8 : 2;
  for (let round = 0; round < kills; round++) {
    await letRun(1_200 + 800 * random());
    const at = round % 2;
    pair[at]!.signal('SIGKILL');
    await pair[at]!.ended;
    pair[at] = spawnCarillon({ ...settings, CARILLON_PORT: String(ports[at]) });
    await pair[at].ready;
  }
  stop.abort();
  await Promise.all([load, hours]);
  const left =
    'select from carillon.events where due_at is not null union all select from carillon.deliveries where finished_at is null limit 1';
  await vi.waitUntil(
    async () => {
      await store.query(dueNow);
      return (await store.query(left)).length === 0;
    },
    { timeout: 200_000, interval: 100 },
  );

  const messages = Map.groupBy(receiver.requests, ({ headers }) => headers['webhook-id']);
  report('digests', { kills, events: sent.length, messages: messages.size, requests: receiver.requests.length });
  for (const user of USERS) {
    const told = [...messages.values()].flatMap(([first]) =>
      first!.path === `/${user}` ? (JSON.parse(first!.body) as Message).data.data.items.map((item) => item.event_id) : [],
    );
    expect(told.toSorted(), user).toEqual(sent.toSorted());
  }
  // What was in flight at a kill comes again as it was.
  for (const same of messages.values()) expect(new Set(same.map(({ body }) => body)).size).toBe(1);
  expect(await store.query('select from carillon.deliveries where digest_id is not null and (status <> 4 or reason <> 111)')).toEqual([]);
  for (const one of pair) one.signal('SIGKILL');
});

interface Message {
  readonly data: { readonly data: { readonly items: readonly { readonly event_id: string }[] } };
}
