/** OpenAPI 3.1, made from the schemas that check the requests: what it says is what is enforced. */
import { STATUS_CODES } from 'node:http';
import { z } from 'zod';
import type { RouteAuth } from './auth.ts';
import { EXAMPLES } from './examples/all.ts';
import { curlOf, type Example } from './examples/example.ts';
import type { RouteInfo } from './routing.ts';
import { problem } from './schema.ts';

type Json = Record<string, unknown>;

const METHODS = new Set(['GET', 'POST', 'PUT', 'PATCH', 'DELETE']);
const IDEMPOTENCY_KEY = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  schema: { type: 'string', minLength: 1, maxLength: 256, pattern: '^[ -~]+$' },
  description: 'The same key with the same body gives the first answer again and does nothing twice.',
};

/** The same routes give the same bytes: CI compares. */
export function buildOpenApi(routes: readonly RouteInfo[], version: string): Json {
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    if (route.schema.hide || !METHODS.has(route.method)) continue;
    const path = route.url.replace(/:(\w+)/g, '{$1}');
    (paths[path] ??= {})[route.method.toLowerCase()] = operation(route, path);
  }
  const schemas: Record<string, unknown> = { Problem: toJsonSchema(problem, 'output') };
  const sorted = hoisted(Object.fromEntries(Object.entries(paths).sort(([a], [b]) => (a < b ? -1 : 1))), schemas);
  return {
    openapi: '3.1.1',
    info: {
      title: 'Carillon',
      version,
      description: 'Notification infrastructure: report events, and people are told on the channel they chose.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    paths: sorted,
    components: {
      schemas,
      responses: {
        Problem: {
          description: 'RFC 9457 problem',
          content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
        },
      },
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer', description: 'An API key with the scope that the operation names.' },
        userToken: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'A token of one user, minted with an API key.' },
      },
    },
  };
}

/** Tells a repeat from a new request, wherever something is written. */
function takesKey({ method, auth, schema }: RouteInfo): boolean {
  return method === 'POST' && auth.kind !== 'none' && !schema.writesNothing;
}

function operation(route: RouteInfo, path: string): Json {
  const { method, url, auth, schema } = route;
  const example = EXAMPLES[`${method} ${url}`];
  const parameters = [...pathParameters(path, schema.params, example), ...queryParameters(schema.querystring, example)];
  if (takesKey(route)) parameters.push(IDEMPOTENCY_KEY);
  return {
    operationId: operationId(method, url),
    tags: [/^\/(?:v1|api)\/([^/]+)/.exec(path)?.[1] ?? 'operations'],
    summary: schema.summary ?? example?.summary,
    description: paragraphs(schema.description, scopeOf(auth), example && callOf(method, url, { example, auth })),
    security: securityOf(auth),
    ...(parameters.length > 0 && { parameters }),
    ...(schema.body instanceof z.ZodType && {
      requestBody: requestBody({ 'application/json': schema.body, ...schema.alsoConsumes }, example),
    }),
    responses: responses(schema),
  };
}

function paragraphs(...parts: readonly (string | undefined)[]): string {
  return parts.filter((part) => part !== undefined).join('\n\n');
}

/** The example is JSON's: the first of the media types. */
function requestBody(byType: Readonly<Record<string, z.ZodType>>, example: Example | undefined): Json {
  const schemas = Object.entries(byType);
  const media = schemas.map(([type, schema], index) => {
    const shown = index === 0 && example?.body !== undefined ? { example: example.body } : {};
    return [type, { schema: toJsonSchema(schema, 'input'), ...shown }];
  });
  return { required: schemas[0]?.[1].safeParse(undefined).success === false, content: Object.fromEntries(media) as Json };
}

function callOf(method: string, url: string, { example, auth }: { example: Example; auth: RouteAuth }): string {
  const credential = auth.kind === 'none' ? null : auth.kind === 'user' ? 'TOKEN' : 'KEY';
  return `\`\`\`sh\n${curlOf(method, url, { example, credential })}\n\`\`\``;
}

function scopeOf(auth: RouteAuth): string | undefined {
  if (auth.kind === 'account') return `Scope: \`${auth.scope}\`, or the token of an owner or admin of the account.`;
  return auth.kind === 'key' ? `Scope: \`${auth.scope}\`.` : undefined;
}

function securityOf(auth: RouteAuth): Json[] {
  if (auth.kind === 'none') return [];
  if (auth.kind === 'account') return [{ apiKey: [] }, { userToken: [] }];
  return [auth.kind === 'key' ? { apiKey: [] } : { userToken: [] }];
}

/** `POST /v1/inbox/:id/read` → `post_inbox_id_read`. */
function operationId(method: string, url: string): string {
  return [method.toLowerCase(), ...url.replace(/^\/v1/, '').split(/[^A-Za-z0-9]+/)].filter((part) => part !== '').join('_');
}

function pathParameters(path: string, schema: unknown, example: Example | undefined): Json[] {
  const known = propertiesOf(schema);
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: known.properties[name] ?? { type: 'string' },
    example: example?.path?.[name],
  }));
}

function queryParameters(schema: unknown, example: Example | undefined): Json[] {
  const { properties, required } = propertiesOf(schema);
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    ...(description !== undefined && { description }),
    schema: rest,
    example: example?.query?.[name],
  }));
}

function propertiesOf(schema: unknown): { properties: Record<string, Json>; required: readonly string[] } {
  if (!(schema instanceof z.ZodType)) return { properties: {}, required: [] };
  const { properties = {}, required = [] } = toJsonSchema(schema, 'input') as { properties?: Record<string, Json>; required?: string[] };
  return { properties, required };
}

function responses({ response, produces = 'application/json' }: RouteInfo['schema']): Json {
  const success = Object.entries((response ?? {}) as Record<string, unknown>).map(([status, schema]) => {
    const content = schema instanceof z.ZodType ? { content: { [produces]: { schema: toJsonSchema(schema, 'output') } } } : {};
    return [status, { description: STATUS_CODES[status] ?? 'Success', ...content }];
  });
  if (success.length === 0)
    success.push(
      produces === 'application/json'
        ? ['204', { description: 'Done' }]
        : ['200', { description: 'OK', content: { [produces]: { schema: { type: 'string' } } } }],
    );
  return { ...(Object.fromEntries(success) as Json), default: { $ref: '#/components/responses/Problem' } };
}

/** What has a name (`meta.id`) is left as a reference to the components. */
function toJsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  const json = z.toJSONSchema(schema, { io, target: 'draft-2020-12', unrepresentable: 'any' }) as Json;
  delete json.$schema; // the document says it once, by its version
  return json;
}

/** Takes the definitions out of all schemas, each once, and points the references to where they stand. Throws for two of one name. */
function hoisted(value: unknown, components: Record<string, unknown>): unknown {
  if (Array.isArray(value)) return value.map((part) => hoisted(part, components));
  if (typeof value !== 'object' || value === null) return value;
  const { $defs = {}, ...rest } = value as Json;
  for (const [name, definition] of Object.entries($defs as Json)) {
    const schema = { ...(definition as Json) };
    delete schema.id; // its place is its name
    const own = hoisted(schema, components);
    if (name in components && JSON.stringify(components[name]) !== JSON.stringify(own))
      throw new Error(`two schemas have the name ${name}`);
    components[name] = own;
  }
  return Object.fromEntries(
    Object.entries(rest).map(([name, part]) => [
      name,
      name === '$ref' ? String(part).replace('#/$defs/', '#/components/schemas/') : hoisted(part, components),
    ]),
  );
}
