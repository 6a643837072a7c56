/** Events: what happened, and what became of it. */
import { EVENT_STATES } from '../../domain/event.ts';
import { cancelEvent } from '../../store/cancel.ts';
import type { Database } from '../../store/database.ts';
import { findEvent, listEvents } from '../../store/timeline.ts';
import { Cancelled, EventDetail, EventProgress, EventsQuery, EventSummary } from '../activity-schema.ts';
import { acceptBatch, Accepted, acceptOne, BatchAnswer, BatchBody, type DoorDeps } from '../door.ts';
import { eventDetail, eventProgress } from '../event-detail.ts';
import { eventSchemas, type AddressChecks, type ChannelChecks } from '../event-schema.ts';
import { viewCancel, viewEventSummary } from '../event-view.ts';
import { found } from '../found.ts';
import { once, sendAnswer, type OnceDeps } from '../idempotency.ts';
import { contentOf, rangeOf, toDirectedPage, toldOf, uuidDirectionOf } from '../paging.ts';
import type { App } from '../request.ts';
import { idParams, page } from '../schema.ts';
import { CLOUDEVENT_BODIES } from '../cloudevent-schema.ts';
import { cloudEventRoutes } from './cloudevents.ts';

export interface EventDeps extends DoorDeps, AddressChecks, ChannelChecks {
  readonly database: Pick<Database, 'asTenant'>;
  readonly once: OnceDeps;
}

const WRITE = { auth: { kind: 'key', scope: 'events:write' } } as const;
const READ = { auth: { kind: 'key', scope: 'events:read' } } as const;

export function eventRoutes(app: App, deps: EventDeps): void {
  acceptRoutes(app, deps);
  readRoutes(app, deps);
  app.post(
    '/v1/events/:id/cancel',
    { config: WRITE, schema: { params: idParams('evt'), response: { 200: Cancelled } } },
    async (request, reply) => {
      const event = { tenantId: request.caller.tenantId, id: request.params.id };
      const answer = await once(deps.once, request, async (tx) => ({ status: 200, body: viewCancel(found(await cancelEvent(tx, event))) }));
      return sendAnswer(reply, answer);
    },
  );
}

function acceptRoutes(app: App, deps: EventDeps): void {
  const { event } = eventSchemas(deps);
  cloudEventRoutes(app, deps, event);
  app.post(
    '/v1/events',
    { config: WRITE, schema: { body: event, response: { 202: Accepted }, alsoConsumes: CLOUDEVENT_BODIES } },
    async (request, reply) => {
      const { body, replayed } = await acceptOne(deps, request, request.body);
      return sendAnswer(reply, { status: 202, body, location: `/v1/events/${body.id}`, replayed });
    },
  );
  app.post(
    '/v1/events/batch',
    { config: { ...WRITE, batch: true }, schema: { body: BatchBody, response: { 202: BatchAnswer } } },
    async (request, reply) => {
      const { body, replayed } = await acceptBatch(deps, request, request.body, event);
      return sendAnswer(reply, { status: 202, body, replayed });
    },
  );
}

function readRoutes(app: App, { database }: EventDeps): void {
  app.get(
    '/v1/events',
    { config: READ, schema: { querystring: EventsQuery, response: { 200: page(EventSummary) } } },
    async ({ caller: { tenantId }, query }) => {
      const direction = uuidDirectionOf(query);
      const status = query.status === undefined ? null : EVENT_STATES[query.status];
      const paging = { cursor: direction.cursor, forward: direction.backward, limit: query.limit + 1, range: rangeOf(query) };
      const filter = { ...contentOf(query), ...toldOf(query), status };
      const rows = await database.asTenant(tenantId, (tx) => listEvents(tx, { tenantId, ...paging, ...filter }));
      return toDirectedPage(rows, { limit: query.limit, backward: direction.backward }, viewEventSummary, (row) => row.id);
    },
  );
  app.get(
    '/v1/events/:id',
    { config: READ, schema: { params: idParams('evt'), response: { 200: EventDetail } } },
    async ({ caller: { tenantId }, params: { id } }) =>
      database.asTenant(tenantId, async (tx) => eventDetail(tx, tenantId, found(await findEvent(tx, { tenantId, id })))),
  );
  app.get(
    '/v1/events/:id/progress',
    { config: READ, schema: { params: idParams('evt'), response: { 200: EventProgress } } },
    async ({ caller: { tenantId }, params: { id } }) =>
      database.asTenant(tenantId, async (tx) => eventProgress(tx, tenantId, found(await findEvent(tx, { tenantId, id })))),
  );
}
