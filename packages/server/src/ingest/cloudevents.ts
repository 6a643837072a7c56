/** CloudEvents 1.0 as the events of this program. Pure: attributes in, an item as `POST /v1/events` takes it out. */

/** Context attributes and extensions by name, as in the JSON format. */
export type Attributes = Readonly<Record<string, unknown>>;

/** A producer's repeat within this time is the same event. */
export const CLOUDEVENT_TTL_MS = 7 * 86_400_000;
/** Longer keys would not fit in the index. */
const MAX_KEY = 512;

type Reading = (value: unknown) => unknown;
const asIs: Reading = (value) => value;

/** Extensions that stand for a field of ours; the other ones are kept and mean nothing. */
const FIELDS: Readonly<Record<string, readonly [field: string, reading: Reading]>> = {
  type: ['type', asIs],
  data: ['data', asIs],
  to: ['to', readList],
  channels: ['channels', readList],
  tags: ['tags', readList],
  severity: ['severity', asIs],
  actionurl: ['action_url', asIs],
  critical: ['critical', readFlag],
  maxretries: ['max_retries', readWhole],
  correlationid: ['correlation_id', asIs],
  scheduledfor: ['scheduled_for', asIs],
  expirytime: ['expires_at', asIs],
};
const ATTRIBUTES = new Map(Object.entries(FIELDS).map(([attribute, [field]]) => [field, attribute]));

/** Unchecked: what stands in it is for the schema of events to say. All that the producer said of the event is kept in `metadata`. */
export function toEventItem(attributes: Attributes): Record<string, unknown> {
  const item: Record<string, unknown> = {};
  const kept: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(attributes)) {
    const [field, reading = asIs] = (Object.hasOwn(FIELDS, name) ? FIELDS[name] : undefined) ?? [];
    if (field !== undefined) item[field] = reading(value);
    if (name !== 'data') kept[name] = value;
  }
  return { ...item, metadata: { cloudevent: kept } };
}

/** Which attribute a field was made from, so that errors name what the producer wrote. */
export function attributeOf(field: string): string {
  return ATTRIBUTES.get(field) ?? field;
}

/** `source` and `id` together name an event. */
export function cloudEventKey({ source, id }: { readonly source: string; readonly id: string }, digest: (text: string) => string): string {
  const key = JSON.stringify([source, id]);
  return key.length <= MAX_KEY ? key : digest(key);
}

/** `a,b`, or JSON where a name holds a comma or an item is more than a name. */
function readList(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  if (value.trimStart().startsWith('[')) return parsed(value);
  return value
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Headers are text only. */
function readFlag(value: unknown): unknown {
  return value === 'true' ? true : value === 'false' ? false : value;
}

function readWhole(value: unknown): unknown {
  return typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value;
}

const PREFIX = 'ce-';

/** Binary mode: attributes from the headers; the body is the data, and its type a header like any other request's. */
export function attributesOfHeaders(headers: Readonly<Record<string, string | readonly string[] | undefined>>, data: unknown): Attributes {
  const attributes: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(headers))
    if (name.startsWith(PREFIX) && typeof value === 'string') attributes[name.slice(PREFIX.length)] = decodeHeader(value);
  if (headers['content-type'] !== undefined) attributes.datacontenttype = headers['content-type'];
  if (data !== undefined) attributes.data = data;
  return attributes;
}

/** Some clients encode what is not ASCII, as the binding says, and some send it as it is. */
function decodeHeader(value: string): string {
  const text = /^".*"$/.test(value) ? value.slice(1, -1).replace(/\\(.)/g, '$1') : value;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export type Mode = 'binary' | 'structured' | 'batch';

/** Undefined for nearly all requests. */
export function modeOf(headers: Readonly<Record<string, string | readonly string[] | undefined>>): Mode | undefined {
  const { 'content-type': type } = headers;
  if (typeof type === 'string' && /^application\/cloudevents/i.test(type))
    return /^application\/cloudevents-batch/i.test(type) ? 'batch' : 'structured';
  return headers['ce-specversion'] === undefined ? undefined : 'binary';
}
