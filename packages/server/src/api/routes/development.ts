/** Development mode only: a page that shows what left, and an address to send webhooks to. Nobody has to sign in, so it is never part of production. */
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Database } from '../../store/database.ts';
import { readOutbox, type OutboxRow } from '../../store/outbox.ts';
import { outboxPage, PAGE_POLICY, receiverPage, type ReceivedRequest, type RenderedMail } from '../development-page.ts';
import type { App } from '../request.ts';
import { queryInteger } from '../schema.ts';

export interface DevelopmentDeps {
  readonly database: Pick<Database, 'transaction'>;
  /** The mail again as it was sent. */
  readonly renderMail: (row: OutboxRow) => RenderedMail;
  readonly now: () => Date;
}

const OPEN = { auth: { kind: 'none' } } as const;
const OUTBOX_ROWS = 100;
const KEPT_REQUESTS = 200;

export function developmentRoutes(app: App, { database, renderMail, now }: DevelopmentDeps): void {
  app.get('/dev/outbox', { config: OPEN }, async (_request, reply) =>
    sendPage(reply, outboxPage(await database.transaction((tx) => readOutbox(tx, OUTBOX_ROWS)), renderMail)),
  );
  receiverRoutes(app, now);
}

function receiverRoutes(app: App, now: () => Date): void {
  let received: ReceivedRequest[] = [];
  // A scope of its own: this one takes any body, and keeps it as it came.
  void app.register((scope, _options, done) => {
    const receiver = scope as App;
    receiver.removeAllContentTypeParsers();
    receiver.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, bytes, parsed) => {
      parsed(null, bytes);
    });
    receiver.post(
      '/dev/receiver',
      { config: OPEN, schema: { querystring: z.object({ status: queryInteger(200, 599).default(200) }) } },
      async ({ headers, body, query: { status } }, reply) => {
        const one = { at: now().toISOString(), status, headers: flat(headers), body: Buffer.isBuffer(body) ? body.toString() : '' };
        received = [one, ...received].slice(0, KEPT_REQUESTS);
        return reply.code(status).send({ received: true });
      },
    );
    receiver.get('/dev/receiver', { config: OPEN }, async ({ headers }, reply) =>
      headers.accept?.includes('text/html') ? sendPage(reply, receiverPage(received)) : reply.send({ data: received }),
    );
    receiver.delete('/dev/receiver', { config: OPEN }, async (_request, reply) => {
      received = [];
      return reply.code(204).send();
    });
    done();
  });
}

function flat(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value ?? ''].flat().join(', ')]));
}

function sendPage(reply: FastifyReply, page: string): FastifyReply {
  return reply
    .header('content-security-policy', PAGE_POLICY)
    .header('cache-control', 'no-store')
    .type('text/html; charset=utf-8')
    .send(page);
}
