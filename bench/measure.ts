/** One row: everyone is started and warmed up, then measured in turn, so that a noisy minute hits all alike. */
import { type Contender, type Running, Unavailable } from './contender.ts';
import { startCpuMeter } from './processes.ts';
import type { Rig } from './rig.ts';
import type { Row } from './rows.ts';
import type { Sample } from './statistics.ts';

export interface Measured {
  readonly row: Row;
  /** By contender; one that is unavailable is missing. */
  readonly samples: ReadonlyMap<Contender, readonly Sample[]>;
  readonly skipped: readonly string[];
}

/** `tell` gets a line for each step. */
export async function measureRow(rig: Rig, row: Row, tell: (line: string) => void): Promise<Measured> {
  const started = new Map<Contender, Running>();
  const samples = new Map<Contender, Sample[]>();
  const skipped: string[] = [];
  try {
    for (const contender of [...row.references, row.carillon]) {
      const running = await startOrSkip(rig, contender, skipped);
      if (!running) continue;
      started.set(contender, running);
      samples.set(contender, []);
      tell(`  warming up ${contender.name}`);
      await unlessInterrupted(rig, running.warmUp());
    }
    for (const reason of skipped) tell(`  LEFT OUT: ${reason}`);
    for (let repetition = 1; repetition <= rig.options.repetitions; repetition++) {
      for (const [contender, running] of started) samples.get(contender)?.push(await measureOnce(rig, { contender, running, tell }));
    }
    return { row, samples, skipped };
  } finally {
    for (const running of [...started.values()].reverse()) await running.stop().catch((error: unknown) => tell(`  ${String(error)}`));
  }
}

/** Rejects as soon as somebody wants to stop; what goes on then ends with its process. */
function unlessInterrupted<T>({ interrupted }: Rig, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(new Error('interrupted'));
    if (interrupted.aborted) stop();
    interrupted.addEventListener('abort', stop);
    work.then(resolve, reject).finally(() => interrupted.removeEventListener('abort', stop));
  });
}

async function startOrSkip(rig: Rig, contender: Contender, skipped: string[]): Promise<Running | undefined> {
  try {
    return await contender.start(rig);
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    skipped.push(`${contender.name}: ${error.message}`);
    return undefined;
  }
}

interface Turn {
  readonly contender: Contender;
  readonly running: Running;
  readonly tell: (line: string) => void;
}

async function measureOnce(rig: Rig, { contender, running, tell }: Turn): Promise<Sample> {
  await rig.postgres.settle();
  const { receiver, load, postgres } = rig;
  const pids = { ...running.pids, ...(postgres.pid !== undefined && { postgres: postgres.pid }), receiver: receiver.pid, load: load.pid };
  const startedMs = performance.now();
  const cpuOf = startCpuMeter(pids);
  const sample = await unlessInterrupted(rig, running.measure());
  const cpu = cpuOf();
  const seconds = (performance.now() - startedMs) / 1000;
  tell(
    `  ${contender.name}: ${Object.entries(sample)
      .map(([name, value]) => `${name} ${shown(value)}`)
      .join(', ')}`,
  );
  if (rig.options.verbose) tell(`    ${accountOf(cpu, seconds, sample.events ?? Number.NaN)}`);
  return sample;
}

/** CPU per event stays the same when something else is running here: a rate does not. */
function accountOf(cpu: Readonly<Record<string, number>>, seconds: number, events: number): string {
  const perEvent = (used: number): string => `${Math.round((used * 1e6) / events)} µs`;
  const each = Object.entries(cpu).map(([name, used]) => `${name} ${used.toFixed(2)} s (${perEvent(used)})`);
  const total = Object.values(cpu).reduce((sum, used) => sum + used, 0);
  return `cpu in ${seconds.toFixed(2)} s, and per event: ${each.join(', ')}; all ${total.toFixed(2)} s (${perEvent(total)})`;
}

/** As many digits as the measurement is worth. */
export function shown(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toFixed(2);
}
