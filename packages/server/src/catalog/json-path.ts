/**
 * The part of RFC 9535 that finds people in an event: `$`, `.name`, `['name']`, `[0]`, `[-1]`, `[*]` and `.*`.
 * No filters, slices or descent: a path of n steps costs n looks.
 */

type Step = { readonly name: string } | { readonly index: number } | 'every';
export type JsonPath = readonly Step[];

const MAX_LENGTH = 256;
const STEP =
  /\.(?<name>[A-Za-z_\u0080-\uffff][\w\u0080-\uffff-]*)|\[(?<index>0|-?[1-9]\d{0,8})\]|\['(?<quoted>[^'\\]*)'\]|(?<every>\.\*|\[\*\])/uy;

/** Undefined for what is not such a path. */
export function parsePath(text: string): JsonPath | undefined {
  if (!text.startsWith('$') || text.length > MAX_LENGTH) return undefined;
  const steps: Step[] = [];
  const step = new RegExp(STEP);
  for (let at = 1; at < text.length; at = step.lastIndex) {
    step.lastIndex = at;
    const groups = step.exec(text)?.groups;
    if (!groups) return undefined;
    steps.push(toStep(groups));
  }
  return steps;
}

function toStep({ name, quoted, index }: Readonly<Record<string, string | undefined>>): Step {
  if (name !== undefined) return { name };
  if (quoted !== undefined) return { name: quoted };
  return index === undefined ? 'every' : { index: Number(index) };
}

/** Every value that the path names. */
export function valuesAt(path: JsonPath, root: unknown): unknown[] {
  return path.reduce<unknown[]>((values, step) => values.flatMap((value) => childrenAt(step, value)), [root]);
}

function childrenAt(step: Step, value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  if (step === 'every') return Object.values(value);
  if ('name' in step) {
    const found = !Array.isArray(value) && Object.hasOwn(value, step.name);
    return found ? [(value as Record<string, unknown>)[step.name]] : [];
  }
  if (!Array.isArray(value)) return [];
  const element: unknown = value.at(step.index);
  return element === undefined ? [] : [element];
}
