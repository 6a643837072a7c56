/** `POST /v1/events` for CloudEvents 1.0 over HTTP: binary, structured and batch mode. The same door as for events of our own shape. */
import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { attributesOfHeaders } from '../../ingest/cloudevents.ts';
import { parseJson } from '../body.ts';
import { cloudEventSchema } from '../cloudevent-schema.ts';
import { acceptBatch, Accepted, acceptOne, BatchAnswer, BatchBody, type DoorDeps } from '../door.ts';
import type { EventWire } from '../event-schema.ts';
import { sendAnswer } from '../idempotency.ts';
import type { App } from '../request.ts';

const PATH = '/v1/events';
const CONFIG = { auth: { kind: 'key', scope: 'events:write' } } as const;
const BATCH_LIMIT = 5 * 1024 * 1024;
/** `application/cloudevents+json`, and in binary mode the data's own type. */
const JSON_TYPES = /^application\/[\w.-]+\+json(?:\s*;|$)/i;

/** `event` is the schema of events of our own shape. */
export function cloudEventRoutes(app: App, deps: DoorDeps, event: z.ZodType<EventWire>): void {
  const schema = cloudEventSchema(event);
  // A scope of its own, so that other routes don't take these types.
  void app.register((scope, _options, done) => {
    const events = scope as App;
    events.addContentTypeParser<Buffer>(JSON_TYPES, { parseAs: 'buffer' }, (request, bytes, parsed) => {
      try {
        request.facts.raw = bytes;
        parsed(null, parseJson(bytes));
      } catch (error) {
        parsed(error as Error);
      }
    });
    oneRoute(events, deps, schema, 'structured');
    oneRoute(events, deps, schema, 'binary');
    batchRoute(events, deps, schema);
    done();
  });
}

function oneRoute(app: App, deps: DoorDeps, schema: z.ZodType<EventWire>, cloudEvents: 'structured' | 'binary'): void {
  const assemble = (request: FastifyRequest, _reply: unknown, done: () => void) => {
    if (cloudEvents === 'binary') request.body = attributesOfHeaders(request.headers, request.body);
    done();
  };
  app.post(
    PATH,
    {
      constraints: { cloudEvents },
      config: CONFIG,
      schema: { hide: true, body: schema, response: { 202: Accepted } },
      preValidation: assemble,
    },
    async (request, reply) => {
      const { body, replayed } = await acceptOne(deps, request, request.body);
      return sendAnswer(reply, { status: 202, body, location: `${PATH}/${body.id}`, replayed });
    },
  );
}

function batchRoute(app: App, deps: DoorDeps, schema: z.ZodType<EventWire>): void {
  const shapes = { hide: true, body: BatchBody, response: { 202: BatchAnswer } };
  const options = { constraints: { cloudEvents: 'batch' }, config: { ...CONFIG, batch: true }, bodyLimit: BATCH_LIMIT, schema: shapes };
  app.post(PATH, options, async (request, reply) => {
    const { body, replayed } = await acceptBatch(deps, request, request.body, schema);
    return sendAnswer(reply, { status: 202, body, replayed });
  });
}
