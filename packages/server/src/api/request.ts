/** What our routes find on the framework's request. */
import { hash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest, FastifyTypeProvider, RawServerDefault } from 'fastify';
import type { z } from 'zod';
import { CarillonError } from '../domain/error.ts';
import type { RequestKey } from '../domain/event.ts';
import type { Caller, RouteAuth, UserCaller } from './auth.ts';

/** Handlers see what a route's schemas give, and must answer what they name. */
export interface ZodTypeProvider extends FastifyTypeProvider {
  readonly validator: this['schema'] extends z.ZodType ? z.output<this['schema']> : unknown;
  readonly serializer: this['schema'] extends z.ZodType ? z.output<this['schema']> : unknown;
}

export type App = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, ZodTypeProvider>;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Every route says who may call it. */
    auth: RouteAuth;
    /** Bodies up to 5 MiB instead of 1 MiB. */
    batch?: boolean;
  }
  interface FastifySchema {
    /** For the OpenAPI page: one line, and more. */
    summary?: string;
    description?: string;
    /** Not on the OpenAPI page. */
    hide?: boolean;
    /** A POST that writes nothing: it takes no `Idempotency-Key`. */
    writesNothing?: boolean;
    /** Bodies of other media types at the same address: by media type, with their schema. */
    alsoConsumes?: Readonly<Record<string, z.ZodType>>;
    /** The media type of success, when it is not JSON. */
    produces?: string;
  }
  interface FastifyRequest {
    /** Of routes with `auth.kind` `key`; throws on others. */
    readonly caller: Caller;
    /** Of routes with `auth.kind` `user`; throws on others. */
    readonly user: UserCaller;
    /** Whoever asks, a key's or a user's; throws on routes that anybody may call. */
    readonly tenantId: string;
    /** SHA-256 of the raw body; of no bytes when there is none. */
    bodyHash(): Buffer;
    /** From `Idempotency-Key`; null without one. Throws `invalid` for a malformed one. */
    idempotencyKey(): RequestKey | null;
    /** What becomes known of the request while it runs: for the log and the metrics. */
    facts: RequestFacts;
  }
}

export interface RequestFacts {
  /** The pattern, never the concrete path: that may hold user ids. */
  route: string;
  caller?: Caller;
  user?: UserCaller;
  raw?: Buffer;
  hash?: Buffer;
  /** Of the problem that was answered. */
  code?: string;
  error?: unknown;
}

const MAX_KEY_BYTES = 256;
const PRINTABLE = /^[\x20-\x7e]+$/;

export function decorateRequests(app: App): void {
  app.decorateRequest('facts', null as never); // set by the first hook, so that requests don't share one
  app.decorateRequest('caller', {
    getter() {
      return required(this.facts.caller);
    },
  });
  app.decorateRequest('user', {
    getter() {
      return required(this.facts.user);
    },
  });
  app.decorateRequest('tenantId', {
    getter() {
      return required(this.facts.user ?? this.facts.caller).tenantId;
    },
  });
  app.decorateRequest('bodyHash', function bodyHash(this: FastifyRequest) {
    return (this.facts.hash ??= hash('sha256', this.facts.raw ?? '', 'buffer'));
  });
  app.decorateRequest('idempotencyKey', function idempotencyKey(this: FastifyRequest) {
    return requestKeyOf(this);
  });
}

function required<T>(caller: T | undefined): T {
  if (caller === undefined) throw new Error('this route does not ask for that kind of caller');
  return caller;
}

/** The scope of a key is the tenant, the method and the concrete path; at the inbox also the user. */
function requestKeyOf(request: FastifyRequest): RequestKey | null {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return null;
  if (typeof key !== 'string' || key.length > MAX_KEY_BYTES || !PRINTABLE.test(key)) {
    const errors = [{ pointer: '/idempotency-key', code: 'invalid_format', detail: `1 to ${MAX_KEY_BYTES} printable ASCII characters.` }];
    throw new CarillonError('invalid', 'The header Idempotency-Key is not valid.', { errors });
  }
  const path = request.url.split('?', 1)[0] ?? '';
  const holder = request.facts.user ? ` ${request.facts.user.userId}` : '';
  return { route: `${request.method} ${path}${holder}`, key, hash: request.bodyHash() };
}
