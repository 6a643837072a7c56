/** Summaries of samples. Pure. */

/** NaN for an empty list. */
function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** Nearest rank between neighbours, interpolated; `share` from 0 to 1. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const below = sorted[Math.floor(position)] ?? Number.NaN;
  const above = sorted[Math.ceil(position)] ?? Number.NaN;
  return below + (above - below) * (position - Math.floor(position));
}

/** The median of each metric on its own. All samples have the same metrics. */
export function medians(samples: readonly Sample[]): Sample {
  const names = Object.keys(samples[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, median(samples.map((sample) => sample[name] ?? Number.NaN))]));
}

/** What one measurement gave, by metric: `perSecond`, `p50Ms` … */
export type Sample = Readonly<Record<string, number>>;
