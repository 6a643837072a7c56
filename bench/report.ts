/** Tables of what was measured. Pure but for the machine's description. */
import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import { shown, type Measured } from './measure.ts';
import type { Options } from './options.ts';
import type { Postgres } from './postgres.ts';
import type { Bar } from './rows.ts';
import { medians, type Sample } from './statistics.ts';

const HEADER = ['row', 'Carillon', 'measured against', '', 'ratio', 'first bar', 'goal', 'reached'] as const;

/** Markdown. */
export function tableOf(measured: readonly Measured[]): string {
  const lines = measured.flatMap((one) => one.row.bars.map((bar) => lineOf(one, bar)));
  return markdown([HEADER, HEADER.map(() => '---'), ...lines]);
}

/** All repetitions, with what else they gave. */
export function samplesOf(measured: readonly Measured[]): string {
  return measured
    .map(({ row, samples, skipped }) => {
      const lines = [...samples].map(([{ name }, all]) => `- ${name}: ${all.map(describe).join(' · ')}`);
      return [`**${row.title}**`, '', ...lines, ...skipped.map((reason) => `- left out: ${reason}`)].join('\n');
    })
    .join('\n\n');
}

function describe(sample: Sample): string {
  return Object.entries(sample)
    .map(([name, value]) => `${name} ${shown(value)}`)
    .join(', ');
}

function lineOf({ row, samples }: Measured, bar: Bar): readonly string[] {
  const title = row.title.split(':', 1)[0] ?? '';
  const ours = metricOf(samples.get(row.carillon), bar.metric);
  const theirs = metricOf(samples.get(bar.against), bar.metric);
  if (bar.kind === 'limit') {
    const names = [
      `${title} ${bar.metric.replace('Ms', '')}`,
      `${shown(ours)} ms`,
      `(${bar.against.name}, for comparison)`,
      `${shown(theirs)} ms`,
    ];
    return [...names, '', `${bar.firstBar} ms`, `${bar.goal} ms`, reached(ours <= bar.firstBar, ours <= bar.goal)];
  }
  const ratio = ours / theirs;
  const bars = [`${bar.firstBar}×`, `${bar.goal}×`];
  if (Number.isNaN(theirs)) return [title, `${shown(ours)}/s`, bar.against.name, 'left out', '', ...bars, ''];
  return [
    title,
    `${shown(ours)}/s`,
    bar.against.name,
    `${shown(theirs)}/s`,
    `${ratio.toFixed(2)}×`,
    ...bars,
    reached(ratio >= bar.firstBar, ratio >= bar.goal),
  ];
}

/** NaN when it was not measured. */
function metricOf(samples: readonly Sample[] | undefined, metric: string): number {
  return medians(samples ?? [])[metric] ?? Number.NaN;
}

function reached(firstBar: boolean, goal: boolean): string {
  if (goal) return 'goal';
  return firstBar ? 'first bar' : 'no';
}

function markdown(rows: readonly (readonly string[])[]): string {
  const widths = HEADER.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const pad = (text: string, column: number): string =>
    text === '---' ? '-'.repeat(widths[column] ?? 3) : text.padEnd(widths[column] ?? 0);
  return rows.map((row) => `| ${row.map(pad).join(' | ')} |`).join('\n');
}

/** What the figures depend on. */
export function circumstances(options: Options, postgres: Postgres): string {
  const [cpu] = cpus();
  const memory = (totalmem() / 2 ** 30).toFixed(0);
  return [
    `- machine: ${cpu?.model.trim() ?? 'unknown'}, ${cpus().length} cores, ${memory} GiB`,
    `- Node ${process.versions.node}, PostgreSQL ${postgres.version} (${postgres.durability})`,
    `- ${new Date().toISOString().slice(0, 16)}Z, commit ${commit()}`,
    `- medians of ${options.repetitions}, in turn; ingest ${options.ingestSeconds} s, pipeline ${options.pipelineEvents} events, single ${options.singleEvents} events, latency ${options.latencySeconds} s`,
  ].join('\n');
}

function commit(): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' with changes');
  } catch {
    return 'unknown'; // not a checkout
  }
}
