/** The command line. */
import { parseArgs } from 'node:util';

export const ROW_NAMES = ['ingest', 'pipeline', 'single', 'latency'] as const;
export type RowName = (typeof ROW_NAMES)[number];

export interface Options {
  readonly rows: readonly RowName[];
  readonly repetitions: number;
  readonly ingestSeconds: number;
  readonly latencySeconds: number;
  readonly pipelineEvents: number;
  readonly singleEvents: number;
  readonly verbose: boolean;
  readonly profile: boolean;
  readonly write: boolean;
}

export const USAGE = `npm run bench -- [options]
  --rows ingest,pipeline,single,latency   only these
  --quick                                 one short repetition
  --seconds n                             about so long per measurement (1 to 120)
  --repetitions n                         1 to 20; medians are shown
  --verbose                               every measurement, with CPU seconds per process
  --profile                               CPU profiles of Carillon; the directory is printed
  --write                                 bench/RESULTS.md
A server in DATABASE_URL is used instead of an embedded PostgreSQL.`;

/** Throws with what is wrong. */
export function parseOptions(args: readonly string[]): Options | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rows: { type: 'string' },
      seconds: { type: 'string' },
      repetitions: { type: 'string' },
      quick: { type: 'boolean', default: false },
      verbose: { type: 'boolean', default: false },
      profile: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const { quick, verbose, profile, write } = values;
  const seconds = values.seconds === undefined ? undefined : whole('--seconds', values.seconds, 120);
  const repetitions = values.repetitions === undefined ? undefined : whole('--repetitions', values.repetitions, 20);
  const defaults = quick ? QUICK : FULL;
  const sizes = seconds === undefined ? defaults : sizesFor(seconds);
  return { ...sizes, rows: rowsOf(values.rows), repetitions: repetitions ?? defaults.repetitions, verbose, profile, write };
}

const FULL = { repetitions: 3, ingestSeconds: 10, latencySeconds: 15, pipelineEvents: 40_000, singleEvents: 20_000 };
const QUICK = { repetitions: 1, ingestSeconds: 4, latencySeconds: 5, pipelineEvents: 15_000, singleEvents: 8_000 };

/** Counts that take about so long. */
function sizesFor(seconds: number) {
  return { ingestSeconds: seconds, latencySeconds: seconds, pipelineEvents: seconds * 8_000, singleEvents: seconds * 4_000 };
}

function rowsOf(text: string | undefined): readonly RowName[] {
  if (text === undefined) return ROW_NAMES;
  return text.split(',').map((word) => {
    const name = ROW_NAMES.find((one) => one === word);
    if (name === undefined) throw new Error(`--rows: there is no row ${word}; there are ${ROW_NAMES.join(', ')}`);
    return name;
  });
}

function whole(name: string, text: string, max: number): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1 || number > max) throw new Error(`${name}: a whole number from 1 to ${max}`);
  return number;
}
