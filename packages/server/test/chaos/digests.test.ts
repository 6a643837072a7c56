/** Digests under kills: two processes share a database, and one after the other is killed while digests fill, close and are sent. */
import { afterAll, expect, test, vi } from 'vitest';
import { endProcesses, startOutsidePostgres } from '../harness/process.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startPair } from './pair.ts';
import { FULL, letRun, report, seededRandom } from './scale.ts';

const USERS = ['ada', 'bob'] as const;

let receiver: Receiver | undefined;
afterAll(async () => {
  await endProcesses();
  await receiver?.close();
});

test('each item is in one message, whoever is killed', { timeout: 300_000 }, async () => {
  const random = seededRandom('digests');
  const postgres = await startOutsidePostgres();
  const store = await postgres.createDatabase('digests');
  receiver = await startReceiver((response) => setTimeout(() => response.end(), 20 * random()));
  const pair = await startPair(store.url);
  for (const user of USERS) {
    await pair.call('PUT', `/v1/users/${user}`, { webhook_url: `http://127.0.0.1:${receiver.port}/${user}` });
    await pair.call('PUT', `/v1/users/${user}/preferences`, { channels: { webhook: { digest: '1h' } } });
  }

  const sent: string[] = [];
  const stop = new AbortController();
  const load = (async () => {
    while (!stop.signal.aborted)
      sent.push((await pair.call('POST', '/v1/events', { type: 'counted', to: USERS, channels: ['webhook'] })).id);
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
  await pair.kill(kills, () => 1_200 + 800 * random());
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
  pair.end();
});

interface Message {
  readonly data: { readonly data: { readonly items: readonly { readonly event_id: string }[] } };
}
