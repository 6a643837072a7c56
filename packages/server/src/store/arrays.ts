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

/**
 * One value a row, like `bareArray`; `{}` when all are null: beside a longer array `unnest` fills up with null. Most columns are, and
 * neither side then has anything to do.
 */
export function bareColumn<Row>(rows: readonly Row[], valueOf: (row: Row) => string | number | boolean | null): string {
  let text = '';
  let known = false;
  for (const row of rows) {
    const value = valueOf(row);
    known ||= value !== null;
    text += value === null ? ',NULL' : `,${value}`;
  }
  return known ? `{${text.slice(1)}}` : '{}';
}

/** The same as `textArray`. */
export function textColumn<Row>(rows: readonly Row[], valueOf: (row: Row) => string | null): string {
  return bareColumn(rows, (row) => {
    const value = valueOf(row);
    return value === null ? null : quoted(value);
  });
}

/** JSON texts as one JSON array, for `json_array_elements`: nothing needs quotes. */
export function jsonArray(items: readonly string[]): string {
  return `[${items.join(',')}]`;
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
