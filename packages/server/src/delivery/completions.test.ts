import { expect, test } from 'vitest';
import type { Completion } from '../domain/delivery.ts';
import { makeCompletions } from './completions.ts';

const AT = new Date('2026-01-02T03:04:05.000Z');
const row = (id: string): Completion => ({
  id,
  tenantId: 'acme',
  destinationId: null,
  token: 'token',
  attempt: 1,
  kind: 'attempt',
  state: 'delivered',
  reason: 'sent',
  dueAt: null,
  at: AT,
  durationMs: 1,
  provider: 'webhook.http',
  outcome: 1,
  attemptReason: 'sent',
  status: 200,
  detail: null,
  response: null,
});

class Away extends Error {}
const never = new AbortController().signal;

/** Writes to a list, by whatever `refuse` throws. */
function rig(refuse: (ids: readonly string[]) => void = () => undefined, known: (id: string) => boolean = () => true) {
  const writes: string[][] = [];
  const written: string[] = [];
  const lost: string[] = [];
  const logs: { event: string; fields: Record<string, unknown> }[] = [];
  const completions = makeCompletions({
    complete: async (rows) => {
      const ids = rows.map(({ id }) => id);
      writes.push(ids);
      await Promise.resolve();
      refuse(ids);
      const done = ids.filter(known);
      written.push(...done);
      return done;
    },
    isUnavailable: (error) => error instanceof Away,
    lost: (ids) => {
      lost.push(...ids);
    },
    log: (event, fields) => {
      logs.push({ event, fields });
    },
  });
  return { completions, writes, written, lost, logs };
}

const numbers = (count: number) => Array.from({ length: count }, (_, n) => String(n));

test('what comes together is written together, all of it, in writes of at most 200', async () => {
  const { completions, writes, written } = rig();
  for (const id of numbers(950)) completions.add(row(id));
  await completions.flushed(never);
  expect(written.toSorted()).toEqual(numbers(950).toSorted());
  expect(writes.length).toBeLessThan(20);
  expect(Math.max(...writes.map((ids) => ids.length))).toBe(200);
});

test('there is nothing to wait for when nothing was added', async () => {
  const { completions, writes } = rig();
  await completions.flushed(never);
  expect(writes).toEqual([]);
});

test('while the database is away nothing is lost: it is written on its return, once', async () => {
  let away = 3;
  const { completions, writes, written, logs } = rig(() => {
    if (away-- > 0) throw new Away();
  });
  for (const id of ['a', 'b']) completions.add(row(id));
  await completions.flushed(never);
  expect(written).toEqual(['a', 'b']);
  expect(writes).toHaveLength(4);
  expect(logs.map(({ event, fields }) => [event, fields.deliveries])).toEqual(Array(3).fill(['delivery.outcomes-waiting', 2]));
});

test('after an absence what was added until its end is overdue until it is written; what comes later is not', async () => {
  let away = true;
  const { completions, logs, written } = rig(() => {
    if (away) throw new Away();
  });
  completions.add(row('a'));
  expect(completions.overdue()).toBe(false);
  await expect.poll(() => logs.length).toBeGreaterThan(0);
  expect(completions.overdue()).toBe(true);
  away = false;
  await expect.poll(() => written).toEqual(['a']);
  await completions.flushed(never);
  completions.add(row('b'));
  expect(completions.overdue()).toBe(false);
});

test('when it stays away, the end of the drain ends the wait and says what was not recorded', async () => {
  const { completions, written, logs } = rig(() => {
    throw new Away();
  });
  for (const id of numbers(300)) completions.add(row(id));
  const kill = new AbortController();
  let ended = false;
  const flushed = completions.flushed(kill.signal).then(() => {
    ended = true;
  });
  await expect.poll(() => logs.length).toBeGreaterThan(1);
  expect(ended).toBe(false);
  kill.abort();
  await flushed;
  expect(written).toEqual([]);
  const unrecorded = logs.filter(({ event }) => event === 'delivery.unrecorded').flatMap(({ fields }) => fields.deliveryIds as string[]);
  expect(unrecorded.toSorted()).toEqual(numbers(300).toSorted());
});

test('one bad row is found by halving; its neighbours are written, each once', async () => {
  const { completions, written, writes, lost, logs } = rig((ids) => {
    if (ids.includes('13')) throw new Error('planted');
  });
  for (const id of numbers(100)) completions.add(row(id));
  await completions.flushed(never);
  expect(written.toSorted()).toEqual(
    numbers(100)
      .filter((id) => id !== '13')
      .toSorted(),
  );
  expect(writes.length).toBeLessThan(20);
  expect(lost).toEqual([]);
  expect(logs.map(({ event, fields }) => [event, fields.deliveryIds])).toEqual([['delivery.unrecorded', ['13']]]);
});

test('what had lost its lease is reported, not tried again', async () => {
  const { completions, writes, written, lost } = rig(undefined, (id) => id !== 'b');
  for (const id of ['a', 'b', 'c']) completions.add(row(id));
  await completions.flushed(never);
  expect(lost).toEqual(['b']);
  expect(written).toEqual(['a', 'c']);
  expect(writes).toHaveLength(1);
});
