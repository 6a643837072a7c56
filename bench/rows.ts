/** The rows of the speed table that are measured, with their bars. */
import { carillonIngest } from './carillon/ingest.ts';
import { carillonLatency } from './carillon/latency.ts';
import { carillonPipeline, carillonSingle } from './carillon/throughput.ts';
import type { Contender } from './contender.ts';
import type { RowName } from './options.ts';
import { bullmq, durableLoop, graphileWorker, insertPerRequest, relay, relayLatency } from './references/contenders.ts';

export interface Bar {
  /** `ratio`: to the reference's figure, at least. `limit`: in milliseconds, at most; the reference is shown beside it. */
  readonly kind: 'ratio' | 'limit';
  readonly metric: 'perSecond' | 'p50Ms' | 'p99Ms';
  readonly against: Contender;
  readonly firstBar: number;
  readonly goal: number;
}

const ratio = (against: Contender, firstBar: number, goal: number): Bar => ({
  kind: 'ratio',
  metric: 'perSecond',
  against,
  firstBar,
  goal,
});

export interface Row {
  readonly title: string;
  /** Measured in turn: references first. */
  readonly references: readonly Contender[];
  readonly carillon: Contender;
  readonly bars: readonly Bar[];
}

export const ROWS: Readonly<Record<RowName, Row>> = {
  ingest: {
    title: 'ingest: POST /v1/events durable 202s, 64 connections, role api alone',
    references: [insertPerRequest],
    carillon: carillonIngest,
    bars: [ratio(insertPerRequest, 1.5, 2.5)],
  },
  pipeline: {
    title: 'pipeline: event → routed → signed webhook delivered → attempt recorded, one process, by batches of 200',
    references: [durableLoop, graphileWorker, bullmq],
    carillon: carillonPipeline,
    bars: [ratio(durableLoop, 0.5, 0.8), ratio(graphileWorker, 0.6, 1), ratio(bullmq, 0.6, 1)],
  },
  single: {
    title: 'single: the same by single POSTs over 64 connections',
    references: [relay],
    carillon: carillonSingle,
    bars: [ratio(relay, 0.7, 1.3)],
  },
  latency: {
    title: 'latency: POST → webhook at the receiver, 200 events/s',
    references: [relayLatency],
    carillon: carillonLatency,
    bars: [
      { kind: 'limit', metric: 'p50Ms', against: relayLatency, firstBar: 4, goal: 2 },
      { kind: 'limit', metric: 'p99Ms', against: relayLatency, firstBar: 15, goal: 6 },
    ],
  },
};
