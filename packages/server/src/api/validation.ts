/** Zod at the door: what does not fit becomes one problem that names every place. */
import fastJson from 'fast-json-stringify';
import { z } from 'zod';
import { CarillonError, type FieldError } from '../domain/error.ts';
import { pointerOf } from './body.ts';

type Issue = z.core.$ZodIssue;
type JsonSchema = z.core.JSONSchema.BaseSchema;

/** More would only make a hostile body's answer long. */
const MAX_ERRORS = 100;

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
  const errors = fieldErrors(error.issues);
  const more = errors.length - MAX_ERRORS;
  const detail = more > 0 ? `${errors.length} places are not valid; the first ${MAX_ERRORS} are listed.` : 'Some fields are not valid.';
  return new CarillonError('invalid', detail, { errors: errors.slice(0, MAX_ERRORS) });
}

/** Zod's issues as pointers. `refine(…, { params: { code } })` names a code of its own. */
function fieldErrors(issues: readonly Issue[], above: readonly PropertyKey[] = []): FieldError[] {
  return issues.flatMap((issue): FieldError[] => {
    const path = [...above, ...issue.path];
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => ({ pointer: pointerOf([...path, key]), code: 'unknown_field', detail: 'There is no such field.' }));
    if (issue.code === 'invalid_union') {
      const branch = nearestBranch(issue.errors);
      if (branch) return fieldErrors(branch, path);
    }
    return [{ pointer: pointerOf(path), code: codeOf(issue), detail: issue.message }];
  });
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
