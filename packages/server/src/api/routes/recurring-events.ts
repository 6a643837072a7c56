/** Recurring events: the same event again and again, at the times of a cron expression. */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { CarillonError } from '../../domain/error.ts';
import type { Series } from '../../domain/recurring.ts';
import { latestRun, nextRun } from '../../lib/cron.ts';
import { newId } from '../../lib/id.ts';
import type { Database } from '../../store/database.ts';
import {
  countSeries,
  createSeries,
  deleteSeries,
  getSeries,
  listSeries,
  lockSeries,
  updateSeries,
  type SeriesKey,
} from '../../store/recurring-events.ts';
import { eventAt, type DoorDeps } from '../door.ts';
import type { AddressChecks, ChannelChecks } from '../event-schema.ts';
import { found } from '../found.ts';
import { once, sendAnswer, type OnceDeps } from '../idempotency.ts';
import { listQuery, toDirectedPage, uuidDirectionOf } from '../paging.ts';
import {
  belowEvent,
  firstTime,
  mergedSeries,
  movesTimes,
  RecurringAnswer,
  RecurringDetail,
  recurringSchemas,
  toSeries,
  viewSeries,
  viewWithTimes,
} from '../recurring-schema.ts';
import type { App } from '../request.ts';
import { idParams, page } from '../schema.ts';

export interface RecurringRouteDeps extends Pick<DoorDeps, 'eventType' | 'maxScheduleDays' | 'now'>, AddressChecks, ChannelChecks {
  readonly database: Pick<Database, 'asTenant'>;
  readonly once: OnceDeps;
  /** After the commit: some series may be due at another time. */
  readonly wakeRecurring: () => void;
}

const WRITE = { auth: { kind: 'key', scope: 'events:write' } } as const;
const READ = { auth: { kind: 'key', scope: 'events:read' } } as const;
const RUNS = { next: nextRun, latest: latestRun };
const params = idParams('rec');
/** Of a tenant: those of others wait while they are taken. */
const MAX_SERIES = 1_000;

const keyOf = ({ caller: { tenantId }, params: { id } }: FastifyRequest & { params: { id: string } }): SeriesKey => ({ tenantId, id });

export function recurringRoutes(app: App, deps: RecurringRouteDeps): void {
  const { created, changed } = recurringSchemas(deps);
  createRoute(app, deps, created);
  readRoutes(app, deps);
  changeRoute(app, deps, changed);
  app.delete('/v1/recurring-events/:id', { config: WRITE, schema: { params } }, async (request, reply) => {
    const gone = await deps.database.asTenant(request.caller.tenantId, (tx) => deleteSeries(tx, keyOf(request)));
    found(gone || undefined);
    return reply.code(204).send();
  });
}

/** Its type may want more than a schema can tell: a series whose first event would be refused is refused. */
async function tryEvent(deps: RecurringRouteDeps, request: FastifyRequest, content: Series['content']): Promise<void> {
  try {
    await eventAt(deps, request, { wire: content, at: deps.now() });
  } catch (error) {
    throw belowEvent(error);
  }
}

function createRoute(app: App, deps: RecurringRouteDeps, body: ReturnType<typeof recurringSchemas>['created']): void {
  app.post('/v1/recurring-events', { config: WRITE, schema: { body, response: { 201: RecurringDetail } } }, async (request, reply) => {
    const settings = toSeries(request.body);
    const answer = await once(deps.once, request, async (tx) => {
      const { tenantId } = request.caller;
      if ((await countSeries(tx, tenantId)) >= MAX_SERIES)
        throw new CarillonError('conflict', `There are ${MAX_SERIES} recurring events already: delete what is over.`);
      await tryEvent(deps, request, settings.content);
      const nextAt = firstTime(settings, deps.now(), RUNS);
      const made = viewWithTimes(await createSeries(tx, { ...settings, tenantId, id: newId(deps.now()), nextAt }));
      return { status: 201, body: made, location: `/v1/recurring-events/${made.id}` };
    });
    deps.wakeRecurring();
    return sendAnswer(reply, answer);
  });
}

function readRoutes(app: App, { database }: RecurringRouteDeps): void {
  app.get(
    '/v1/recurring-events',
    { config: READ, schema: { querystring: z.strictObject(listQuery), response: { 200: page(RecurringAnswer) } } },
    async ({ caller: { tenantId }, query: { limit, ...cursors } }) => {
      const direction = uuidDirectionOf(cursors);
      const rows = await database.asTenant(tenantId, (tx) => listSeries(tx, { tenantId, ...direction, limit: limit + 1 }));
      return toDirectedPage(rows, { limit, backward: direction.backward }, viewSeries, (row) => row.id);
    },
  );
  app.get('/v1/recurring-events/:id', { config: READ, schema: { params, response: { 200: RecurringDetail } } }, async (request) =>
    viewWithTimes(found(await database.asTenant(request.caller.tenantId, (tx) => getSeries(tx, keyOf(request))))),
  );
}

function changeRoute(app: App, deps: RecurringRouteDeps, body: ReturnType<typeof recurringSchemas>['changed']): void {
  const description =
    'What is not sent stays as it is. A change of the times counts from now: what was due and not accepted yet is left out.';
  app.patch(
    '/v1/recurring-events/:id',
    { config: WRITE, schema: { description, params, body, response: { 200: RecurringDetail } } },
    async (request) => {
      const { caller, body: wire } = request;
      const answer = await deps.database.asTenant(caller.tenantId, async (tx) => {
        const now = found(await lockSeries(tx, keyOf(request)));
        const wanted = mergedSeries(now, wire);
        if (wire.event) await tryEvent(deps, request, wanted.content);
        const after = now.lastAt && now.lastAt > deps.now() ? now.lastAt : deps.now();
        const nextAt = movesTimes(wire) ? firstTime(wanted, after, RUNS) : now.nextAt;
        return viewWithTimes(found(await updateSeries(tx, { ...wanted, nextAt })));
      });
      deps.wakeRecurring();
      return answer;
    },
  );
}
