/** From the client's write to the receiver's request, event by event. */
import type { Sent } from './http-load.ts';
import type { Target } from './load.ts';
import type { Arrival } from './receiver.ts';
import type { Rig } from './rig.ts';
import { percentile, type Sample } from './statistics.ts';

/** Throws when an event did not arrive exactly once. */
export async function latencyOf(rig: Rig, target: Target, perSecond: number): Promise<Sample> {
  const count = perSecond * rig.options.latencySeconds;
  await rig.receiver.call('reset', { mode: 'record' });
  const sent = await rig.load.call<Sent[]>('paced', { target, perSecond, count });
  await rig.receiver.call('waitFor', { count });
  const arrivals = await rig.receiver.call<Arrival[]>('arrivals');
  const arrivedMs = new Map(arrivals);
  const latencies = sent.map(([id, atMs]) => (arrivedMs.get(id) ?? Number.NaN) - atMs);
  if (arrivals.length !== count || latencies.some(Number.isNaN)) throw new Error(`of ${count} events ${arrivals.length} webhooks arrived`);
  return { events: count, p50Ms: percentile(latencies, 0.5), p99Ms: percentile(latencies, 0.99), maxMs: Math.max(...latencies) };
}
