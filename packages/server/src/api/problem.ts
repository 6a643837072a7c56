/** Errors as RFC 9457 problems. Every answer that is not a success is made here. */
import { CarillonError, ERRORS, type ErrorCode, type FieldError } from '../domain/error.ts';
import { isUnavailable } from '../store/database.ts';

export interface Problem {
  /** The page that explains it, on this server. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  /** The request's id, which the log has too. */
  readonly instance: string;
  readonly code: ErrorCode;
  readonly hint: string;
  readonly retryable: boolean;
  readonly errors?: readonly FieldError[];
}

export const PROBLEM_TYPE = 'application/problem+json';
const INTERNAL_DETAIL = 'An error that should not happen did. It has been logged.';

const UNAVAILABLE_RETRY_S = 2;
const LOCK_TIMEOUT = '55P03'; // PostgreSQL: somebody else holds a row longer than we wait
const FRAMEWORK_ERRORS: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'bad_request',
  FST_ERR_ROUTE_MISSING_CONTENT_TYPE: 'unsupported_media_type',
  FST_ERR_BAD_URL: 'not_found',
  FST_ERR_MAX_PARAM_LENGTH: 'not_found',
};

export function toProblem(error: CarillonError, instance: string): Problem {
  const { status, title, hint, retryable } = ERRORS[error.code];
  const problem = { type: `/errors/${error.code}`, title, status, detail: error.message, instance, code: error.code, hint, retryable };
  return error.errors.length === 0 ? problem : { ...problem, errors: error.errors };
}

/** What a thrown value means to the caller. Nothing of an unexpected error reaches the answer. */
export function classify(error: unknown): CarillonError {
  if (error instanceof CarillonError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (isUnavailable(error) || code === LOCK_TIMEOUT) {
    return new CarillonError('unavailable', 'The database does not answer at the moment.', {
      retryAfterS: UNAVAILABLE_RETRY_S,
      cause: error,
    });
  }
  const framework = FRAMEWORK_ERRORS[code];
  if (framework) return new CarillonError(framework, ERRORS[framework].title, { cause: error });
  // The caller's connection broke while the body was read: nobody will see this answer, and nothing failed here.
  if (error instanceof Error && 'statusCode' in error && error.statusCode === 400)
    return new CarillonError('bad_request', 'The connection ended before the body was complete.', { cause: error });
  return new CarillonError('internal', INTERNAL_DETAIL, { cause: error });
}
