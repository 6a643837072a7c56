/** Role api alone, scheduled events: accepting and nothing else. */
import type { Contender } from '../contender.ts';
import type { Flooded } from '../http-load.ts';
import type { Sample } from '../statistics.ts';
import { startCarillon } from './server.ts';

export const carillonIngest: Contender = {
  name: 'Carillon',
  start: async (rig) => {
    const carillon = await startCarillon(rig, 'ingest', 'api');
    const target = carillon.target('/v1/events');
    const send = async (seconds: number): Promise<Sample> => {
      const before = await carillon.look('select count(*) from carillon.events');
      const { accepted, startedMs, endedMs } = await rig.load.call<Flooded>('scheduled', { target, seconds });
      const stored = (await carillon.look('select count(*) from carillon.events')) - before;
      if (stored !== accepted) throw new Error(`${accepted} events were acknowledged and ${stored} stored`);
      return { events: accepted, perSecond: (accepted * 1000) / (endedMs - startedMs) };
    };
    return {
      pids: { carillon: carillon.pid },
      warmUp: async () => {
        await send(Math.min(3, rig.options.ingestSeconds));
      },
      measure: () => send(rig.options.ingestSeconds),
      stop: carillon.stop,
    };
  },
};
