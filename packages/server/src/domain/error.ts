/**
 * The closed list of errors that the API answers: RFC 9457 problems. The page at each `type` address, docs/reference/errors.md
 * and every answer are made from here.
 */
export interface ErrorKind {
  readonly status: number;
  /** One sentence, the same in every answer. */
  readonly title: string;
  /** What makes it happen. */
  readonly cause: string;
  /** What to do about it. */
  readonly hint: string;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  readonly example: ErrorExample;
}

interface ErrorExample {
  /** What was sent, as far as it matters. */
  readonly request: string;
  /** What the answer says of it, beside what the list says. */
  readonly detail: string;
  readonly errors?: readonly FieldError[];
}

export const ERRORS = {
  bad_request: {
    status: 400,
    title: 'This is not a valid HTTP request',
    cause:
      'The bytes are not HTTP/1.1: a broken request line, header or chunk, both `Content-Length` and `Transfer-Encoding`, no `Host`, or a connection that ended before the body was complete. Nothing was read of the request, and the connection is closed.',
    hint: 'Send HTTP/1.1 as RFC 9112 has it; an HTTP library does.',
    retryable: false,
    example: { request: 'GET /v1/events HTTP/1.1\n(without a Host)', detail: 'The header Host is missing.' },
  },
  malformed_json: {
    status: 400,
    title: 'The body is not valid JSON',
    cause: 'The body is not one JSON document in UTF-8, or does not inflate as its `Content-Encoding` says.',
    hint: 'Check quotes, commas and the encoding (UTF-8).',
    retryable: false,
    example: { request: 'POST /v1/events\n\n{"type":', detail: 'The body is not valid JSON.' },
  },
  unauthorized: {
    status: 401,
    title: 'No valid credentials',
    cause:
      'The credentials are missing, malformed, unknown, revoked or expired, or stand in the address. The answer is the same for all of these.',
    hint: 'Send `Authorization: Bearer <key>`.',
    retryable: false,
    example: { request: 'GET /v1/events\n(without Authorization)', detail: 'The credentials are missing or not valid.' },
  },
  scope_missing: {
    status: 403,
    title: 'This key may not do that',
    cause: 'The key is valid and lacks the scope that the route asks for.',
    hint: 'Use a key with the scope that `detail` names.',
    retryable: false,
    example: { request: 'POST /v1/api-keys\n(with a key for events:read)', detail: 'This needs the scope `keys:write`.' },
  },
  forbidden: {
    status: 403,
    title: 'This user may not do that',
    cause: 'The token is valid, and its user is no owner or admin of the account, or is not active.',
    hint: 'Ask an owner or admin of the account.',
    retryable: false,
    example: {
      request: 'GET /v1/destinations\n(with the token of a member)',
      detail: 'Only an owner or admin of the account may do that.',
    },
  },
  not_found: {
    status: 404,
    title: 'Not found',
    cause: "There is nothing at this path or with this id. A malformed id, an unknown one and another tenant's are answered alike.",
    hint: 'Check the id and that the key belongs to the right tenant.',
    retryable: false,
    example: { request: 'GET /v1/events/evt_unknown', detail: 'There is nothing with this id.' },
  },
  method_not_allowed: {
    status: 405,
    title: 'This path has no such method',
    cause: 'The path exists, with other methods.',
    hint: 'The header `Allow` lists the methods.',
    retryable: false,
    example: { request: 'DELETE /v1/events', detail: 'This path has: GET, POST.' },
  },
  request_timeout: {
    status: 408,
    title: 'The request did not arrive in time',
    cause: 'Headers and body took longer than the server waits for a request. What had arrived was thrown away.',
    hint: 'Send the whole request without pauses; send less at once on a slow line.',
    retryable: true,
    example: { request: 'POST /v1/events\nContent-Length: 200\n\n(20 bytes, then nothing)', detail: 'The request did not arrive in time.' },
  },
  idempotency_busy: {
    status: 409,
    title: 'A request with this key is still running',
    cause: 'The first request with this `Idempotency-Key` has not ended within 5 seconds.',
    hint: 'Repeat it a little later, with the same key and body.',
    retryable: true,
    example: {
      request: 'POST /v1/events\nIdempotency-Key: order-17\n(twice at once)',
      detail: 'The first request with this key has not ended yet.',
    },
  },
  conflict: {
    status: 409,
    title: 'The current state does not allow that',
    cause: 'What the request wants is not possible any more, or not yet, in the state that the resource has.',
    hint: 'Read the resource again.',
    retryable: false,
    example: {
      request: 'POST /v1/deliveries/dlv_…/retry\n(of one that was delivered)',
      detail: 'Only what has failed, still has its address and has not expired can be tried again; this is delivered.',
    },
  },
  body_too_large: {
    status: 413,
    title: 'The body is too large',
    cause: 'The body, inflated if it was compressed, is over the limit of its route. It was not read to its end.',
    hint: 'The limit is 1 MiB, 5 MiB for a batch.',
    retryable: false,
    example: { request: 'POST /v1/events\nContent-Length: 2000000', detail: 'The body is too large' },
  },
  uri_too_long: {
    status: 414,
    title: 'The address is too long',
    cause: 'Path and query together are over 8 KiB.',
    hint: 'Shorten the query: ask for fewer tags at once.',
    retryable: false,
    example: { request: 'GET /v1/events?tag=…\n(10,000 characters)', detail: 'Path and query may have 8192 bytes.' },
  },
  unsupported_media_type: {
    status: 415,
    title: 'The body must be JSON',
    cause:
      'The `Content-Type` is missing or not JSON in UTF-8, or the `Content-Encoding` is not one that is understood: gzip, deflate, br.',
    hint: 'Send `Content-Type: application/json`.',
    retryable: false,
    example: { request: 'POST /v1/events\nContent-Type: text/plain', detail: 'The body must be JSON' },
  },
  expectation_failed: {
    status: 417,
    title: 'This expectation cannot be met',
    cause: 'The header `Expect` holds something else than `100-continue`.',
    hint: 'Leave the header `Expect` out.',
    retryable: false,
    example: { request: 'POST /v1/events\nExpect: a-miracle', detail: '`Expect` may only be 100-continue.' },
  },
  invalid: {
    status: 422,
    title: 'The request is not valid',
    cause: 'Fields of the body, the query or a header are unknown, missing, of the wrong type or out of range.',
    hint: '`errors` names each place.',
    retryable: false,
    example: {
      request: 'POST /v1/events\n\n{"type":"disk.full","to":["ada"],"severty":"high"}',
      detail: 'Some fields are not valid.',
      errors: [{ pointer: '/severty', code: 'unknown_field', detail: 'There is no such field.' }],
    },
  },
  recipients_missing: {
    status: 422,
    title: 'Nobody to tell',
    cause: 'The event names no recipient, and nothing else says who is to be told.',
    hint: 'Name recipients in `to`.',
    retryable: false,
    example: {
      request: 'POST /v1/events\n\n{"type":"disk.full"}',
      detail: 'Nobody would be told.',
      errors: [{ pointer: '/to', code: 'required', detail: 'At least one recipient.' }],
    },
  },
  event_type_unknown: {
    status: 422,
    title: 'There is no such event type',
    cause:
      'The tenant refuses events whose type its catalog does not have (`unknown_type: refuse`), and this one is not there, or was retired.',
    hint: 'Check the spelling, or push the type first. GET /v1/event-types lists them.',
    retryable: false,
    example: {
      request: 'POST /v1/events\n\n{"type":"order.shiped","to":["ada"]}',
      detail: 'The catalog has no type order.shiped.',
      errors: [{ pointer: '/type', code: 'unknown_type', detail: 'The catalog has no type order.shiped.' }],
    },
  },
  schedule_invalid: {
    status: 422,
    title: 'The schedule is not possible',
    cause: '`scheduled_for` or `expires_at` has passed, lies too far ahead, or the expiry comes before the schedule.',
    hint: 'A schedule lies in the future, at most 25 days ahead, and before its expiry.',
    retryable: false,
    example: {
      request: 'POST /v1/events\n\n{"type":"disk.full","to":["ada"],"scheduled_for":"2020-01-01T00:00:00Z"}',
      detail: 'It must lie in the future.',
      errors: [{ pointer: '/scheduled_for', code: 'schedule_invalid', detail: 'It must lie in the future.' }],
    },
  },
  idempotency_mismatch: {
    status: 422,
    title: 'This key was used for another body',
    cause: 'An earlier request, or item, had the same key and another body. Keys are compared by the bytes of the body.',
    hint: 'Use a new key for a new request.',
    retryable: false,
    example: {
      request: 'POST /v1/events\nIdempotency-Key: order-17\n(used before, for another body)',
      detail: 'The first request with this key had another body.',
    },
  },
  rate_limited: {
    status: 429,
    title: 'Too many requests',
    cause: 'The limit of this key, or of all keys of its tenant together, is used up in the current window.',
    hint: 'Repeat after `Retry-After`; `RateLimit` in every answer says what is left. Batches count as one request.',
    retryable: true,
    example: { request: 'any', detail: 'This key may send 600 requests in 60 s.' },
  },
  header_too_large: {
    status: 431,
    title: 'The header fields are too large',
    cause: 'The request line and the header fields together are over 16 KiB, or there are more than 100 fields.',
    hint: 'Send fewer and shorter header fields; look for a cookie or a token that has grown.',
    retryable: false,
    example: { request: 'GET /v1/events\nCookie: …\n(20,000 characters)', detail: 'The header fields are too large.' },
  },
  internal: {
    status: 500,
    title: 'Something failed here',
    cause: 'A defect of the server. Nothing of the request was kept.',
    hint: 'The log has the details under `instance`.',
    retryable: true,
    example: { request: 'any', detail: 'An error that should not happen did. It has been logged.' },
  },
  unavailable: {
    status: 503,
    title: 'Not available at the moment',
    cause:
      'The database is away or does not answer in time, more requests are waiting than can be served in time, or the process is stopping.',
    hint: 'Repeat after `Retry-After` with the same Idempotency-Key; nothing is done twice.',
    retryable: true,
    example: { request: 'any', detail: 'The database does not answer at the moment.' },
  },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

export interface FieldError {
  /** RFC 6901, for example `/to/0/email`. */
  readonly pointer: string;
  readonly code: string;
  readonly detail: string;
}

/** An answer of the API that is not a success. Thrown by handlers and the functions below them; never for a provider's answer. */
export class CarillonError extends Error {
  readonly code: ErrorCode;
  readonly errors: readonly FieldError[];
  /** Seconds, for `Retry-After`. */
  readonly retryAfterS: number | undefined;

  constructor(
    code: ErrorCode,
    detail: string,
    { errors = [], retryAfterS, cause }: { errors?: readonly FieldError[]; retryAfterS?: number; cause?: unknown } = {},
  ) {
    super(detail, { cause });
    this.code = code;
    this.errors = errors;
    this.retryAfterS = retryAfterS;
  }
}
