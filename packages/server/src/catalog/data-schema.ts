/** The data of an event against its type's JSON Schema (2020-12). Compiled once per version. */
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import type { FieldError } from '../domain/error.ts';

type Data = Readonly<Record<string, unknown>>;

export interface Checked {
  /** A copy, with defaults where nothing was given. */
  readonly data: Data;
  /** Pointers below the data. */
  readonly errors: readonly FieldError[];
}

export type CheckData = (data: Data) => Checked;

const MAX_BYTES = 64 * 1024;
const MAX_DEPTH = 32;
const MAX_ERRORS = 20;
const MAX_PATTERN = 256;
/** A pattern is tried on texts up to here; a longer one does not match. */
const MAX_MATCHED = 4_096;

/** Throws with what to do for a schema that is not one, or is too large. */
export function compileSchema(schema: Record<string, unknown> | undefined): CheckData {
  if (schema === undefined) return (data) => ({ data, errors: [] });
  const text = JSON.stringify(schema);
  if (text.length > MAX_BYTES) throw new Error('is longer than 64 KiB: make it shorter');
  if (depthOf(schema) > MAX_DEPTH) throw new Error(`is nested deeper than ${MAX_DEPTH} levels: use $defs`);
  const ajv = new Ajv2020({ allErrors: true, useDefaults: true, strict: false, validateSchema: true, code: { regExp: boundedPattern } });
  addFormats.default(ajv);
  const validate = ajv.compile(schema);
  return (data) => {
    const copy = structuredClone(data) as Record<string, unknown>;
    return validate(copy) ? { data: copy, errors: [] } : { data: copy, errors: errorsOf(validate.errors ?? []) };
  };
}

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

function errorsOf(errors: readonly ErrorObject[]): FieldError[] {
  return errors.slice(0, MAX_ERRORS).map(({ instancePath, keyword, params, message }) => {
    const missing = keyword === 'required' ? `/${escapePointer(String(params['missingProperty']))}` : '';
    return { pointer: `${instancePath}${missing}`, code: keyword, detail: `${message ?? 'does not fit'}.` };
  });
}

function escapePointer(part: string): string {
  return part.replaceAll('~', '~0').replaceAll('/', '~1');
}

function boundedPattern(source: string, flags: string) {
  if (source.length > MAX_PATTERN) throw new Error(`has a pattern of more than ${MAX_PATTERN} characters: make it shorter`);
  const pattern = new RegExp(source, flags);
  return {
    test: (text: string) => text.length <= MAX_MATCHED && pattern.test(text),
    toString: () => String(pattern), // what the validator tells patterns apart by
  };
}
boundedPattern.code = 'new RegExp';
