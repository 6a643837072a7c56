/**
 * /api/notifications: what was submitted, under the id that submitting answered. An alias of events of the type `inline`, for
 * clients that think of one notification where we have an event and one notification for each recipient.
 */
import { z } from 'zod';
import type { Tx } from '../../domain/event.ts';
import type { InboxChange } from '../../domain/notification.ts';
import { cancelEvent } from '../../store/cancel.ts';
import type { Database } from '../../store/database.ts';
import { findInlineEvent, hideNotificationsOf, listInlineEvents, markInlineEvent, type InlineEvent } from '../../store/inline-events.ts';
import { idsOfEvent } from '../../store/timeline.ts';
import { EventDetail, EventSummary } from '../activity-schema.ts';
import { Accepted, acceptOne, type DoorDeps } from '../door.ts';
import { eventDetail } from '../event-detail.ts';
import { eventSchemas, type AddressChecks, type ChannelChecks } from '../event-schema.ts';
import { viewEventSummary } from '../event-view.ts';
import { found } from '../found.ts';
import { sendAnswer } from '../idempotency.ts';
import type { App } from '../request.ts';
import { idParams, pageQuery, queryInteger, toWire, wireTime } from '../schema.ts';

export interface AliasDeps extends DoorDeps, AddressChecks, ChannelChecks {
  readonly database: Pick<Database, 'asTenant'>;
  /** After the commit: to this process's streams, and a hint to other processes. */
  readonly published: (changes: readonly InboxChange[]) => void;
}

const WRITE = { auth: { kind: 'key', scope: 'events:write' } } as const;
const READ = { auth: { kind: 'key', scope: 'events:read' } } as const;
const MAX_OFFSET = 100_000;
/** Inboxes that are locked together: nobody waits long for his own. */
const HIDDEN_AT_ONCE = 500;

const content = { subject: z.string().nullable(), body: z.string().nullable(), deleted_at: wireTime.nullable() };
const Item = EventSummary.extend(content);
const Detail = EventDetail.extend(content);
const List = z.object({ data: z.array(Item), limit: z.int(), offset: z.int(), has_more: z.boolean() });
const Query = z.strictObject({
  limit: pageQuery.limit,
  offset: queryInteger(0, MAX_OFFSET).default(0),
  deleted: z.enum(['true', 'false']).default('false').describe('Shows deleted ones too.'),
});

export function notificationAliasRoutes(app: App, deps: AliasDeps): void {
  const { notification } = eventSchemas(deps);
  const submit = { summary: 'Submit a notification', body: notification, response: { 202: Accepted } };
  app.post('/api/notifications', { config: WRITE, schema: submit }, async (request, reply) => {
    const { body, replayed } = await acceptOne(deps, request, request.body);
    return sendAnswer(reply, { status: 202, body, location: `/api/notifications/${body.id}`, replayed });
  });
  readRoutes(app, deps);
  app.delete(
    '/api/notifications/:id',
    { config: WRITE, schema: { summary: 'Delete a notification softly, and send nothing more of it', params: idParams('evt') } },
    async ({ caller: { tenantId }, params: { id } }, reply) => {
      await remove(deps, tenantId, id);
      return reply.code(204).send();
    },
  );
}

function readRoutes(app: App, { database }: AliasDeps): void {
  app.get(
    '/api/notifications',
    { config: READ, schema: { summary: 'List submitted notifications, newest first', querystring: Query, response: { 200: List } } },
    async ({ caller: { tenantId }, query: { limit, offset, deleted } }) => {
      const page = { tenantId, limit: limit + 1, offset, deleted: deleted === 'true' };
      const rows = await database.asTenant(tenantId, (tx) => listInlineEvents(tx, page));
      const data = rows.slice(0, limit).map((row) => ({ ...viewEventSummary(row), ...viewContent(row) }));
      return { data, limit, offset, has_more: rows.length > limit };
    },
  );
  app.get(
    '/api/notifications/:id',
    { config: READ, schema: { summary: 'Read a submitted notification', params: idParams('evt'), response: { 200: Detail } } },
    async ({ caller: { tenantId }, params: { id } }) => database.asTenant(tenantId, (tx) => detail(tx, tenantId, id)),
  );
}

async function detail(tx: Tx, tenantId: string, id: string) {
  const event = found(await findInlineEvent(tx, { tenantId, id }));
  return { ...(await eventDetail(tx, tenantId, event)), ...viewContent(event) };
}

/** What is cut short is finished by asking again: each step may be repeated. */
async function remove({ database, published }: AliasDeps, tenantId: string, id: string): Promise<void> {
  const event = await database.asTenant(tenantId, async (tx) => {
    const marked = found(await markInlineEvent(tx, { tenantId, id }));
    await cancelEvent(tx, { tenantId, id });
    return marked;
  });
  const shown = { tenantId, eventId: id, range: idsOfEvent(event), limit: HIDDEN_AT_ONCE };
  for (let more = true; more; ) {
    const hidden = await database.asTenant(tenantId, (tx) => hideNotificationsOf(tx, shown));
    if (hidden.changes.length > 0) published(hidden.changes);
    ({ more } = hidden);
  }
}

function viewContent({ request: { subject, body }, deletedAt }: InlineEvent): z.output<z.ZodObject<typeof content>> {
  return { subject: subject ?? null, body: body ?? null, deleted_at: toWire(deletedAt) };
}
