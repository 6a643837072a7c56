/** What the reference says of an operation, and a call that a test makes. */

export interface Example {
  /** One line, for people who look for it. */
  readonly summary: string;
  /** Values for the path's parameters. */
  readonly path?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Where the route does not say it. */
  readonly credential?: 'TOKEN';
  /** JSON; a text is sent as it is. */
  readonly body?: unknown;
}

/** By method and pattern: `GET /v1/events/:id`. */
export type Examples = Readonly<Record<string, Example>>;

// Ids that stand in examples. The test puts those in their place that it has made.
export const EVENT = 'evt_01kakx2v5sfqr8wjz7m3c9h4td';
/** Of the event that `POST /v1/notifications` made. */
export const TOLD = 'evt_01kakx2v5sfqr8wjz7m3c9h4tc';
export const NOTIFICATION = 'ntf_01kakx2v5sfqr8wjz7m3c9h4te';
export const DELIVERY = 'dlv_01kakx2v5sfqr8wjz7m3c9h4tf';
/** By mail. */
export const MAILED = 'dlv_01kakx2v5sfqr8wjz7m3c9h4th';
export const DESTINATION = 'dst_01kakx2v5sfqr8wjz7m3c9h4tj';
export const RECURRING = 'rec_01kakx2v5sfqr8wjz7m3c9h4tk';
export const KEY = 'key_01kakx2v5sfqr8wjz7m3c9h4tg';

/** The call as people type it. `$CARILLON` is where the server listens, `$KEY` an API key, `$TOKEN` a user's token. */
export function curlOf(
  method: string,
  pattern: string,
  { example, credential }: { example: Example; credential: 'KEY' | 'TOKEN' | null },
): string {
  const body = bodyOf(example);
  const sender = example.credential ?? credential;
  const parts = [
    'curl -s',
    method === (body === undefined ? 'GET' : 'POST') ? undefined : `-X ${method}`,
    `"$CARILLON${addressOf(pattern, example)}"`,
    sender && `-H "Authorization: Bearer $${sender}"`,
    ...headersOf(example).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`),
    body === undefined ? undefined : `-d ${quoted(body)}`,
  ];
  return parts.filter((part) => part).join(' ');
}

function addressOf(pattern: string, { path, query }: Example): string {
  const concrete = pattern.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(path?.[name] ?? name));
  return query ? `${concrete}?${new URLSearchParams(query).toString()}` : concrete;
}

function bodyOf({ body }: Example): string | undefined {
  return body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
}

function headersOf({ body, headers }: Example): [string, string][] {
  return Object.entries({ ...(body !== undefined && { 'Content-Type': 'application/json' }), ...headers });
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
