/** What the program says about itself: its OpenAPI document, and a page for every error at the address that problems name. */
import type { FastifyReply } from 'fastify';
import { CarillonError } from '../../domain/error.ts';
import { ERROR_CODES, errorIndex, errorPage } from '../error-page.ts';
import { buildOpenApi } from '../openapi.ts';
import type { App } from '../request.ts';

export interface ReferenceDeps {
  /** Of this program. */
  readonly version: string;
}

export function referenceRoutes(app: App, { version }: ReferenceDeps): void {
  const config = { auth: { kind: 'none' } } as const;
  const schema = { hide: true };
  let openApi: string | undefined;

  app.get('/openapi.json', { config, schema }, async (_request, reply) => {
    openApi ??= JSON.stringify(buildOpenApi(app.routeList, version));
    return reply.type('application/json').send(openApi);
  });

  app.get('/errors', { config, schema }, async (_request, reply) => sendPage(reply, errorIndex()));

  app.get<{ Params: { code: string } }>('/errors/:code', { config, schema }, async ({ params }, reply) => {
    const code = ERROR_CODES.find((known) => known === params.code);
    if (code === undefined) throw new CarillonError('not_found', 'There is no such error.');
    return sendPage(reply, errorPage(code));
  });
}

function sendPage(reply: FastifyReply, page: string): FastifyReply {
  return reply.type('text/html; charset=utf-8').header('content-security-policy', "default-src 'none'; frame-ancestors 'none'").send(page);
}
