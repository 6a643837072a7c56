/** Users: who can be told, and where. */
import { z } from 'zod';
import type { Tx } from '../../domain/event.ts';
import type { Database } from '../../store/database.ts';
import { eraseUser } from '../../store/erase.ts';
import { recheckHeld } from '../../store/preferences.ts';
import { getUser, listUsers, putUsers } from '../../store/users.ts';
import { NotificationSummary, UserNotificationsQuery } from '../activity-schema.ts';
import { BatchBody } from '../door.ts';
import type { AddressChecks } from '../event-schema.ts';
import { found } from '../found.ts';
import { once, sendAnswer, type OnceDeps } from '../idempotency.ts';
import { notificationPage } from '../notification-list.ts';
import { directionOf, listQuery, toDirectedPage } from '../paging.ts';
import { toProblem, type Problem } from '../problem.ts';
import type { App } from '../request.ts';
import { callerIdParams, page, problem } from '../schema.ts';
import { toUser, UserAnswer, userSchemas, viewUser } from '../user-schema.ts';
import { invalid } from '../validation.ts';

export interface UserDeps extends AddressChecks {
  readonly database: Pick<Database, 'asTenant'>;
  readonly once: OnceDeps;
  /** After an erasure: the user's open streams see that nothing is left. */
  readonly look: (tenantId: string, userId: string) => void;
  /** What was held may be due now. */
  readonly wake: () => void;
}

const WRITE = { auth: { kind: 'key', scope: 'users:write' } } as const;
const READ = { auth: { kind: 'key', scope: 'users:read' } } as const;
const BatchAnswer = z.object({ results: z.array(z.object({ id: z.string().optional(), error: problem.optional() })) });

export function userRoutes(app: App, deps: UserDeps): void {
  writeRoutes(app, deps);
  readRoutes(app, deps);
}

function writeRoutes(app: App, deps: UserDeps): void {
  const { database, look, wake } = deps;
  const { user, batchItem } = userSchemas(deps);
  app.put(
    '/v1/users/:id',
    { config: WRITE, schema: { params: callerIdParams, body: user, response: { 200: UserAnswer } } },
    async ({ caller: { tenantId }, params: { id }, body }) => {
      const { stored, held } = await database.asTenant(tenantId, async (tx) => {
        const [user] = await putUsers(tx, tenantId, [toUser(id, body)]);
        return { stored: user, held: await recheckHeld(tx, tenantId, [id]) };
      });
      if (held > 0) wake();
      return viewUser(found(stored));
    },
  );
  app.post(
    '/v1/users/batch',
    { config: { ...WRITE, batch: true }, schema: { body: BatchBody, response: { 200: BatchAnswer } } },
    async (request, reply) => {
      const { tenantId } = request.caller;
      const items = request.body.map((item) => batchItem.safeParse(item));
      let held = 0;
      const answer = await once(deps.once, request, async (tx) => {
        held = await putParsed(tx, tenantId, items);
        return { status: 200, body: { results: items.map((item) => itemAnswer(item, request.id)) } };
      });
      if (held > 0) wake();
      return sendAnswer(reply, answer);
    },
  );
  app.delete(
    '/v1/users/:id',
    { config: WRITE, schema: { params: callerIdParams } },
    async ({ caller: { tenantId }, params: { id } }, reply) => {
      if (!(await database.asTenant(tenantId, (tx) => eraseUser(tx, { tenantId, id })))) found(undefined);
      look(tenantId, id);
      return reply.code(204).send();
    },
  );
}

type Parsed = ReturnType<ReturnType<typeof userSchemas>['batchItem']['safeParse']>;

/** The last one wins where an id stands twice, as if they had come one after another. Returns how many held deliveries are to be looked at again. */
async function putParsed(tx: Tx, tenantId: string, items: readonly Parsed[]): Promise<number> {
  const byId = new Map(items.flatMap(({ data }) => (data ? [[data.id, toUser(data.id, data)] as const] : [])));
  if (byId.size === 0) return 0;
  await putUsers(tx, tenantId, [...byId.values()]);
  return recheckHeld(tx, tenantId, [...byId.keys()]);
}

function itemAnswer(item: Parsed, instance: string): { id: string } | { error: Problem } {
  return item.success ? { id: item.data.id } : { error: toProblem(invalid(item.error), instance) };
}

function readRoutes(app: App, { database }: UserDeps): void {
  app.get(
    '/v1/users/:id',
    { config: READ, schema: { params: callerIdParams, response: { 200: UserAnswer } } },
    async ({ caller: { tenantId }, params: { id } }) =>
      viewUser(found(await database.asTenant(tenantId, (tx) => getUser(tx, { tenantId, id })))),
  );
  app.get(
    '/v1/users',
    { config: READ, schema: { querystring: z.strictObject(listQuery), response: { 200: page(UserAnswer) } } },
    async ({ caller: { tenantId }, query }) => {
      const { cursor, backward } = directionOf(query);
      const rows = await database.asTenant(tenantId, (tx) => listUsers(tx, { tenantId, cursor, backward, limit: query.limit + 1 }));
      return toDirectedPage(rows, { limit: query.limit, backward }, viewUser, (user) => user.id);
    },
  );
  const list = { params: callerIdParams, querystring: UserNotificationsQuery, response: { 200: page(NotificationSummary) } };
  app.get('/v1/users/:id/notifications', { config: READ, schema: list }, async ({ caller: { tenantId }, params: { id }, query }) =>
    database.asTenant(tenantId, async (tx) => {
      found(await getUser(tx, { tenantId, id }));
      return notificationPage(tx, { tenantId, userId: id, event: null }, query);
    }),
  );
}
