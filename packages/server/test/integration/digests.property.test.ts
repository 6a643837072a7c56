/** Whatever is sent, cancelled, killed and however the clock moves: each item is in exactly one digest, or in none with its reason. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deliveriesOf, eventState } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const MINUTE = 60_000;

let db: TestDatabase;
let servers: TestServer[];
let receiver: Receiver;

beforeAll(async () => {
  receiver = await startReceiver((response) => response.end());
  db = await freshDatabase();
  servers = [await startServer({}, { on: db }), await startServer({}, { on: db })];
  const digest = 'channels: { webhook: {} }\ndigest: { key: "{{ data.key }}", every: 10m }\n';
  await servers[0]!.api('PUT', '/v1/event-types/collected', { files: { 'event.yaml': digest } });
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  await db.drop();
  await receiver.close();
});

/** Breaks what the two processes have open at this moment: what they were writing is rolled back, and they do not know. */
async function kill(): Promise<void> {
  await db.query(`select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and application_name = 'carillon' and state <> 'idle'`);
}

const user = fc.integer({ min: 0, max: 1 });
const by = fc.integer({ min: 0, max: 1 });
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('send' as const), by, user, key: user, times: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cancel' as const), by, nth: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('move' as const),
      minutes: fc.integer({ min: 1, max: 15 }),
      kills: fc.integer({ min: 0, max: 3 }),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

interface Sent {
  readonly id: string;
  cancelled: boolean;
}

/** Until it is accepted: the key makes one event of it, however often it is asked. */
async function send(server: TestServer, item: object, key: string): Promise<string> {
  for (;;) {
    const { status, body } = await server.api('POST', '/v1/events', item, { 'idempotency-key': key });
    if (status === 202) return body.id;
    expect(status, JSON.stringify(body)).toBe(503);
  }
}

let runs = 0;

/** One after the other, but what a step does is done by all processes at once. */
async function play(steps: readonly Step[], name: string): Promise<Sent[]> {
  const sent: Sent[] = [];
  for (const [at, one] of steps.entries()) {
    if (one.kind === 'send') {
      const item = { type: 'collected', to: [`${name}-${one.user}`], data: { key: `${one.key}` } };
      const ids = await Promise.all(
        Array.from({ length: one.times }, (_, n) => send(servers[(one.by + n) % 2]!, item, `${name}-${at}-${n}`)),
      );
      sent.push(...ids.map((id) => ({ id, cancelled: false })));
    } else if (one.kind === 'cancel' && sent.length > 0) {
      const which = sent[one.nth % sent.length]!;
      const { status, body } = await servers[one.by]!.api('POST', `/v1/events/${which.id}/cancel`);
      if (status === 200) which.cancelled ||= body.outcome === 'cancelled';
    } else if (one.kind === 'move') {
      await db.moveClock(one.minutes * MINUTE);
      const closing = Promise.allSettled(servers.map(({ running }) => running.catchUp()));
      for (let kills = 0; kills < one.kills; kills++) await kill();
      await closing;
    }
  }
  return sent;
}

/** What became of each, once nothing waits any more. An event that was cancelled before anybody routed it has no delivery. */
async function settle(sent: readonly Sent[]): Promise<Map<string, string>> {
  const over = ['delivered digested', 'cancelled cancelled'];
  for (;;) {
    await db.moveClock(11 * MINUTE);
    await Promise.allSettled(servers.map(({ running }) => running.catchUp()));
    const outcomes = await Promise.all(sent.map(({ id }) => outcomeOf(id)));
    if (outcomes.every((outcome) => over.includes(outcome))) return new Map(outcomes.map((outcome, index) => [sent[index]!.id, outcome]));
  }
}

async function outcomeOf(id: string): Promise<string> {
  if ((await eventState(db, id)) === 'cancelled') return 'cancelled cancelled';
  const [row, ...more] = await deliveriesOf(db, id);
  expect(more).toEqual([]);
  return row ? `${row.state} ${row.reason}` : 'to be routed';
}

interface Message {
  readonly data: { readonly data: { readonly digest: { readonly key: string }; readonly items: readonly { readonly event_id: string }[] } };
}

test('each item is told in one message, once, or was cancelled in time', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
      const name = `run${++runs}`;
      for (const who of [0, 1])
        await servers[0]!.api('PUT', `/v1/users/${name}-${who}`, { webhook_url: `http://127.0.0.1:${receiver.port}/${name}-${who}` });
      const sent = await play(steps, name);
      const outcomes = await settle(sent);
      // What a killed process had sent and not recorded comes again, under the same id and with the same bytes.
      const received = receiver.requests.filter(({ path }) => path.startsWith(`/${name}-`));
      const bodies = Map.groupBy(received, ({ headers }) => headers['webhook-id']);
      for (const same of bodies.values()) expect(new Set(same.map(({ body }) => body)).size).toBe(1);
      const told = [...bodies.values()].flatMap(([first]) =>
        (JSON.parse(first!.body) as Message).data.data.items.map((item) => item.event_id),
      );
      const wanted = sent.filter(({ cancelled }) => !cancelled).map(({ id }) => id);
      expect(told.toSorted()).toEqual(wanted.toSorted());
      for (const { id, cancelled } of sent) expect(outcomes.get(id)).toBe(cancelled ? 'cancelled cancelled' : 'delivered digested');
    }),
    { numRuns: 15 },
  );
}, 180_000);
