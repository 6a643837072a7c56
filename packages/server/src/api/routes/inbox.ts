/** The end user's side: what is in the inbox, what becomes of it, and what may be sent. */
import { z } from 'zod';
import { CarillonError } from '../../domain/error.ts';
import type { Tx } from '../../domain/event.ts';
import type { InboxChange } from '../../domain/notification.ts';
import { NO_PREFERENCES } from '../../domain/preference.ts';
import { publicId } from '../../lib/id.ts';
import { wireItem } from '../../realtime/frames.ts';
import { seeUser } from '../../store/activity.ts';
import { changeItem, readAll, type InboxVerb, type ItemChange } from '../../store/inbox-changes.ts';
import { INBOX_STATUSES, inboxState, listInbox } from '../../store/inbox.ts';
import type { UserCaller } from '../auth.ts';
import { addCors, addPreflight } from '../cors.ts';
import { once, sendAnswer, type OnceDeps } from '../idempotency.ts';
import { listQuery, typeIdDirectionOf } from '../paging.ts';
import { preferencesSchema } from '../preference-schema.ts';
import { readPreferences, replacePreferences, type PreferenceDeps } from '../preferences.ts';
import type { App } from '../request.ts';
import { callerId, callerIdParams, idParams, page, queryInteger, queryList, toCursor, wireTime } from '../schema.ts';
import { DEFAULT_TTL_S, MAX_TTL_S, type UserTokens } from '../user-token.ts';
import { streamRoutes, type StreamDeps } from './inbox-stream.ts';

export interface InboxDeps extends StreamDeps {
  readonly preferences: PreferenceDeps;
  readonly once: OnceDeps;
  readonly tokens: UserTokens;
  /** After the commit: to this process's streams, and a hint to other processes. */
  readonly published: (changes: readonly InboxChange[]) => void;
  /** Whether minting a token creates a user not seen before (`users.create`). */
  readonly createUsers: boolean;
}

const MAX_OFFSET = 1_000_000;
const VERBS = ['read', 'unread', 'archive', 'click'] as const satisfies readonly InboxVerb[];
const USER = { auth: { kind: 'user' } } as const;

const Token = z.object({ token: z.string().optional().describe('Absent when the request was a repeat.'), expires_at: wireTime });
const Counts = { unread_count: z.int(), total: z.int(), sequence: z.int().describe('As of which number of the stream this is.') };
const Item = z.object({
  id: z.string(),
  event_id: z.string(),
  sequence: z.int(),
  type: z.string(),
  subject: z.string(),
  body: z.string(),
  severity: z.string(),
  tags: z.array(z.string()),
  action_url: z.string().nullable(),
  metadata: z.record(z.string(), z.unknown()),
  created_at: wireTime,
  read_at: wireTime.nullable(),
  clicked_at: wireTime.nullable(),
  archived_at: wireTime.nullable(),
  deleted_at: wireTime.nullable(),
});
const Query = z.strictObject({
  ...listQuery,
  offset: queryInteger(0, MAX_OFFSET).default(0),
  status: z.enum(INBOX_STATUSES).default('all'),
  include_tags: queryList(callerId).default([]).describe('At least one of them.'),
  exclude_tags: queryList(callerId).default([]).describe('None of them; wins over `include_tags`.'),
  tag_prefix: callerId.optional(),
});

export function inboxRoutes(app: App, deps: InboxDeps): void {
  tokenRoute(app, deps);
  // A scope of its own, so that other routes don't answer pages of other origins.
  void app.register((scope, _options, done) => {
    const inbox = scope as App;
    const origins = new Set(deps.corsOrigins);
    addCors(inbox, origins);
    readingRoutes(inbox, deps);
    changingRoutes(inbox, deps);
    preferenceRoutes(inbox, deps);
    streamRoutes(inbox, deps);
    for (const [path, methods] of PATHS) addPreflight(inbox, origins, path, methods);
    done();
  });
}

const PATHS: readonly (readonly [path: string, methods: readonly string[]])[] = [
  ['/v1/inbox', ['GET']],
  ['/v1/inbox/unread-count', ['GET']],
  ['/v1/inbox/read-all', ['POST']],
  ['/v1/inbox/preferences', ['GET', 'PUT']],
  ['/v1/inbox/stream', ['GET']],
  ['/v1/inbox/stream-ticket', ['POST']],
  ['/v1/inbox/:id', ['DELETE']],
  ...VERBS.map((verb) => [`/v1/inbox/:id/${verb}`, ['POST']] as const),
];

function tokenRoute(app: App, { once: onceDeps, tokens, createUsers }: InboxDeps): void {
  const Body = z
    .strictObject({ ttl_seconds: z.int().min(1).max(MAX_TTL_S).default(DEFAULT_TTL_S) })
    .default({ ttl_seconds: DEFAULT_TTL_S });
  const schema = { params: callerIdParams, body: Body, response: { 201: Token } };
  app.post('/v1/users/:id/token', { config: { auth: { kind: 'key', scope: 'users:write' } }, schema }, async (request, reply) => {
    const { tenantId } = request.caller;
    const userId = request.params.id;
    const answer = await once<z.infer<typeof Token>>(onceDeps, request, async (tx) => {
      if (!(await seeUser(tx, { tenantId, userId, create: createUsers }))) throw notFound();
      const { token, expiresAt } = await tokens.mint({ tenantId, userId, ttlSeconds: request.body.ttl_seconds });
      const replayBody = { expires_at: expiresAt.toISOString() };
      return { status: 201, body: { token, ...replayBody }, replayBody };
    });
    return sendAnswer(reply, answer);
  });
}

function readingRoutes(app: App, { database }: InboxDeps): void {
  const schema = { querystring: Query, response: { 200: page(Item).extend(Counts) } };
  app.get('/v1/inbox', { config: USER, schema }, async ({ user: { tenantId, userId }, query }) => {
    const filter = {
      status: query.status,
      includeTags: query.include_tags,
      excludeTags: query.exclude_tags,
      tagPrefix: query.tag_prefix ?? null,
    };
    const { cursor, backward } = typeIdDirectionOf('ntf', query);
    const paging = { limit: query.limit, offset: query.offset, cursor, forward: backward };
    const { items, total, hasMore, unread, sequence } = await database.asTenant(tenantId, (tx) =>
      listInbox(tx, { tenantId, userId, ...filter, ...paging }),
    );
    const last = items.at(-1);
    const inOrder = backward ? items.toReversed() : items;
    return {
      data: inOrder.map((item) => ({ ...wireItem(item), tags: [...item.tags], metadata: { ...item.metadata } })),
      has_more: hasMore,
      next_cursor: hasMore && last ? toCursor([publicId('ntf', last.id)]) : null,
      total,
      unread_count: unread,
      sequence,
    };
  });

  app.get(
    '/v1/inbox/unread-count',
    { config: USER, schema: { response: { 200: z.object(Counts) } } },
    async ({ user: { tenantId, userId } }) => {
      const { unread, total, sequence } = await database.asTenant(tenantId, (tx) => inboxState(tx, { tenantId, userId }));
      return { unread_count: unread, total, sequence };
    },
  );
}

function changingRoutes(app: App, deps: InboxDeps): void {
  const schema = { params: idParams('ntf'), response: { 200: Item.extend(Counts) } };
  for (const verb of VERBS) {
    app.post(`/v1/inbox/:id/${verb}`, { config: USER, schema }, async (request, reply) => {
      let done: ItemChange | undefined;
      const answer = await once(deps.once, request, async (tx) => {
        done = await change(tx, request.user, request.params.id, verb);
        return { status: 200, body: changeBody(done) };
      });
      announce(deps, request.user, done);
      return sendAnswer(reply, answer);
    });
  }

  app.delete('/v1/inbox/:id', { config: USER, schema }, async ({ user, params }) => {
    const done = await deps.database.asTenant(user.tenantId, (tx) => change(tx, user, params.id, 'delete'));
    announce(deps, user, done);
    return changeBody(done);
  });

  app.post(
    '/v1/inbox/read-all',
    { config: USER, schema: { response: { 200: z.object({ changed: z.int(), ...Counts }) } } },
    async (request, reply) => {
      const { tenantId, userId } = request.user;
      let published: InboxChange | undefined;
      const answer = await once(deps.once, request, async (tx) => {
        const { changed, counts } = await readAll(tx, { tenantId, userId });
        const { unread, total, sequence } = counts;
        // Without the items: the streams ask for them, once for all of the user's.
        published = changed === 0 ? undefined : { tenantId, userId, items: [], ...counts };
        return { status: 200, body: { changed, unread_count: unread, total, sequence } };
      });
      if (published) deps.published([published]);
      return sendAnswer(reply, answer);
    },
  );
}

async function change(tx: Tx, { tenantId, userId }: UserCaller, id: string, verb: InboxVerb): Promise<ItemChange> {
  const done = await changeItem(tx, { tenantId, userId, id, verb });
  if (!done) throw notFound();
  return done;
}

/** The item as of the inbox's number, so that what the stream said later wins over it. */
function changeBody({ item, counts }: ItemChange) {
  return {
    ...wireItem(item),
    tags: [...item.tags],
    metadata: { ...item.metadata },
    unread_count: counts.unread,
    total: counts.total,
    sequence: counts.sequence,
  };
}

function announce({ published }: InboxDeps, { tenantId, userId }: UserCaller, done: ItemChange | undefined): void {
  if (done?.changed) published([{ tenantId, userId, items: [done.item], ...done.counts }]);
}

function preferenceRoutes(app: App, { database, preferences }: InboxDeps): void {
  const Preferences = preferencesSchema(preferences.channels, preferences);
  const response = { 200: Preferences };
  app.get('/v1/inbox/preferences', { config: USER, schema: { response } }, async ({ user: { tenantId, userId } }) => {
    const stored = await database.asTenant(tenantId, (tx) => readPreferences(preferences, tx, { tenantId, id: userId }));
    return stored ?? NO_PREFERENCES;
  });

  app.put(
    '/v1/inbox/preferences',
    { config: USER, schema: { body: Preferences, response } },
    async ({ user: { tenantId, userId }, body }) => replacePreferences(preferences, { tenantId, id: userId }, body),
  );
}

function notFound(): CarillonError {
  return new CarillonError('not_found', 'There is nothing with this id.');
}
