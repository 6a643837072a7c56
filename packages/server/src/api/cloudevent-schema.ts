/** CloudEvents 1.0 in the JSON format, checked, and as the events that the rest of the program knows. */
import { hash } from 'node:crypto';
import { z } from 'zod';
import { CarillonError } from '../domain/error.ts';
import { attributeOf, CLOUDEVENT_TTL_MS, cloudEventKey, toEventItem } from '../ingest/cloudevents.ts';
import { parseJson } from './body.ts';
import type { EventWire } from './event-schema.ts';

const MAX_BYTES = 1_024;
const MAX_ATTRIBUTES = 100;
const JSON_TYPE = /^(?:application|text)\/(?:[\w.-]+\+)?json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;
const ATTRIBUTE_NAME = /^[a-z0-9]+$/;

const named = z
  .string()
  .min(1)
  .refine((text) => Buffer.byteLength(text) <= MAX_BYTES, { error: `At most ${MAX_BYTES} bytes.`, params: { code: 'too_big' } })
  .refine((text) => !text.includes('\0'), { error: 'NUL is not allowed.', params: { code: 'nul' } });
const extension = z.union(
  [z.string().refine((text) => !text.includes('\0'), { error: 'NUL is not allowed.', params: { code: 'nul' } }), z.int(), z.boolean()],
  {
    error: 'An attribute is text, a whole number or a boolean.',
  },
);

/** As on the wire. `data_base64` is for JSON too: binary data has no place in a notification. */
const CloudEvent = z
  .object({
    specversion: z.literal('1.0', '`1.0` is the version that is understood.'),
    id: named,
    source: named,
    type: named,
    subject: named.optional(),
    time: z.iso.datetime({ offset: true, error: 'An RFC 3339 time, for example 2030-01-31T12:00:00Z.' }).optional(),
    dataschema: named.optional(),
    datacontenttype: z.string().regex(JSON_TYPE, { error: 'Data is JSON in UTF-8.' }).optional(),
    data: z.unknown().optional(),
    data_base64: z.string().optional(),
  })
  .catchall(extension);

/** Beside our own shape, at the same path. */
export const CLOUDEVENT_BODIES = {
  'application/cloudevents+json': CloudEvent,
  'application/cloudevents-batch+json': z.array(CloudEvent).max(1_000),
};

type CloudEventWire = z.output<typeof CloudEvent>;

/** One CloudEvent as an item of `event`, the schema of `POST /v1/events`. Pointers name attributes. */
export function cloudEventSchema(event: z.ZodType<EventWire>): z.ZodType<EventWire> {
  return z
    .preprocess(withoutNulls, CloudEvent)
    .superRefine(checkNames)
    .transform((given, context) => {
      const { data_base64: encoded, ...attributes } = given;
      const data = encoded === undefined ? given.data : decoded(encoded, given, context);
      const wire = event.safeParse(toEventItem(data === undefined ? attributes : { ...attributes, data }));
      if (wire.success) return { ...wire.data, ...ownOf(given) };
      for (const issue of wire.error.issues) {
        const [field, ...rest] = issue.path;
        context.issues.push({
          ...issue,
          path: field === undefined ? [] : [attributeOf(String(field)), ...rest],
          input: given,
        } as z.core.$ZodRawIssue);
      }
      return z.NEVER;
    });
}

/** The JSON format lets an attribute that is not set stand as null. */
function withoutNulls(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([name, one]) => one !== null || name === 'data'));
}

function checkNames(given: CloudEventWire, context: z.RefinementCtx): void {
  const names = Object.keys(given);
  const refuse = (path: string[], code: string, message: string) => {
    context.addIssue({ code: 'custom', path, message, params: { code } });
  };
  if (names.length > MAX_ATTRIBUTES) refuse([], 'too_big', `At most ${MAX_ATTRIBUTES} attributes.`);
  for (const name of names)
    if (name !== 'data_base64' && !ATTRIBUTE_NAME.test(name)) refuse([name], 'invalid_name', 'Lower-case letters and digits.');
  if (given.data !== undefined && given.data_base64 !== undefined) refuse(['data_base64'], 'conflict', 'Either `data` or `data_base64`.');
}

/** Undefined when it was refused. */
function decoded(encoded: string, input: unknown, context: { issues: z.core.$ZodRawIssue[] }): unknown {
  const refuse = (code: string, message: string): undefined => {
    context.issues.push({ code: 'custom', input, path: ['data_base64'], message, params: { code } });
  };
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64').replace(/=+$/, '') !== encoded.replace(/=+$/, '')) {
    refuse('invalid_format', 'Not base64.');
    return;
  }
  try {
    return parseJson(bytes);
  } catch (error) {
    if (!(error instanceof CarillonError)) throw error;
    const [first] = error.errors;
    refuse(first?.code ?? error.code, first?.detail ?? error.message);
    return;
  }
}

/** What events of other origins don't have: their key, and where they come from. */
function ownOf(given: CloudEventWire): Pick<EventWire, 'key' | 'traceparent'> {
  const text = cloudEventKey(given, (long) => `sha256:${hash('sha256', long)}`);
  const key = { route: 'cloudevent', key: text, hash: NOT_COMPARED, ttlMs: CLOUDEVENT_TTL_MS };
  return { key, ...(typeof given.traceparent === 'string' && { traceparent: given.traceparent }) };
}

/** The producer's word that it is the same event is enough. */
const NOT_COMPARED = Buffer.alloc(0);
