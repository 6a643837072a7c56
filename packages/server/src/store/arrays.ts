/**
 * Array parameters. The driver would look at every element for what to escape, and `unnest` would flatten nested arrays:
 * a text[] as one element of a text[] is written as its literal, and cast back with `::text[]`.
 */

/** A parameter for `uuid[]`, numbers, booleans and times in ISO 8601: values that need no quotes. The driver would look at each for what to escape. */
export function bareArray(items: readonly (string | number | boolean | null)[]): string {
  return `{${items.map((item) => item ?? 'NULL').join(',')}}`;
}

/** A parameter for `text[]`. */
export function textArray(items: readonly (string | null)[]): string {
  return `{${items.map((item) => (item === null ? 'NULL' : quoted(item))).join(',')}}`;
}

const SPECIAL = /[\\"]/;

function quoted(text: string): string {
  return SPECIAL.test(text) ? `"${text.replace(/[\\"]/g, '\\$&')}"` : `"${text}"`;
}

/** Smallest and largest of UUIDs in text form, which sorts as their bytes do: bounds that let the planner skip partitions. */
export function bounds(ids: readonly string[]): [string, string] {
  let [low = '', high = ''] = [ids[0], ids[0]];
  for (const id of ids) {
    if (id < low) low = id;
    if (id > high) high = id;
  }
  return [low, high];
}
