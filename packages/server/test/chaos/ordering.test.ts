/** Order under kills: two processes share a database, and one after the other is killed while it sends. */
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, expect, test, vi } from 'vitest';
import { endProcesses, startOutsidePostgres } from '../harness/process.ts';
import { startPair } from './pair.ts';
import { FULL, report, seededRandom } from './scale.ts';

const KEYS = ['a', 'b', 'c'] as const;
const PATIENCE = { timeout: 60_000, interval: 20 };

const closing: (() => unknown)[] = [];
afterAll(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  await endProcesses();
});

/** By key, in the order in which they came. Every twelfth first attempt is refused. */
async function startCounting(): Promise<{ url: string; arrivals: Record<string, number[]> }> {
  const arrivals: Record<string, number[]> = Object.fromEntries(KEYS.map((key) => [key, []]));
  const server: Server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const { key, n } = (JSON.parse(body) as { data: { data: { key: string; n: number } } }).data.data;
      const seen = arrivals[key]!;
      const refused = n % 12 === 0 && !seen.includes(n);
      seen.push(n);
      setTimeout(() => response.writeHead(refused ? 503 : 200).end(), 5);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, arrivals };
}

test('what has one key arrives in the order of acceptance, whoever is killed', { timeout: 300_000 }, async () => {
  const random = seededRandom('ordering');
  const postgres = await startOutsidePostgres();
  const store = await postgres.createDatabase('ordering');
  const { url, arrivals } = await startCounting();
  const pair = await startPair(store.url);

  let sent = 0;
  const stop = new AbortController();
  const load = (async () => {
    for (; !stop.signal.aborted; sent++) {
      for (const key of KEYS)
        await pair.call('POST', '/v1/events', {
          type: 'counted',
          to: [{ user_id: 'ada', webhook_url: url }],
          channels: ['webhook'],
          ordering_key: key,
          data: { key, n: sent },
        });
    }
  })();
  const kills = FULL ? 8 : 2;
  await pair.kill(kills, () => 700 + 600 * random());
  stop.abort();
  await load;
  const left =
    'select from carillon.events where due_at is not null union all select from carillon.deliveries where finished_at is null limit 1';
  await vi.waitUntil(async () => (await store.query(left)).length === 0, { ...PATIENCE, timeout: 200_000 });

  const wanted = Array.from({ length: sent }, (_, n) => n);
  report('ordering', { kills, 'events of each key': sent, arrivals: Object.values(arrivals).flat().length });
  for (const [key, numbers] of Object.entries(arrivals)) {
    // A repeat of what was in flight at a kill, or refused, comes before the next one: never after it.
    expect(
      numbers.filter((n, at) => n !== numbers[at - 1]),
      key,
    ).toEqual(wanted);
  }
  pair.end();
});
