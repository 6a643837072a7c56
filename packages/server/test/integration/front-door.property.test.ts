/** Whatever JSON comes: an answer, and never one that says that something failed here. What is accepted is there. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callsOf, somethingOfEachKind, type Call } from '../harness/examples.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type Reply, type TestServer } from '../harness/server.ts';

/** A failure says which seed to set here. */
const seed = Number(process.env.CARILLON_TEST_SEED ?? Math.trunc(performance.timeOrigin + performance.now()) % 2 ** 31);
const runs = (numRuns: number) => ({ seed, numRuns, endOnFailure: true });
const WRITING = ['POST', 'PUT', 'PATCH'];

let server: TestServer;
let gone: Receiver;
let calls: [name: string, call: Call][];
let token: string;
beforeAll(async () => {
  console.log(`fast-check: CARILLON_TEST_SEED=${seed}`);
  gone = await startReceiver((response) => response.writeHead(410).end());
  server = await startServer();
  const { body } = await server.api('GET', '/openapi.json');
  calls = [...callsOf(body)].filter(([name, { method }]) => WRITING.includes(method) && !name.includes(' /dev/'));
});
afterAll(async () => {
  await server.stop();
  await gone.close();
});

const send = ({ method, path, byUser }: Call, body: unknown) =>
  server.api(method, path, body, byUser ? { authorization: `Bearer ${token}` } : {});

/** One place of a valid body, at any depth, is replaced, left out, or gets a neighbour. */
function mutated(valid: unknown): fc.Arbitrary<unknown> {
  const change = fc.oneof(
    fc.jsonValue().map((value) => ({ kind: 'replace' as const, value })),
    fc.constant({ kind: 'remove' as const, value: null }),
    fc.tuple(fc.string(), fc.jsonValue()).map(([key, value]) => ({ kind: 'add' as const, key, value })),
  );
  return fc.tuple(fc.nat(), change).map(([at, what]) => {
    const copy = { root: structuredClone(valid ?? {}) };
    const places = placesIn(copy);
    const [holder, key] = places[at % places.length]!;
    if (what.kind === 'replace') holder[key] = what.value;
    else if (what.kind === 'remove') Reflect.deleteProperty(holder, key);
    else holder[what.key] = what.value;
    return copy.root;
  });
}

type Holder = Record<string, unknown>;

function placesIn(holder: Holder): [Holder, string][] {
  return Object.entries(holder).flatMap(([key, value]) => [
    [holder, key] as [Holder, string],
    ...(typeof value === 'object' && value !== null ? placesIn(value as Holder) : []),
  ]);
}

/** A problem says what kind it is; anything else is a success. */
function expectAnswer({ status, body, headers }: Reply, sent: unknown): void {
  const said = JSON.stringify({ status, body, sent });
  expect(status, said).toBeLessThan(500);
  if (status < 400) return;
  expect(headers.get('content-type'), said).toContain('application/problem+json');
  expect(body, said).toMatchObject({ status, code: expect.any(String), type: `/errors/${body.code}` });
}

describe('any JSON on any route that takes it', () => {
  test('is answered', async () => {
    const { real, token: minted } = await somethingOfEachKind(server, `http://127.0.0.1:${gone.port}`);
    token = minted;
    await server.api('POST', '/v1/tenants', { id: 'of-the-properties' });
    expect(calls.length).toBeGreaterThanOrEqual(20);
    for (const [name, example] of calls) {
      const own = Object.entries(real).reduce((path, [id, mine]) => path.replace(id, mine), example.path);
      // A changed limit of our own tenant would answer all the rest.
      const call = { ...example, path: own.replace('/v1/tenants/default', '/v1/tenants/of-the-properties') };
      const bodies = fc.oneof(
        { weight: 1, arbitrary: fc.jsonValue() },
        { weight: 1, arbitrary: fc.object() },
        { weight: 4, arbitrary: mutated(call.body) },
      );
      await fc.assert(
        fc.asyncProperty(bodies, async (body) => {
          expectAnswer(await send(call, body), { name, body });
        }),
        runs(30),
      );
    }
  });

  test('text that may be JSON is answered too', async () => {
    const texts = fc.oneof(
      fc.string(),
      fc.json(),
      fc.json().map((json) => json.slice(0, -1)),
      fc.string({ unit: 'binary' }),
    );
    for (const path of ['/v1/events', '/v1/events/batch', '/v1/users/batch'])
      await fc.assert(
        fc.asyncProperty(texts, async (text) => {
          const headers = { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' };
          const { status } = await fetch(`${server.url}${path}`, { method: 'POST', headers, body: text });
          expect(status).toBeLessThan(500);
        }),
        runs(50),
      );
  });
});

const printable = fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' }).filter((text) => !/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u.test(text));
const event = fc.record(
  {
    type: printable.filter((text) => text !== 'inline'),
    to: fc.array(printable, { minLength: 1, maxLength: 5 }),
    data: fc.dictionary(fc.string(), fc.jsonValue()),
    severity: fc.constantFrom('low', 'medium', 'high', 'urgent'),
    tags: fc.array(
      printable.filter((text) => Buffer.byteLength(text) <= 128),
      { maxLength: 5 },
    ),
    correlation_id: printable,
    channels: fc.constant(['in_app']),
  },
  { requiredKeys: ['type', 'to', 'channels'] },
);

test('what is accepted can be read at once, as it was sent', async () => {
  await fc.assert(
    fc.asyncProperty(event, async (sent) => {
      const { status, body, headers } = await server.api('POST', '/v1/events', sent);
      if (status !== 202) {
        expectAnswer({ status, body, headers }, sent);
        return;
      }
      const read = await server.api('GET', `/v1/events/${body.id}`);
      const { to, channels, ...content } = JSON.parse(JSON.stringify(sent)) as typeof sent; // as JSON has it: -0 is 0
      expect(read.body).toMatchObject({ id: body.id, ...content, data: content.data ?? {} });
      expect(read.body.data).toEqual(content.data ?? {});
      expect(read.body.counts.recipients).toBe(new Set(to).size);
      expect(channels).toEqual(['in_app']);
    }),
    runs(150),
  );
});
