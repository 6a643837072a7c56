/** What every row needs, started once and always stopped. */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Options } from './options.ts';
import { startPostgres, type Postgres } from './postgres.ts';
import { startChild, type Child } from './processes.ts';

export interface Rig {
  readonly options: Options;
  /** Removed at the end. */
  readonly directory: string;
  /** Kept; undefined without --profile. */
  readonly profileDirectory: string | undefined;
  readonly postgres: Postgres;
  readonly receiver: Child;
  readonly receiverUrl: string;
  readonly load: Child;
  readonly interrupted: AbortSignal;
  readonly stop: () => Promise<void>;
}

export async function startRig(options: Options, interrupted: AbortSignal): Promise<Rig> {
  const directory = mkdtempSync(join(tmpdir(), 'carillon-bench-'));
  const stops: (() => Promise<void>)[] = [() => rm(directory, { recursive: true, force: true })];
  const stop = async (): Promise<void> => {
    for (const one of stops.splice(0).reverse()) await one().catch((error: unknown) => console.error(error));
  };
  try {
    const postgres = await startPostgres(directory, process.env.DATABASE_URL);
    stops.push(postgres.stop);
    const receiver = startChild(new URL('./receiver.ts', import.meta.url));
    stops.push(receiver.stop);
    const load = startChild(new URL('./load.ts', import.meta.url));
    stops.push(load.stop);
    const receiverUrl = `http://127.0.0.1:${await receiver.call<number>('listen')}`;
    const profileDirectory = options.profile ? mkdtempSync(join(tmpdir(), 'carillon-profile-')) : undefined;
    return { options, directory, profileDirectory, postgres, receiver, receiverUrl, load, interrupted, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
