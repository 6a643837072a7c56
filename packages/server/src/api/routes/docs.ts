/** The reference of the HTTP API for people: Swagger UI over `/openapi.json`, served by the program, so that it works offline. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { App } from '../request.ts';

const PACKAGE = new URL('.', import.meta.resolve('swagger-ui-dist/package.json'));

const PAGE = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Carillon: API reference</title><link rel="icon" type="image/png" href="/docs/favicon-32x32.png"><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="reference"></div><script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>`;

/** No validator and no query settings: the page asks nobody but the server that it came from. */
const START = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#reference', deepLinking: true, docExpansion: 'list', defaultModelsExpandDepth: 0, validatorUrl: null, queryConfigEnabled: false, persistAuthorization: false })`;

const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

interface Asset {
  readonly type: string;
  readonly bytes: Buffer;
  readonly etag: string;
}

const SCRIPT = 'text/javascript; charset=utf-8';

/** By path; each read when it is first asked for, and kept. */
const ASSETS: Readonly<Record<string, readonly [type: string, read: () => Buffer]>> = {
  '/docs': ['text/html; charset=utf-8', () => Buffer.from(PAGE)],
  '/docs/start.js': [SCRIPT, () => Buffer.from(START)],
  '/docs/swagger-ui-bundle.js': [SCRIPT, () => shipped('swagger-ui-bundle.js')],
  '/docs/swagger-ui.css': ['text/css; charset=utf-8', () => shipped('swagger-ui.css')],
  '/docs/favicon-32x32.png': ['image/png', () => shipped('favicon-32x32.png')],
};

export function docsRoutes(app: App): void {
  for (const [path, [type, read]] of Object.entries(ASSETS)) {
    let loaded: Asset | undefined;
    app.get(path, { config: { auth: { kind: 'none' } }, schema: { hide: true } }, (request, reply) => {
      loaded ??= asset(type, read());
      return send(request, reply, loaded);
    });
  }
}

function shipped(name: string): Buffer {
  return readFileSync(new URL(name, PACKAGE));
}

function asset(type: string, bytes: Buffer): Asset {
  return { type, bytes, etag: `"${createHash('sha256').update(bytes).digest('base64url')}"` };
}

function send(request: FastifyRequest, reply: FastifyReply, { type, bytes, etag }: Asset): FastifyReply {
  reply.header('etag', etag).header('cache-control', 'no-cache').header('content-security-policy', CSP);
  return request.headers['if-none-match'] === etag ? reply.code(304).send() : reply.type(type).send(bytes);
}
