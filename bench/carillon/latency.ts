/** POST → webhook at the receiver, at a steady 200 events a second. */
import type { Contender } from '../contender.ts';
import type { Sent } from '../http-load.ts';
import { latencyOf } from '../latency.ts';
import { expectDelivered } from './delivered.ts';
import { startCarillon } from './server.ts';

const PER_SECOND = 200;
const WARM_UP_EVENTS = 1_000;
const LOOKED_AT = 100;

export const carillonLatency: Contender = {
  name: 'Carillon',
  start: async (rig) => {
    const carillon = await startCarillon(rig, 'latency');
    const target = carillon.target('/v1/events');
    return {
      pids: { carillon: carillon.pid },
      warmUp: async () => {
        const delivered = await expectDelivered(rig, carillon, WARM_UP_EVENTS);
        await rig.load.call<Sent[]>('paced', { target, perSecond: PER_SECOND, count: WARM_UP_EVENTS });
        await delivered();
      },
      measure: async () => {
        const latency = await latencyOf(rig, target, PER_SECOND);
        // Apart, because looking takes time: each of some more webhooks finds its delivery committed when it arrives.
        await rig.receiver.call('reset', { mode: 'look', databaseUrl: carillon.superuserUrl });
        await rig.load.call<Sent[]>('paced', { target, perSecond: PER_SECOND, count: LOOKED_AT });
        await rig.receiver.call('waitFor', { count: LOOKED_AT });
        const { committed } = await rig.receiver.call<{ committed: number }>('counted');
        await rig.receiver.call('reset', { mode: 'count' });
        return { ...latency, committedShare: committed / LOOKED_AT };
      },
      stop: carillon.stop,
    };
  },
};
