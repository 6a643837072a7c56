/** Requests that no route ever sees: bytes that are not HTTP, and HTTP that nobody should send. */
import { randomUUID } from 'node:crypto';
import { STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyRequest } from 'fastify';
import { CarillonError, ERRORS, type ErrorCode } from '../domain/error.ts';
import { PROBLEM_TYPE, toProblem } from './problem.ts';

const MAX_ADDRESS = 8 * 1024;
/** Names and values alternate in `rawHeaders`. */
const MAX_RAW_HEADERS = 2 * 100;
/** How long what still arrives is read and thrown away: closed at once, the kernel would reset the connection, and our answer with it. */
const LINGER_MS = 1_000;

/** What is refused before anything reads it; undefined for all that is well. */
export function refusedRequest({ url, raw: { rawHeaders, httpVersion }, headers: { host } }: FastifyRequest): CarillonError | undefined {
  if (rawHeaders.length > MAX_RAW_HEADERS) return new CarillonError('header_too_large', `More than ${MAX_RAW_HEADERS / 2} header fields.`);
  if (host === undefined && httpVersion === '1.1') return new CarillonError('bad_request', 'The header Host is missing.');
  if (url.length > MAX_ADDRESS) return new CarillonError('uri_too_long', `Path and query may have ${MAX_ADDRESS} bytes.`);
  return url.includes('%00') ? refusedNul(url) : undefined;
}

/** PostgreSQL has no NUL in a text, so nothing can be found or filtered by one. */
function refusedNul(url: string): CarillonError {
  const inPath = url.indexOf('%00') < url.indexOf('?') || !url.includes('?');
  if (inPath) return new CarillonError('not_found', 'There is nothing at this path.');
  return new CarillonError('invalid', 'The query holds a NUL.', { errors: [{ pointer: '', code: 'nul', detail: 'NUL is not allowed.' }] });
}

/** What Node answers by itself, and without a problem, is answered here. */
export function answerOddRequests(server: Server): void {
  server.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) => {
    const { status, body } = problemFor('expectation_failed', '`Expect` may only be 100-continue.');
    response.writeHead(status, { 'content-type': PROBLEM_TYPE, 'content-length': Buffer.byteLength(body), connection: 'close' }).end(body);
  });
  server.on('connect', (_request, socket: Socket) => {
    answer(socket, 'bad_request', 'This is no proxy: CONNECT is not served.');
  });
}

const BROKEN: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  HPE_HEADER_OVERFLOW: ['header_too_large', 'The header fields are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['request_timeout', 'The request did not arrive in time.'],
};

interface ParserError extends Error {
  readonly code?: string;
  /** The parser's own words; nothing of the request is in them. */
  readonly reason?: string;
}

/** There may be no request yet: the answer is written by hand, and the connection ends. */
export function answerBrokenRequest(error: ParserError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) {
    socket.destroy(error);
    return;
  }
  if (!socket.writable) return; // answered already; closing has begun
  // The answer that Node is about to write on this connection, if there is one.
  const { _httpMessage: response } = socket as Socket & { _httpMessage?: ServerResponse };
  if (response?.headersSent) closeGently(socket);
  else if (response?.req.complete)
    response.shouldKeepAlive = false; // a good request came before: it is answered, and nothing more
  else answer(socket, ...meaningOf(error));
}

function meaningOf({ code = '', reason = 'unknown reason' }: ParserError): readonly [ErrorCode, string] {
  return BROKEN[code] ?? ['bad_request', `It can't be read: ${reason}.`];
}

function answer(socket: Socket, code: ErrorCode, detail: string): void {
  const { status, body } = problemFor(code, detail);
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close`;
  socket.write(`${head}\r\n\r\n${body}`);
  closeGently(socket);
}

function problemFor(code: ErrorCode, detail: string): { status: number; body: string } {
  return { status: ERRORS[code].status, body: JSON.stringify(toProblem(new CarillonError(code, detail), randomUUID())) };
}

/** For an answer that goes out while the request still comes in: when Node closes the connection after it, this is how. */
export function lingerAfterAnswer({ socket }: IncomingMessage): void {
  socket.destroySoon = () => {
    closeGently(socket);
  };
}

function closeGently(socket: Socket): void {
  socket.end();
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once('close', () => {
    clearTimeout(timer);
  });
}
