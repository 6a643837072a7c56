/** Exactly one decision for each recipient and channel considered, whoever routes, and however often somebody is named (promise 3). */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deliveriesOf, eventState, eventually, nowOf, uuidOf } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startServer, type TestServer } from '../harness/server.ts';

/** A failure says which seed to set here. */
const seed = Number(process.env.CARILLON_TEST_SEED ?? Math.trunc(performance.timeOrigin + performance.now()) % 2 ** 31);
const numRuns = Number(process.env.CARILLON_TEST_RUNS ?? 15);
const USERS = 8;
const ROLES = ['owner', 'admin'] as const;
const CHANNELS = ['in_app', 'email', 'webhook', 'sms'] as const;

let db: TestDatabase;
/** They race for what waits in the queue. */
let servers: TestServer[];
beforeAll(async () => {
  console.log(`fast-check: CARILLON_TEST_SEED=${seed}`);
  db = await freshDatabase();
  servers = [await startServer({}, { on: db }), await startServer({}, { on: db })];
});
afterAll(async () => {
  for (const server of servers) await server.stop();
  await db.drop();
});

async function call(method: string, path: string, body?: unknown) {
  const { status, body: answer } = await servers[0]!.api(method, path, body);
  expect(status, `${method} ${path} ${JSON.stringify(body)}: ${JSON.stringify(answer)}`).toBeLessThan(300);
  return answer;
}

interface Person {
  readonly active: boolean;
  readonly email: boolean;
  readonly roles: readonly string[];
  readonly subscribed: boolean;
  readonly off: readonly string[];
}
type Rule =
  | { readonly kind: 'user' | 'inline'; readonly user: number }
  | { readonly kind: 'role'; readonly role: string }
  | { readonly kind: 'topic' | 'lately' };
interface Wanted {
  readonly to: readonly Rule[];
  readonly channels: readonly string[] | undefined;
  readonly exclude: readonly number[];
  readonly scheduled: boolean;
}

const person = fc.record({
  active: fc.integer({ max: 9, min: 0 }).map((value) => value > 0),
  email: fc.boolean(),
  roles: fc.subarray([...ROLES]),
  subscribed: fc.boolean(),
  off: fc.subarray([...CHANNELS], { maxLength: 2 }),
});
const rule: fc.Arbitrary<Rule> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom('user' as const, 'inline' as const), user: fc.nat(USERS + 1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('role' as const), role: fc.constantFrom(...ROLES) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('topic' as const, 'lately' as const) }) },
);
const wanted: fc.Arbitrary<Wanted> = fc.record({
  to: fc.array(rule, { minLength: 1, maxLength: 6 }),
  channels: fc.option(fc.subarray([...CHANNELS], { minLength: 1 }), { nil: undefined }),
  exclude: fc.array(fc.nat(USERS), { maxLength: 2 }),
  scheduled: fc.boolean(),
});
/** Of a mailing list, each mailbox is one. */
const destinations = fc.array(fc.record({ mailboxes: fc.nat(3), on: fc.boolean() }), { maxLength: 2 });

/** The names of one run. */
function namesOf(run: string) {
  const id = (user: number) => `user-${run}-${user}`;
  const topic = `topic-${run}`;
  const onWire = (one: Rule): unknown => {
    if (one.kind === 'user') return id(one.user);
    if (one.kind === 'inline') return { user_id: id(one.user), webhook_url: 'http://127.0.0.1:9/' };
    return one.kind === 'role' ? { role: `${one.role}-${run}` } : one.kind === 'topic' ? { topic } : { active_within: '1s' };
  };
  return { id, topic, onWire, type: `type-${run}` };
}
type Names = ReturnType<typeof namesOf>;

async function setUp(
  people: readonly Person[],
  { id, topic, type }: Names,
  run: string,
  lists: readonly { mailboxes: number; on: boolean }[],
) {
  for (const [user, { active, email, roles, subscribed, off }] of people.entries()) {
    const profile = { active, email: email ? `${id(user)}@example.org` : null, roles: roles.map((role) => `${role}-${run}`) };
    await call('PUT', `/v1/users/${id(user)}`, profile);
    await call('PUT', `/v1/users/${id(user)}/preferences`, { channels: Object.fromEntries(off.map((name) => [name, { enabled: false }])) });
    if (subscribed) await call('PUT', `/v1/topics/${topic}/subscriptions/${id(user)}`);
  }
  const made = [];
  for (const { mailboxes, on } of lists) {
    const config =
      mailboxes === 0
        ? { channel: 'webhook', config: { webhook_url: 'http://127.0.0.1:9/' } }
        : { channel: 'email', config: { email_addresses: Array.from({ length: mailboxes }, (_, box) => `box-${box}@example.org`) } };
    const { id: destination } = await call('POST', '/v1/destinations', { name: 'Ops', events: { [type]: on }, ...config });
    if (on) made.push({ destination: destination as string, expected: Math.max(1, mailboxes) });
  }
  for (const { api } of servers)
    await eventually(async () => {
      const { body } = await api('POST', '/v1/events/preview', { type, to: [id(0)] });
      return new Set(body.destinations.map((one: { destination_id: string }) => one.destination_id)).size;
    }).toBe(made.length); // the other process notices a new destination within a second
  return made;
}

/** Everybody whom these rules address: nobody was seen lately. */
function addressed(people: readonly Person[], { to }: Wanted): Set<number> {
  const users = [...people.entries()];
  return new Set(
    to.flatMap((one): number[] => {
      if (one.kind === 'user' || one.kind === 'inline') return [one.user];
      return users
        .filter(([, { roles, subscribed }]) => (one.kind === 'role' ? roles.includes(one.role) : one.kind === 'topic' && subscribed))
        .map(([user]) => user);
    }),
  );
}

/** The channels that are considered for somebody, or `*` for who is not told at all. */
function considered(people: readonly Person[], { to, channels, exclude }: Wanted, user: number): string[] {
  if (exclude.includes(user) || people[user]?.active === false) return ['*'];
  if (channels) return channels.toSorted();
  return to.some((one) => one.kind === 'inline' && one.user === user) ? ['in_app', 'webhook'] : ['in_app'];
}

async function check(people: readonly Person[], one: Wanted, { event, names }: { event: string; names: Names }): Promise<void> {
  await eventually(() => eventState(db, event)).toBe('routed');
  const rows = (await deliveriesOf(db, event)).filter(({ user }) => user !== null);
  const decided = [...Map.groupBy(rows, ({ user }) => user)].map(([user, all]) => [user, all.map(({ channel }) => channel).sort()]);
  const wantedNow = [...addressed(people, one)].map((user) => [names.id(user), considered(people, one, user)]);
  expect(decided.sort()).toEqual(wantedNow.sort());
  const told = await db.query<{ user_id: string }>('select user_id from carillon.notifications where event_id = $1 order by user_id', [
    uuidOf(event),
  ]);
  expect(told.map((row) => row.user_id)).toEqual(
    wantedNow
      .filter(([, channels]) => channels?.[0] !== '*')
      .map(([user]) => user)
      .sort(),
  );
}

async function checkDestinations(event: string, made: readonly { destination: string; expected: number }[]): Promise<void> {
  const { deliveries, skipped } = await call('GET', `/v1/events/${event}`);
  const all = [...deliveries, ...skipped].filter(
    (row: { destination_id: string | null; status?: string }) => row.destination_id !== null && row.status !== 'skipped',
  );
  const count = Map.groupBy(all, (row: { destination_id: string }) => row.destination_id);
  expect([...count].map(([id, ones]) => [id, ones.length]).sort()).toEqual(
    made.map(({ destination, expected }) => [destination, expected]).sort(),
  );
}

let runs = 0;
test('for random people, rules, channels and destinations, over two racing routers', { timeout: 300_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(person, { minLength: USERS, maxLength: USERS }),
      fc.array(wanted, { minLength: 1, maxLength: 5 }),
      destinations,
      async (people, all, lists) => {
        const run = `r${seed}x${++runs}`;
        const names = namesOf(run);
        const made = await setUp(people, names, run, lists);
        const soon = new Date((await nowOf(db)).getTime() + 60_000).toISOString();
        const items = all.map(({ to, channels, exclude, scheduled }) => ({
          type: names.type,
          to: to.map(names.onWire),
          channels,
          exclude: exclude.map(names.id),
          scheduled_for: scheduled ? soon : undefined,
        }));
        const { results } = await call('POST', '/v1/events/batch', items);
        await db.moveClock(61_000);
        await Promise.all(servers.map(({ running }) => running.catchUp()));
        for (const [index, one] of all.entries()) {
          const { id: event } = results[index];
          await check(people, one, { event, names });
          await checkDestinations(event, made);
        }
      },
    ),
    { seed, numRuns, endOnFailure: true },
  );
});
