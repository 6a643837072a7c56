/** The pages that explain errors, for browsers. Pure: made from the catalogue that the answers are made from. */
import { CarillonError, ERRORS, type ErrorCode, type ErrorKind } from '../domain/error.ts';
import { html, type Markup } from '../lib/html.ts';
import { toProblem } from './problem.ts';

export const ERROR_CODES = Object.keys(ERRORS) as ErrorCode[];
/** The id of a request that never was. */
const EXAMPLE_INSTANCE = 'c3f1a0de-5f0c-4c55-9d0a-2d7f3a6b8e41';

export interface WorkedExample {
  readonly request: string;
  /** The answer's body. */
  readonly answer: string;
}

/** What is sent, and what is answered to it. */
export function exampleOf(code: ErrorCode): WorkedExample {
  const { example }: ErrorKind = ERRORS[code];
  const error = new CarillonError(code, example.detail, { errors: example.errors ?? [] });
  return { request: example.request, answer: JSON.stringify(toProblem(error, EXAMPLE_INSTANCE), null, 2) };
}

export function adviceOf(code: ErrorCode): string {
  return ERRORS[code].retryable ? 'The same request may succeed later.' : 'The same request will fail again.';
}

export function errorIndex(): string {
  const items = ERROR_CODES.map(
    (code) => html`<li><a href="/errors/${code}">${code}</a> (${ERRORS[code].status}): ${ERRORS[code].title}</li>`,
  );
  return page('Errors', html`<ul>${items}</ul>`);
}

export function errorPage(code: ErrorCode): string {
  const { status, title, cause, hint } = ERRORS[code];
  const { request, answer } = exampleOf(code);
  return page(
    title,
    html`<p><code>${code}</code>, HTTP status ${status}</p>
<h2>Cause</h2><p>${cause}</p>
<h2>What to do</h2><p>${hint}</p><p>${adviceOf(code)}</p>
<h2>Example</h2><pre>${request}</pre><pre>${answer}</pre>
<p><a href="/errors">All errors</a></p>`,
  );
}

function page(title: string, body: Markup): string {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${title}</title></head><body><h1>${title}</h1>${body}</body></html>
`.markup;
}
