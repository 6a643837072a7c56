/** `npm run bench`: Carillon and its references, in one run, on one PostgreSQL. Prints; never judges. */
import { writeFileSync } from 'node:fs';
import { measureRow, type Measured } from './measure.ts';
import { parseOptions, USAGE, type Options } from './options.ts';
import { circumstances, samplesOf, tableOf } from './report.ts';
import { startRig } from './rig.ts';
import { ROWS } from './rows.ts';

const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function bench(options: Options): Promise<void> {
  const interrupted = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (interrupted.signal.aborted) return;
    process.exitCode = signal === 'SIGINT' ? 130 : 143;
    print('stopping');
    interrupted.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  const rig = await startRig(options, interrupted.signal);
  try {
    const about = circumstances(options, rig.postgres);
    print(about);
    const measured: Measured[] = [];
    for (const name of options.rows) {
      print(`\n${ROWS[name].title}`);
      measured.push(await measureRow(rig, ROWS[name], print));
    }
    const table = tableOf(measured);
    print(`\n${table}`);
    if (rig.profileDirectory !== undefined) print(`\nCPU profiles: ${rig.profileDirectory}`);
    if (options.write)
      writeFileSync(
        new URL('./RESULTS.md', import.meta.url),
        `# Results\n\n${about}\n\n${table}\n\n## All repetitions\n\n${samplesOf(measured)}\n`,
      );
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
  } finally {
    await rig.stop();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') print(USAGE);
  else await bench(options);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = 1;
}
