/** The HTTP front: what is the same for all routes. The routes themselves are given by main. */
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import { fastify, type FastifyReply, type FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { CarillonError, ERRORS } from '../domain/error.ts';
import type { Auth } from './auth.ts';
import { parseJson } from './body.ts';
import { makeBodyBudget, type BodyBudget } from './body-budget.ts';
import { answerBrokenRequest, answerOddRequests, lingerAfterAnswer, refusedRequest } from './broken-request.ts';
import { inflate, readEncoding, TAKEN_ENCODINGS } from './inflate.ts';
import type { Admit } from './limits.ts';
import { classify, PROBLEM_TYPE, toProblem } from './problem.ts';
import { cloudEvents } from './cloudevent-mode.ts';
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
  /** Without it nobody is limited. */
  readonly admit?: Admit;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  readonly observe: (seen: RequestSeen) => void;
  /** Whether the lines of successful requests are read at all: they are not even made otherwise. */
  readonly logsSuccess: boolean;
  /** How long one request may take to arrive, so that slow senders don't hold connections; 30 s when not given. */
  readonly arrivalTimeoutMs?: number;
}

const BODY_LIMIT = 1024 * 1024;
const ARRIVAL_TIMEOUT_MS = 30_000;
const CHECK_ARRIVALS_MS = 5_000;
/** A user id of 256 bytes, each percent-encoded. */
const MAX_PARAM_LENGTH = 768;
const SANE_REQUEST_ID = /^[\w.:-]{8,128}$/;
const NO_ROUTE = '(none)';

/** `register` adds the routes and whatever else needs the instance. Rejects nothing: a bad registration throws. */
export function buildApp(deps: AppDeps, register: (app: App) => void): App {
  const { arrivalTimeoutMs = ARRIVAL_TIMEOUT_MS } = deps;
  const app: App = fastify({
    bodyLimit: BODY_LIMIT,
    exposeHeadRoutes: false, // a HEAD on a stream would never end; a route that wants it says so
    return503OnClosing: false, // main drains: what still arrives is served and told to close its connection
    forceCloseConnections: 'idle',
    requestTimeout: arrivalTimeoutMs,
    // Node swaps the two timeouts when that for headers is the longer one, as it is by default.
    http: {
      requireHostHeader: false,
      headersTimeout: arrivalTimeoutMs,
      connectionsCheckingInterval: Math.min(arrivalTimeoutMs, CHECK_ARRIVALS_MS),
    },
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH, constraints: { cloudEvents } },
    genReqId: ({ headers }) => requestId(headers['x-request-id']),
    frameworkErrors: sendProblem,
    clientErrorHandler: answerBrokenRequest,
  }).withTypeProvider<ZodTypeProvider>();

  decorateRequests(app);
  app.setValidatorCompiler<z.ZodType>(({ schema, httpPart }) => validator(schema, httpPart));
  app.setSerializerCompiler<z.ZodType>(({ schema }) => serializer(schema));
  app.setErrorHandler(sendProblem);
  acceptJson(app);
  answerOddRequests(app.server);
  const routes = collectRoutes(app, deps.auth, deps.admit);
  app.addHook('onRequest', (request, reply, done) => {
    request.facts = { route: NO_ROUTE };
    reply.header('x-request-id', request.id).header('x-content-type-options', 'nosniff');
    done(request.is404 ? noSuchRoute(routes, request, reply) : refusedRequest(request));
  });
  app.addHook('onResponse', (request, reply, done) => {
    report(deps, request, reply);
    done();
  });
  register(app);
  return app;
}

function requestId(given: string | string[] | undefined): string {
  return typeof given === 'string' && SANE_REQUEST_ID.test(given) ? given : randomUUID();
}

/** JSON and nothing else. */
function acceptJson(app: App): void {
  const budget = makeBodyBudget();
  app.removeAllContentTypeParsers();
  app.addHook('preParsing', (request, reply, payload, done) => {
    try {
      done(null, isSmall(request.headers) ? payload : largeBody(budget, request, reply));
    } catch (error) {
      done(error as Error);
    }
  });
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, bytes, done) => {
    try {
      checkCharset(request.headers['content-type']);
      request.facts.raw = bytes;
      done(null, parseJson(bytes));
    } catch (error) {
      done(error as Error);
    }
  });
}

/** Under 100,000 bytes, and as they are. */
function isSmall(headers: IncomingHttpHeaders): boolean {
  return (
    headers['content-encoding'] === undefined && headers['transfer-encoding'] === undefined && (headers['content-length']?.length ?? 0) < 6
  );
}

/** Takes room for it, and inflates it. What does not say how long it is counts as the longest that its route allows. */
function largeBody(budget: BodyBudget, request: FastifyRequest, reply: FastifyReply): Readable {
  const { facts, raw, headers, routeOptions } = request;
  const { bodyLimit } = routeOptions;
  const encoding = headers['content-encoding'] ?? 'identity';
  const compression = encoding.toLowerCase() === 'identity' ? undefined : readEncoding(encoding);
  const announced = compression ? bodyLimit : Number(headers['content-length'] ?? bodyLimit);
  reply.raw.once('close', budget.take(facts.caller?.tenantId ?? facts.user?.tenantId ?? '', Math.min(announced, bodyLimit)));
  return compression ? inflate(raw, compression, bodyLimit) : raw;
}

function checkCharset(type = ''): void {
  if (type === 'application/json') return;
  const [, charset] = /;\s*charset\s*=\s*"?([^\s;"]+)/i.exec(type) ?? [];
  if (charset === undefined || charset.toLowerCase() === 'utf-8') return;
  throw new CarillonError('unsupported_media_type', 'JSON is sent in UTF-8.', {
    errors: [{ pointer: '/content-type', code: 'unsupported', detail: 'The charset may only be utf-8.' }],
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
  if (!request.raw.complete) lingerAfterAnswer(request.raw);
  if (status === 415) reply.header('accept-encoding', TAKEN_ENCODINGS);
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
