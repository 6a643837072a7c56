import { expect, test } from 'vitest';
import { makeAlarm } from './alarm.ts';

const never = new AbortController().signal;

test('a ring that came while nobody waited is not lost, and counts once', async () => {
  const alarm = makeAlarm(() => performance.now());
  alarm.ring();
  alarm.ring();
  await alarm.next(never);
  const order: string[] = [];
  const waiting = alarm.next(never).then(() => order.push('rung'));
  order.push('waiting');
  alarm.ring();
  await waiting;
  expect(order).toEqual(['waiting', 'rung']);
});

test('the earliest time asked for rings', async () => {
  const alarm = makeAlarm(() => performance.now());
  const from = performance.now();
  alarm.ringIn(30_000);
  alarm.ringIn(5);
  alarm.ringIn(20_000);
  await alarm.next(never);
  expect(performance.now() - from).toBeLessThan(10_000);
});

test('stop ends the wait, also one that has not begun', async () => {
  const stop = new AbortController();
  const alarm = makeAlarm(() => performance.now());
  const waiting = alarm.next(stop.signal);
  stop.abort();
  await waiting;
  await alarm.next(stop.signal);
});
