/** Pages of other origins may read the inbox, if they are listed. Credentials travel in a header, never in a cookie, so none are allowed. */
import type { FastifyRequest } from 'fastify';
import type { App } from './request.ts';

const ALLOWED_HEADERS = 'authorization, content-type, idempotency-key, last-event-id';
const EXPOSED_HEADERS = 'idempotent-replayed, retry-after, x-request-id';
const PREFLIGHT_AGE_S = 600;

/** Empty for an origin that is not listed: the browser then refuses. `vary` in any case, for caches. */
export function corsHeaders(origins: ReadonlySet<string>, { headers: { origin } }: FastifyRequest): Record<string, string> {
  if (origins.size === 0) return {};
  if (origin === undefined || !origins.has(origin)) return { vary: 'origin' };
  return { vary: 'origin', 'access-control-allow-origin': origin, 'access-control-expose-headers': EXPOSED_HEADERS };
}

/** For the routes of this scope: the headers on every answer, errors too. */
export function addCors(scope: App, origins: ReadonlySet<string>): void {
  if (origins.size === 0) return;
  scope.addHook('onSend', (request, reply, payload, done) => {
    reply.headers(corsHeaders(origins, request));
    done(null, payload);
  });
}

/** Answers the browser's question before a request, on one path. */
export function addPreflight(scope: App, origins: ReadonlySet<string>, path: string, methods: readonly string[]): void {
  if (origins.size === 0) return;
  scope.options(path, { config: { auth: { kind: 'none' } } }, (request, reply) => {
    const { origin } = request.headers;
    if (origin !== undefined && origins.has(origin)) {
      reply.headers({
        'access-control-allow-methods': methods.join(', '),
        'access-control-allow-headers': ALLOWED_HEADERS,
        'access-control-max-age': PREFLIGHT_AGE_S,
      });
    }
    return reply.code(204).send();
  });
}
