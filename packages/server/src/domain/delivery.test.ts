import { describe, expect, test } from 'vitest';
import {
  channelOfLane,
  DELIVERY_STATES,
  deliveryState,
  INITIAL_STATES,
  laneOf,
  LEGAL_MOVES,
  MOVE_CAUSES,
  type DeliveryState,
} from './delivery.ts';

const STATES = Object.keys(DELIVERY_STATES) as DeliveryState[];

describe('the table', () => {
  test('names known states only, and nothing leads out of an end but a person’s retry', () => {
    for (const [from, tos] of Object.entries(LEGAL_MOVES)) for (const to of [from, ...tos]) expect(STATES).toContain(to);
    expect(STATES.filter((state) => LEGAL_MOVES[state].length === 0)).toEqual(['delivered', 'skipped', 'cancelled', 'expired']);
    expect(LEGAL_MOVES.failed).toEqual(['pending']);
    expect(INITIAL_STATES.every((state) => STATES.includes(state))).toBe(true);
  });

  test('each cause that is documented is of a legal move', () => {
    for (const move of Object.keys(MOVE_CAUSES)) {
      const [from, to] = move.split('>') as [DeliveryState, DeliveryState];
      expect(LEGAL_MOVES[from]).toContain(to);
    }
  });

  test('every state can be reached from a start', () => {
    const reached = new Set<DeliveryState>(INITIAL_STATES);
    for (const state of reached) for (const next of LEGAL_MOVES[state]) reached.add(next);
    expect([...reached].sort()).toEqual([...STATES].sort());
  });

  test('numbers are stored: each state has its own, and an unknown one is refused', () => {
    expect(STATES.map((state) => deliveryState(DELIVERY_STATES[state]))).toEqual(STATES);
    expect(() => deliveryState(99)).toThrow('unknown to this version');
  });
});

test('a lane is one far end of one tenant, and names its channel', () => {
  const lane = laneOf('acme', 'webhook', 'https://example.org/a b');
  expect(lane).not.toBe(laneOf('other', 'webhook', 'https://example.org/a b'));
  expect(lane).not.toBe(laneOf('acme', 'webhook', 'https://example.org/'));
  expect([lane, laneOf('a b', 'email', '')].map(channelOfLane)).toEqual(['webhook', 'email']);
});
