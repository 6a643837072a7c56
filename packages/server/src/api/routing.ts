/** Knows all routes: who may call them, which methods a path has, and what the OpenAPI page lists. */
import type { FastifyReply, FastifyRequest, FastifySchema, onRequestHookHandler, RouteOptions } from 'fastify';
import { z } from 'zod';
import { CarillonError } from '../domain/error.ts';
import type { Auth, Caller, Credentials, RouteAuth, UserCaller } from './auth.ts';
import type { Admit } from './limits.ts';
import type { App } from './request.ts';

export interface RouteInfo {
  readonly method: string;
  /** The pattern, `/v1/users/:id`. */
  readonly url: string;
  readonly auth: RouteAuth;
  readonly batch: boolean;
  /** Zod schemas, as the route gave them. */
  readonly schema: Readonly<FastifySchema>;
}

declare module 'fastify' {
  interface FastifyInstance {
    /** In the order of their registration. */
    routeList: readonly RouteInfo[];
  }
}

/** Of routes that say nothing of a body: what they would ignore is refused, as an unknown field is anywhere. */
const NO_BODY = z.strictObject({}).optional();
const BATCH_BODY_LIMIT = 5 * 1024 * 1024;

/** From here on every route is noted, guarded, and limited to its size of body. Throws for one that does not say who may call it. */
export function collectRoutes(app: App, auth: Auth, admit?: Admit): RouteInfo[] {
  const routes: RouteInfo[] = [];
  app.decorate('routeList', routes);
  app.addHook('onRoute', (route) => {
    const { url, config } = route;
    if (!config?.auth) throw new Error(`route ${String(route.method)} ${url} does not say who may call it (config.auth)`);
    for (const method of [route.method].flat()) {
      routes.push({ method, url, auth: config.auth, batch: config.batch ?? false, schema: route.schema ?? {} });
    }
    if (takesBody(route) && config.auth.kind !== 'none') route.schema = { body: NO_BODY, ...route.schema };
    if (config.batch) route.bodyLimit = BATCH_BODY_LIMIT;
    guard(route, guardOf(auth, admit, config.auth));
  });
  return routes;
}

type Check = (request: FastifyRequest, reply: FastifyReply) => void | Promise<void>;

function takesBody({ method }: RouteOptions): boolean {
  return ['POST', 'PUT', 'PATCH'].some((one) => [method].flat().includes(one));
}

function guard(route: RouteOptions, check: Check): void {
  const { url } = route;
  const hook: onRequestHookHandler = (request, reply, done) => {
    request.facts.route = url;
    try {
      const pending = check(request, reply);
      if (pending)
        pending.then(() => {
          done();
        }, done);
      else done();
    } catch (error) {
      done(error as Error);
    }
  };
  route.onRequest = [hook, ...[route.onRequest ?? []].flat()];
}

/** Answers at once when the caller was verified on this connection a moment ago: no promise on the hot path. */
function guardOf(auth: Auth, admit: Admit | undefined, wanted: RouteAuth): Check {
  if (wanted.kind === 'none') return () => undefined;
  if (wanted.kind === 'user') {
    return (request) =>
      settle(auth.user(credentialsOf(request)), (user) => {
        request.facts.user = user;
      });
  }
  if (wanted.kind === 'account') {
    return (request, reply) =>
      settle(auth.account(credentialsOf(request), wanted.scope), (caller) => {
        if ('keyId' in caller) {
          request.facts.caller = caller;
          return admit?.(caller, reply);
        }
        request.facts.user = caller;
      });
  }
  return (request, reply) =>
    settle(auth.key(credentialsOf(request), wanted.scope), (caller) => {
      request.facts.caller = caller;
      return admit?.(caller, reply);
    });
}

function settle<T extends Caller | UserCaller>(verified: T | Promise<T>, take: (value: T) => void | Promise<void>): void | Promise<void> {
  if (verified instanceof Promise) return verified.then(take);
  return take(verified);
}

function credentialsOf({ headers, url, raw }: FastifyRequest): Credentials {
  const assertion = headers['cf-access-jwt-assertion'];
  return {
    authorization: headers.authorization,
    assertion: typeof assertion === 'string' ? assertion : undefined,
    url,
    socket: raw.socket,
  };
}

/** What to answer on a path that no route matched: 405 with `Allow` when only the method is wrong. */
export function noSuchRoute(routes: readonly RouteInfo[], request: FastifyRequest, reply: FastifyReply): CarillonError {
  const path = request.url.split('?', 1)[0] ?? '';
  const methods = new Set(routes.filter(({ url }) => matches(url, path)).map(({ method }) => method));
  if (methods.size === 0) return new CarillonError('not_found', 'There is nothing at this path.');
  const allowed = [...methods].sort().join(', ');
  reply.header('allow', allowed);
  return new CarillonError('method_not_allowed', `This path has: ${allowed}.`);
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/');
  const given = path.split('/');
  if (wanted.at(-1) !== '*' && wanted.length !== given.length) return false;
  return wanted.every((part, at) => part === '*' || (part.startsWith(':') ? (given[at] ?? '') !== '' : part === given[at]));
}
