/** Topics: named sets of users that an event can address. */
import { z } from 'zod';
import type { Tx } from '../../domain/event.ts';
import type { Database } from '../../store/database.ts';
import {
  deleteTopic,
  getTopic,
  listSubscriptions,
  listTopics,
  subscribe,
  unsubscribe,
  type Subscription,
  type Topic,
} from '../../store/topics.ts';
import { getUser } from '../../store/users.ts';
import { found } from '../found.ts';
import { once, sendAnswer, type OnceDeps } from '../idempotency.ts';
import { directionOf, listQuery, toDirectedPage } from '../paging.ts';
import type { App } from '../request.ts';
import { callerId, callerIdParams, page, toWire, wireTime } from '../schema.ts';

export interface TopicDeps {
  readonly database: Pick<Database, 'asTenant'>;
  readonly once: OnceDeps;
  /** Makes users not seen before, where the installation wants that. */
  readonly mention: (tx: Tx, users: readonly { readonly tenantId: string; readonly userId: string }[]) => Promise<void>;
}

const WRITE = { auth: { kind: 'key', scope: 'users:write' } } as const;
const READ = { auth: { kind: 'key', scope: 'users:read' } } as const;
const MAX_USERS = 1_000;
const Users = z.strictObject({ user_ids: z.array(callerId).min(1).max(MAX_USERS) });
const TopicItem = z.object({ id: z.string(), created_at: wireTime });
const SubscriptionItem = z.object({ topic_id: z.string(), user_id: z.string(), created_at: wireTime });
const one = z.strictObject({ id: callerId, user_id: callerId });
const list = { params: callerIdParams, querystring: z.strictObject(listQuery), response: { 200: page(SubscriptionItem) } };

export function topicRoutes(app: App, deps: TopicDeps): void {
  topics(app, deps);
  subscriptions(app, deps);
  batches(app, deps);
  lists(app, deps);
}

function topics(app: App, { database }: TopicDeps): void {
  app.get(
    '/v1/topics',
    { config: READ, schema: { querystring: z.strictObject(listQuery), response: { 200: page(TopicItem) } } },
    async ({ caller: { tenantId }, query }) => {
      const { cursor, backward } = directionOf(query);
      const rows = await database.asTenant(tenantId, (tx) => listTopics(tx, { tenantId, cursor, backward, limit: query.limit + 1 }));
      return toDirectedPage(rows, { limit: query.limit, backward }, viewTopic, ({ id }) => id);
    },
  );
  app.get(
    '/v1/topics/:id',
    { config: READ, schema: { params: callerIdParams, response: { 200: TopicItem.extend({ subscribers: z.int() }) } } },
    async ({ caller: { tenantId }, params: { id } }) => {
      const topic = found(await database.asTenant(tenantId, (tx) => getTopic(tx, { tenantId, id })));
      return { ...viewTopic(topic), subscribers: topic.subscribers };
    },
  );
  app.delete(
    '/v1/topics/:id',
    { config: WRITE, schema: { description: 'Its subscriptions go with it.', params: callerIdParams } },
    async ({ caller: { tenantId }, params: { id } }, reply) => {
      found((await database.asTenant(tenantId, (tx) => deleteTopic(tx, { tenantId, id }))) || undefined);
      return reply.code(204).send();
    },
  );
}

function subscriptions(app: App, { database, mention }: TopicDeps): void {
  app.put(
    '/v1/topics/:id/subscriptions/:user_id',
    { config: WRITE, schema: { description: 'Makes the topic when it is new.', params: one, response: { 200: SubscriptionItem } } },
    async ({ caller: { tenantId }, params: { id, user_id: userId } }) => {
      const made = await database.asTenant(tenantId, async (tx) => {
        await mention(tx, [{ tenantId, userId }]);
        const [subscription] = await subscribe(tx, { tenantId, id }, [userId]);
        return found(subscription); // and the topic is not made for a user that is not there
      });
      return view(made);
    },
  );
  app.delete(
    '/v1/topics/:id/subscriptions/:user_id',
    { config: WRITE, schema: { params: one } },
    async ({ caller: { tenantId }, params: { id, user_id: userId } }, reply) => {
      const ended = await database.asTenant(tenantId, (tx) => unsubscribe(tx, { tenantId, id }, [userId]));
      found(ended > 0 ? true : undefined);
      return reply.code(204).send();
    },
  );
}

function batches(app: App, deps: TopicDeps): void {
  const Subscribed = z.object({
    subscribed: z.int(),
    unknown: z.array(z.string()).describe('Users that are not there: they were passed over.'),
  });
  app.post(
    '/v1/topics/:id/subscribe',
    { config: { ...WRITE, batch: true }, schema: { params: callerIdParams, body: Users, response: { 200: Subscribed } } },
    async (request, reply) => {
      const { tenantId } = request.caller;
      const userIds = [...new Set(request.body.user_ids)];
      const answer = await once(deps.once, request, async (tx) => {
        await deps.mention(
          tx,
          userIds.map((userId) => ({ tenantId, userId })),
        );
        const made = new Set((await subscribe(tx, { tenantId, id: request.params.id }, userIds)).map(({ userId }) => userId));
        return { status: 200, body: { subscribed: made.size, unknown: userIds.filter((id) => !made.has(id)) } };
      });
      return sendAnswer(reply, answer);
    },
  );
  app.post(
    '/v1/topics/:id/unsubscribe',
    {
      config: { ...WRITE, batch: true },
      schema: { params: callerIdParams, body: Users, response: { 200: z.object({ unsubscribed: z.int() }) } },
    },
    async (request, reply) => {
      const { tenantId } = request.caller;
      const key = { tenantId, id: request.params.id };
      const answer = await once(deps.once, request, async (tx) => {
        found(await getTopic(tx, key));
        return { status: 200, body: { unsubscribed: await unsubscribe(tx, key, request.body.user_ids) } };
      });
      return sendAnswer(reply, answer);
    },
  );
}

function lists(app: App, { database }: TopicDeps): void {
  app.get('/v1/topics/:id/subscriptions', { config: READ, schema: list }, async ({ caller: { tenantId }, params: { id }, query }) =>
    database.asTenant(tenantId, async (tx) => {
      found(await getTopic(tx, { tenantId, id }));
      const { cursor, backward } = directionOf(query);
      const rows = await listSubscriptions(tx, { tenantId, cursor, backward, limit: query.limit + 1, of: { topicId: id } });
      return toDirectedPage(rows, { limit: query.limit, backward }, view, ({ userId }) => userId);
    }),
  );
  app.get('/v1/users/:id/topics', { config: READ, schema: list }, async ({ caller: { tenantId }, params: { id }, query }) =>
    database.asTenant(tenantId, async (tx) => {
      found(await getUser(tx, { tenantId, id }));
      const { cursor, backward } = directionOf(query);
      const rows = await listSubscriptions(tx, { tenantId, cursor, backward, limit: query.limit + 1, of: { userId: id } });
      return toDirectedPage(rows, { limit: query.limit, backward }, view, ({ topicId }) => topicId);
    }),
  );
}

function viewTopic({ id, createdAt }: Topic): z.output<typeof TopicItem> {
  return { id, created_at: toWire(createdAt) };
}

function view({ topicId, userId, createdAt }: Subscription): z.output<typeof SubscriptionItem> {
  return { topic_id: topicId, user_id: userId, created_at: toWire(createdAt) };
}
