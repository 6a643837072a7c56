/** Zod at the door: what does not fit becomes one problem that names every place. */
import fastJson from 'fast-json-stringify';
import { z } from 'zod';
import { CarillonError, type FieldError } from '../domain/error.ts';
import { pointerOf } from './body.ts';

type Issue = z.core.$ZodIssue;
type JsonSchema = z.core.JSONSchema.BaseSchema;

/** More would only make a hostile body's answer long. */
const MAX_ERRORS = 100;
const MAX_POINTER = 1_024;

/** Paths that can't name anything are not found; all else is `invalid`. */
export function validator(schema: z.ZodType, part: string | undefined): (data: unknown) => { value: unknown } | { error: Error } {
  return (data) => {
    // The framework passes null for a body that is not there.
    const result = schema.safeParse(data ?? undefined);
    if (result.success) return { value: result.data };
    if (part === 'params') return { error: new CarillonError('not_found', 'There is nothing with this id.') };
    return { error: invalid(result.error) };
  };
}

export function invalid(error: z.core.$ZodError): CarillonError {
  const places: Places = { errors: [], count: 0 };
  note(places, error.issues, []);
  const { errors, count } = places;
  const detail = count > MAX_ERRORS ? `${count} places are not valid; the first ${MAX_ERRORS} are listed.` : 'Some fields are not valid.';
  return new CarillonError('invalid', detail, { errors });
}

/** All are counted, the first ones are kept: a hostile body may have a hundred thousand. */
interface Places {
  readonly errors: FieldError[];
  count: number;
}

/** Zod's issues as pointers. `refine(…, { params: { code } })` names a code of its own. */
function note(places: Places, issues: readonly Issue[], above: readonly PropertyKey[]): void {
  const add = (path: readonly PropertyKey[], code: string, detail: string) => {
    places.count += 1;
    if (places.errors.length < MAX_ERRORS) places.errors.push({ pointer: cut(pointerOf(path)), code, detail });
  };
  for (const issue of issues) {
    const path = [...above, ...issue.path];
    const branch = issue.code === 'invalid_union' ? nearestBranch(issue.errors) : undefined;
    if (branch) note(places, branch, path);
    else if (issue.code === 'unrecognized_keys')
      for (const key of issue.keys) add([...path, key], 'unknown_field', 'There is no such field.');
    else add(path, codeOf(issue), issue.message);
  }
}

/** Below a key of a megabyte each of a hundred pointers would be a megabyte. */
function cut(pointer: string): string {
  return pointer.length <= MAX_POINTER ? pointer : `${pointer.slice(0, MAX_POINTER).toWellFormed()}…`;
}

/** The branch that the caller meant: the one that did not fail at once. None when all did, or when several are as near. */
function nearestBranch(branches: readonly (readonly Issue[])[]): readonly Issue[] | undefined {
  const meant = branches.filter((issues) => !issues.some((issue) => issue.path.length === 0 && issue.code === 'invalid_type'));
  const [first, second] = meant.toSorted((a, b) => a.length - b.length);
  return first && first.length < (second?.length ?? Infinity) ? first : undefined;
}

function codeOf(issue: Issue): string {
  if (issue.code === 'custom' && typeof issue.params?.code === 'string') return issue.params.code;
  return issue.code === 'invalid_type' && issue.message.endsWith('received undefined') ? 'required' : issue.code;
}

/** Twice as fast as zod's own way out and, like it, drops what the schema does not name. */
export function serializer(schema: z.ZodType): (value: unknown) => string {
  const jsonSchema = z.toJSONSchema(schema, {
    io: 'output',
    target: 'draft-7',
    override: ({ jsonSchema: node }) => {
      flattenNullable(node);
    },
  });
  return fastJson(jsonSchema as fastJson.Schema);
}

const SCALARS: ReadonlySet<unknown> = new Set(['string', 'number', 'integer', 'boolean']);

/** `anyOf: [X, null]` asks a validator at run time which one it is; a list of types does not. */
function flattenNullable(node: JsonSchema): void {
  const [first, second] = node.anyOf ?? [];
  if (node.anyOf?.length !== 2 || !isPlain(first) || !isPlain(second) || second.type !== 'null' || !SCALARS.has(first.type)) return;
  delete node.anyOf;
  Object.assign(node, first, { type: [first.type, 'null'] });
}

function isPlain(node: z.core.JSONSchema._JSONSchema | undefined): node is JsonSchema {
  return typeof node === 'object';
}
