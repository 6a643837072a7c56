/** `GET /v1/inbox/stream`: from here on the connection belongs to realtime/. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { CarillonError } from '../../domain/error.ts';
import type { Sink } from '../../realtime/catch-up.ts';
import type { Feed, OpenStream } from '../../realtime/feed.ts';
import { openSse, type SseDeps } from '../../realtime/sse.ts';
import { touchUser } from '../../store/activity.ts';
import { isUnavailable, type Database } from '../../store/database.ts';
import { spendTicket } from '../../store/inbox.ts';
import type { UserCaller } from '../auth.ts';
import { corsHeaders } from '../cors.ts';
import { once, sendAnswer, type OnceDeps } from '../idempotency.ts';
import type { App } from '../request.ts';
import { wireTime } from '../schema.ts';
import { TICKET_TTL_S, type UserTokens } from '../user-token.ts';

export interface StreamDeps {
  readonly database: Pick<Database, 'asTenant'>;
  readonly once: OnceDeps;
  readonly tokens: UserTokens;
  readonly feed: Pick<Feed, 'open'>;
  readonly sse: SseDeps;
  readonly random: () => number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  /** Origins whose pages may read the inbox, for example `https://app.example.org`. */
  readonly corsOrigins: readonly string[];
}

/** A spent ticket is remembered for longer than any clock differs. */
const REMEMBER_TICKET_MS = 10 * TICKET_TTL_S * 1_000;
/** When to come again while the database is away. */
const AWAY_MS = { least: 2_000, spread: 8_000 };
const NO_STREAM: OpenStream = { drained: () => undefined, closed: () => undefined };

const Ticket = z.object({ ticket: z.string().optional().describe('Absent when the request was a repeat.'), expires_at: wireTime });
/** Nothing here is refused: any status but 200 ends a browser's EventSource for good. */
const Query = z.object({
  after: z.string().optional().describe('The same as the header Last-Event-ID, which wins.'),
  ticket: z.string().optional().describe('Instead of the header Authorization; good once.'),
});

export function streamRoutes(app: App, deps: StreamDeps): void {
  app.post(
    '/v1/inbox/stream-ticket',
    { config: { auth: { kind: 'user' } }, schema: { response: { 201: Ticket } } },
    async (request, reply) => {
      const answer = await once<z.infer<typeof Ticket>>(deps.once, request, async () => {
        const { ticket, expiresAt } = await deps.tokens.mintTicket(request.user);
        const replayBody = { expires_at: expiresAt.toISOString() };
        return { status: 201, body: { ticket, ...replayBody }, replayBody };
      });
      return sendAnswer(reply, answer);
    },
  );

  const origins = new Set(deps.corsOrigins);
  // Token or ticket: this route looks for itself.
  app.get(
    '/v1/inbox/stream',
    { config: { auth: { kind: 'none' } }, schema: { querystring: Query, produces: 'text/event-stream' } },
    async (request, reply) => {
      const user = await whoIs(deps, request, request.query.ticket);
      const after = position(request.headers['last-event-id'] ?? request.query.after);
      const headers = { ...textHeaders(reply), ...corsHeaders(origins, request) };
      reply.hijack();
      if (user === 'unknown') {
        openSse(reply.raw, headers, (sink) => sendAway(sink, deps.random), deps.sse);
        return reply;
      }
      request.facts.user = user;
      openSse(reply.raw, headers, (sink) => deps.feed.open({ ...user, after, sink }), deps.sse);
      touch(deps, user);
      return reply;
    },
  );
}

/** `unknown` while the database can't say. Throws `unauthorized`. */
async function whoIs(deps: StreamDeps, request: FastifyRequest, ticket: string | undefined): Promise<UserCaller | 'unknown'> {
  try {
    const user = ticket === undefined ? await byToken(deps, request.headers.authorization) : await byTicket(deps, ticket);
    if (user) return user;
  } catch (error) {
    if (!isUnavailable(error)) throw error;
    deps.log('stream.refused', { error });
    return 'unknown';
  }
  throw new CarillonError('unauthorized', 'The credentials are missing or not valid.');
}

async function byToken({ tokens }: StreamDeps, authorization: string | undefined): Promise<UserCaller | undefined> {
  const [, token] = /^bearer +([\x21-\x7e]+)$/i.exec(authorization ?? '') ?? [];
  return token === undefined ? undefined : tokens.verify(token);
}

async function byTicket({ tokens, database }: StreamDeps, text: string): Promise<UserCaller | undefined> {
  const ticket = await tokens.verifyTicket(text);
  if (!ticket) return undefined;
  const { id, tenantId, userId, expiresAt } = ticket;
  const fresh = await database.asTenant(tenantId, (tx) => spendTicket(tx, { tenantId, ticketId: id, ttlMs: REMEMBER_TICKET_MS }));
  return fresh ? { tenantId, userId, expiresAt } : undefined;
}

/** Null: from now on. What is no number is one that no stream has, so the reader is told to load the list. */
function position(text: string | string[] | undefined): number | null {
  if (text === undefined || text === '') return null;
  return typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : -1;
}

function textHeaders(reply: FastifyReply): Record<string, string> {
  return Object.fromEntries(Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]));
}

function sendAway(sink: Sink, random: () => number): OpenStream {
  sink.end(AWAY_MS.least + random() * AWAY_MS.spread);
  return NO_STREAM;
}

/** In the background: a stream does not wait for that. */
function touch({ database, log }: StreamDeps, { tenantId, userId }: UserCaller): void {
  database.asTenant(tenantId, (tx) => touchUser(tx, { tenantId, userId })).catch((error: unknown) => log('stream.touch-failed', { error }));
}
