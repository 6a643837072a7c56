/** What the program says about itself: its OpenAPI document, and a page for every error at the address that problems name. */
import type { FastifyReply } from 'fastify';
import { ERRORS, CarillonError, type ErrorCode } from '../../domain/error.ts';
import { buildOpenApi } from '../openapi.ts';
import type { App } from '../request.ts';

export interface ReferenceDeps {
  /** Of this program. */
  readonly version: string;
}

const CODES = Object.keys(ERRORS) as ErrorCode[];

export function referenceRoutes(app: App, { version }: ReferenceDeps): void {
  const config = { auth: { kind: 'none' } } as const;
  const schema = { hide: true };
  let openApi: string | undefined;

  app.get('/openapi.json', { config, schema }, async (_request, reply) => {
    openApi ??= JSON.stringify(buildOpenApi(app.routeList, version));
    return reply.type('application/json').send(openApi);
  });

  app.get('/errors', { config, schema }, async (_request, reply) => {
    const items = CODES.map(
      (code) => `<li><a href="/errors/${code}">${code}</a> (${ERRORS[code].status}): ${escapeHtml(ERRORS[code].title)}</li>`,
    );
    return html(reply, 'Errors', `<ul>${items.join('')}</ul>`);
  });

  app.get<{ Params: { code: string } }>('/errors/:code', { config, schema }, async ({ params }, reply) => {
    const code = CODES.find((known) => known === params.code);
    if (code === undefined) throw new CarillonError('not_found', 'There is no such error.');
    const { status, title, hint, retryable } = ERRORS[code];
    const advice = retryable ? 'The same request may succeed later.' : 'The same request will fail again.';
    return html(
      reply,
      title,
      `<p><code>${code}</code>, HTTP status ${status}</p><p>${escapeHtml(hint)}</p><p>${advice}</p><p><a href="/errors">All errors</a></p>`,
    );
  });
}

function html(reply: FastifyReply, title: string, body: string): FastifyReply {
  const safe = escapeHtml(title);
  return reply
    .type('text/html; charset=utf-8')
    .header('content-security-policy', "default-src 'none'; frame-ancestors 'none'")
    .send(
      `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${safe}</title></head><body><h1>${safe}</h1>${body}</body></html>`,
    );
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
