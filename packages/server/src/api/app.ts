/** The HTTP front: what is the same for all routes. The routes themselves are given by main. */
import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { fastify, type FastifyReply, type FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { CarillonError, ERRORS } from '../domain/error.ts';
import type { Auth } from './auth.ts';
import { parseJson } from './body.ts';
import { classify, PROBLEM_TYPE, toProblem } from './problem.ts';
import { decorateRequests, type App, type RequestFacts, type ZodTypeProvider } from './request.ts';
import { collectRoutes, noSuchRoute } from './routing.ts';
import { serializer, validator } from './validation.ts';

export type { App } from './request.ts';

export interface RequestSeen {
  readonly method: string;
  /** The pattern, never the concrete path. */
  readonly route: string;
  readonly status: number;
  readonly seconds: number;
}

export interface AppDeps {
  readonly auth: Auth;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  readonly observe: (seen: RequestSeen) => void;
  /** Whether the lines of successful requests are read at all: they are not even made otherwise. */
  readonly logsSuccess: boolean;
}

const BODY_LIMIT = 1024 * 1024;
/** How long one request may take to arrive, so that slow senders don't hold connections. */
const ARRIVAL_TIMEOUT_MS = 30_000;
/** A user id of 256 bytes, each percent-encoded. */
const MAX_PARAM_LENGTH = 768;
const SANE_REQUEST_ID = /^[\w.:-]{8,128}$/;
const NO_ROUTE = '(none)';

/** `register` adds the routes and whatever else needs the instance. Rejects nothing: a bad registration throws. */
export function buildApp(deps: AppDeps, register: (app: App) => void): App {
  const app: App = fastify({
    bodyLimit: BODY_LIMIT,
    exposeHeadRoutes: false, // a HEAD on a stream would never end; a route that wants it says so
    return503OnClosing: false, // main drains: what still arrives is served and told to close its connection
    forceCloseConnections: 'idle',
    requestTimeout: ARRIVAL_TIMEOUT_MS,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    genReqId: ({ headers }) => requestId(headers['x-request-id']),
    frameworkErrors: sendProblem,
    clientErrorHandler: answerBrokenRequest,
  }).withTypeProvider<ZodTypeProvider>();

  decorateRequests(app);
  app.setValidatorCompiler<z.ZodType>(({ schema, httpPart }) => validator(schema, httpPart));
  app.setSerializerCompiler<z.ZodType>(({ schema }) => serializer(schema));
  app.setErrorHandler(sendProblem);
  acceptJson(app);
  const routes = collectRoutes(app, deps.auth);
  app.addHook('onRequest', (request, reply, done) => {
    request.facts = { route: NO_ROUTE };
    reply.header('x-request-id', request.id).header('x-content-type-options', 'nosniff');
    done(request.is404 ? noSuchRoute(routes, request, reply) : refusedAddress(request.url));
  });
  app.addHook('onResponse', (request, reply, done) => {
    report(deps, request, reply);
    done();
  });
  register(app);
  return app;
}

/** PostgreSQL has no NUL in a text, so nothing can be found or filtered by one. */
function refusedAddress(url: string): CarillonError | undefined {
  if (!url.includes('%00')) return undefined;
  const inPath = url.indexOf('%00') < url.indexOf('?') || !url.includes('?');
  if (inPath) return new CarillonError('not_found', 'There is nothing at this path.');
  return new CarillonError('invalid', 'The query holds a NUL.', { errors: [{ pointer: '', code: 'nul', detail: 'NUL is not allowed.' }] });
}

function requestId(given: string | string[] | undefined): string {
  return typeof given === 'string' && SANE_REQUEST_ID.test(given) ? given : randomUUID();
}

/** JSON and nothing else. Compressed bodies are not taken: inflated they could be of any size. */
function acceptJson(app: App): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, bytes, done) => {
    try {
      if ((request.headers['content-encoding'] ?? 'identity') !== 'identity')
        throw new CarillonError('unsupported_media_type', 'Compressed bodies are not accepted.');
      request.facts.raw = bytes;
      done(null, parseJson(bytes));
    } catch (error) {
      done(error as Error);
    }
  });
}

function sendProblem(thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const error = classify(thrown);
  const { status } = ERRORS[error.code];
  // Null on addresses that the router could not read: no hook has seen them.
  const facts = (request.facts as RequestFacts | null) ?? (request.facts = { route: NO_ROUTE });
  facts.code = error.code;
  if (error.code === 'internal') facts.error = thrown;
  else if (status >= 500) facts.error = error.cause ?? error;
  if (error.retryAfterS !== undefined) reply.header('retry-after', error.retryAfterS);
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  void reply
    .code(status)
    .type(PROBLEM_TYPE)
    .send(JSON.stringify(toProblem(error, request.id)));
}

/** One wide event per request. The address is not in it: it may hold user ids, or a key where none belongs. */
function report({ log, observe, logsSuccess }: AppDeps, request: FastifyRequest, reply: FastifyReply): void {
  const { facts, method, id } = request;
  const { route, caller, user, code, error } = facts;
  const status = reply.statusCode;
  observe({ method, route, status, seconds: reply.elapsedTime / 1_000 });
  if (status < 400 && !logsSuccess) return;
  const known = {
    requestId: id,
    method,
    route,
    status,
    durationMs: Math.round(reply.elapsedTime * 10) / 10,
    tenantId: caller?.tenantId ?? user?.tenantId,
    keyId: caller?.keyId,
  };
  log('http.request', code === undefined ? known : { ...known, code, ...(error !== undefined && { error }) });
}

const BROKEN: Readonly<Record<string, readonly [status: number, detail: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'The header fields are too large.'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'The chunk extensions are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'The request did not arrive in time.'],
};

/** Bytes that are not HTTP: there is no request yet, so the answer is written by hand and the connection ends. */
function answerBrokenRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy(error);
    return;
  }
  const [status, detail] = BROKEN[error.code ?? ''] ?? [400, 'This is not a valid HTTP request.'];
  const title = STATUS_CODES[status] ?? '';
  const body = JSON.stringify({
    type: 'about:blank',
    title,
    status,
    detail,
    instance: randomUUID(),
    code: title.toLowerCase().replaceAll(' ', '_'),
    hint: 'Send HTTP/1.1 as RFC 9112 has it.',
    retryable: status === 408,
  });
  socket.end(
    `HTTP/1.1 ${status} ${title}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
