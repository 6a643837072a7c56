/** Event → routed → signed webhook delivered → attempt recorded, one process: by batches of 200, or by single POSTs. */
import type { Contender } from '../contender.ts';
import type { Flooded } from '../http-load.ts';
import type { Sample } from '../statistics.ts';
import { expectDelivered } from './delivered.ts';
import { startCarillon } from './server.ts';

const WARM_UP_SHARE = 0.5;

export const carillonPipeline = throughput({ name: 'pipeline', path: '/v1/events/batch', command: 'batches' });
export const carillonSingle = throughput({ name: 'single', path: '/v1/events', command: 'singles' });

interface Way {
  readonly name: 'pipeline' | 'single';
  readonly path: string;
  readonly command: 'batches' | 'singles';
}

function throughput({ name, path, command }: Way): Contender {
  return {
    name: 'Carillon',
    start: async (rig) => {
      const count = name === 'pipeline' ? rig.options.pipelineEvents : rig.options.singleEvents;
      const carillon = await startCarillon(rig, name);
      const target = carillon.target(path);
      const send = async (events: number): Promise<Sample> => {
        const delivered = await expectDelivered(rig, carillon, events);
        const { startedMs, endedMs } = await rig.load.call<Flooded>(command, { target, count: events });
        const recordedMs = await delivered();
        return {
          events,
          perSecond: (events * 1000) / (recordedMs - startedMs),
          acceptedPerSecond: (events * 1000) / (endedMs - startedMs),
        };
      };
      return {
        pids: { carillon: carillon.pid },
        warmUp: async () => {
          await send(Math.ceil(count * WARM_UP_SHARE));
        },
        measure: () => send(count),
        stop: carillon.stop,
      };
    },
  };
}
