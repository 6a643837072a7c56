/**
 * The closed list of errors that the API answers: RFC 9457 problems. The page at each `type` address is generated from here.
 */
interface ErrorKind {
  readonly status: number;
  readonly title: string;
  readonly hint: string;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
}

export const ERRORS = {
  malformed_json: {
    status: 400,
    title: 'The body is not valid JSON',
    hint: 'Check quotes, commas and the encoding (UTF-8).',
    retryable: false,
  },
  unauthorized: { status: 401, title: 'No valid credentials', hint: 'Send `Authorization: Bearer <key>`.', retryable: false },
  scope_missing: {
    status: 403,
    title: 'This key may not do that',
    hint: 'Use a key with the scope that `detail` names.',
    retryable: false,
  },
  not_found: { status: 404, title: 'Not found', hint: 'Check the id and that the key belongs to the right tenant.', retryable: false },
  method_not_allowed: {
    status: 405,
    title: 'This path has no such method',
    hint: 'The header `Allow` lists the methods.',
    retryable: false,
  },
  idempotency_busy: {
    status: 409,
    title: 'A request with this key is still running',
    hint: 'Repeat it a little later, with the same key and body.',
    retryable: true,
  },
  conflict: { status: 409, title: 'The current state does not allow that', hint: 'Read the resource again.', retryable: false },
  body_too_large: { status: 413, title: 'The body is too large', hint: 'The limit is 1 MiB, 5 MiB for a batch.', retryable: false },
  unsupported_media_type: { status: 415, title: 'The body must be JSON', hint: 'Send `Content-Type: application/json`.', retryable: false },
  invalid: { status: 422, title: 'The request is not valid', hint: '`errors` names each place.', retryable: false },
  recipients_missing: { status: 422, title: 'Nobody to tell', hint: 'Name recipients in `to`.', retryable: false },
  schedule_invalid: {
    status: 422,
    title: 'The schedule is not possible',
    hint: 'A schedule lies in the future, at most 25 days ahead, and before its expiry.',
    retryable: false,
  },
  idempotency_mismatch: {
    status: 422,
    title: 'This key was used for another body',
    hint: 'Use a new key for a new request.',
    retryable: false,
  },
  internal: { status: 500, title: 'Something failed here', hint: 'The log has the details under `instance`.', retryable: true },
  unavailable: {
    status: 503,
    title: 'Not available at the moment',
    hint: 'Repeat with the same Idempotency-Key; nothing is done twice.',
    retryable: true,
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
