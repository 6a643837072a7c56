/** Notifications: tell these people this; what became of it; take it back. */
import type { Tx } from '../../domain/event.ts';
import type { InboxChange } from '../../domain/notification.ts';
import { cancelNotification, hideNotification, type TenantRow } from '../../store/cancel.ts';
import type { Database } from '../../store/database.ts';
import { changeItem } from '../../store/inbox-changes.ts';
import { deliveriesOf, entriesOf, findEvent, findNotification, type NotificationRecord } from '../../store/timeline.ts';
import { Cancelled, NotificationDetail, NotificationsQuery, NotificationSummary } from '../activity-schema.ts';
import { acceptBatch, Accepted, acceptOne, BatchAnswer, BatchBody, type DoorDeps } from '../door.ts';
import { eventSchemas, type AddressChecks, type ChannelChecks } from '../event-schema.ts';
import { viewCancel, viewNotification } from '../event-view.ts';
import { eventNamed, found } from '../found.ts';
import { once, sendAnswer, type OnceDeps } from '../idempotency.ts';
import { notificationPage } from '../notification-list.ts';
import type { App } from '../request.ts';
import { idParams, page, toWire } from '../schema.ts';
import { viewTimeline } from '../timeline-view.ts';

export interface NotificationDeps extends DoorDeps, AddressChecks, ChannelChecks {
  readonly database: Pick<Database, 'asTenant'>;
  readonly once: OnceDeps;
  /** After the commit: to this process's streams, and a hint to other processes. */
  readonly published: (changes: readonly InboxChange[]) => void;
}

const WRITE = { auth: { kind: 'key', scope: 'events:write' } } as const;
const READ = { auth: { kind: 'key', scope: 'events:read' } } as const;

export function notificationRoutes(app: App, deps: NotificationDeps): void {
  acceptRoutes(app, deps);
  readRoutes(app, deps);
  takeBackRoutes(app, deps);
}

function acceptRoutes(app: App, deps: NotificationDeps): void {
  const { notification } = eventSchemas(deps);
  app.post('/v1/notifications', { config: WRITE, schema: { body: notification, response: { 202: Accepted } } }, async (request, reply) => {
    const { body, replayed } = await acceptOne(deps, request, request.body);
    return sendAnswer(reply, { status: 202, body, location: `/v1/events/${body.id}`, replayed });
  });
  app.post(
    '/v1/notifications/batch',
    { config: { ...WRITE, batch: true }, schema: { body: BatchBody, response: { 202: BatchAnswer } } },
    async (request, reply) => {
      const { body, replayed } = await acceptBatch(deps, request, request.body, notification);
      return sendAnswer(reply, { status: 202, body, replayed });
    },
  );
}

function readRoutes(app: App, { database }: NotificationDeps): void {
  const list = { querystring: NotificationsQuery, response: { 200: page(NotificationSummary) } };
  app.get('/v1/notifications', { config: READ, schema: list }, async ({ caller: { tenantId }, query }) =>
    database.asTenant(tenantId, async (tx) => {
      const event = query.event_id === undefined ? null : await eventNamed(tx, tenantId, query.event_id);
      return notificationPage(tx, { tenantId, userId: query.user ?? null, event }, query);
    }),
  );
  app.get(
    '/v1/notifications/:id',
    { config: READ, schema: { params: idParams('ntf'), response: { 200: NotificationDetail } } },
    async ({ caller: { tenantId }, params: { id } }) =>
      database.asTenant(tenantId, async (tx) => detail(tx, tenantId, found(await findNotification(tx, { tenantId, id })))),
  );
}

async function detail(tx: Tx, tenantId: string, notification: NotificationRecord) {
  const [event, deliveries] = await Promise.all([
    findEvent(tx, { tenantId, id: notification.eventId }),
    deliveriesOf(tx, tenantId, [notification]),
  ]);
  const entries = await entriesOf(
    tx,
    tenantId,
    deliveries.map(({ id }) => id),
  );
  return {
    ...viewNotification(notification, deliveries),
    scheduled_for: toWire(event?.scheduledFor ?? null),
    max_retries: event?.request.max_retries ?? null,
    timeline: viewTimeline({ event: event ?? null, notification, deliveries, entries }),
  };
}

function takeBackRoutes(app: App, { database, once: onceDeps, published }: NotificationDeps): void {
  app.post(
    '/v1/notifications/:id/cancel',
    { config: WRITE, schema: { params: idParams('ntf'), response: { 200: Cancelled } } },
    async (request, reply) => {
      const notification = { tenantId: request.caller.tenantId, id: request.params.id };
      const answer = await once(onceDeps, request, async (tx) => ({
        status: 200,
        body: viewCancel(found(await cancelNotification(tx, notification))),
      }));
      return sendAnswer(reply, answer);
    },
  );
  app.delete(
    '/v1/notifications/:id',
    { config: WRITE, schema: { params: idParams('ntf') } },
    async ({ caller: { tenantId }, params: { id } }, reply) => {
      const changes = await database.asTenant(tenantId, (tx) => hide(tx, { tenantId, id }));
      published(changes);
      return reply.code(204).send();
    },
  );
}

/** Out of the inbox, with its counts and a number when it was there, and nothing of it is sent any more. May be repeated. */
async function hide(tx: Tx, { tenantId, id }: TenantRow): Promise<InboxChange[]> {
  const { userId } = found(await findNotification(tx, { tenantId, id }));
  const change = await changeItem(tx, { tenantId, userId, id, verb: 'delete' });
  await hideNotification(tx, { tenantId, id });
  await cancelNotification(tx, { tenantId, id });
  return change?.changed ? [{ tenantId, userId, items: [change.item], ...change.counts }] : [];
}
