import { expect, test } from 'vitest';
import type { CarillonEvent } from '../domain/event.ts';
import { makePace } from './pace.ts';

const event = (id: string): CarillonEvent =>
  ({ id, tenantId: id.slice(0, 1), request: id.endsWith('!') ? { tenant_templates: true } : {} }) as unknown as CarillonEvent;
const events = (...ids: string[]) => ids.map(event);
const ids = (picked: readonly CarillonEvent[]) => picked.map(({ id }) => id);

test('what has no texts of a tenant’s own goes as it came', () => {
  const claimed = events('a1', 'b1', 'a2');
  expect(makePace().pick(claimed)).toBe(claimed);
  expect(makePace().pick([])).toEqual([]);
});

test('the two kinds never share a transaction, and the oldest says whose turn it is', () => {
  expect(ids(makePace().pick(events('a1', 'b1!', 'a2')))).toEqual(['a1', 'a2']);
  expect(ids(makePace().pick(events('b1!', 'a1', 'b2!')))).toEqual(['b1!', 'b2!']);
});

test('tenants take turns', () => {
  expect(ids(makePace().pick(events('a1!', 'a2!', 'a3!', 'b1!', 'c1!', 'b2!')))).toEqual(['a1!', 'b1!', 'c1!', 'a2!', 'b2!', 'a3!']);
});

test('few at once while they take long, many while they are quick', () => {
  const pace = makePace();
  const claimed = events(...Array.from({ length: 100 }, (_, at) => `a${at}!`));
  const sizes = [2_000, 2_000, 2_000, 10, 500, 10, 10, 10, 10, 10, 10, 10].map((ms) => {
    const picked = pace.pick(claimed);
    pace.took(picked, ms);
    return picked.length;
  });
  expect(sizes).toEqual([8, 2, 1, 1, 2, 2, 4, 8, 16, 32, 64, 100]);
  pace.took(events('a1'), 2_000);
  expect(pace.pick(claimed)).toHaveLength(100);
});
