/** Deliveries: one notification on one channel to one address. */
import type { ChannelName } from '../../domain/channel.ts';
import { CarillonError } from '../../domain/error.ts';
import { DELIVERY_STATES } from '../../domain/delivery.ts';
import type { Tx } from '../../domain/event.ts';
import { parseId } from '../../lib/id.ts';
import type { Database } from '../../store/database.ts';
import { retryDigest } from '../../store/digest-outcomes.ts';
import { retryDelivery } from '../../store/retry.ts';
import { entriesOf, findDelivery, listDeliveries } from '../../store/timeline.ts';
import { DeliveriesQuery, Delivery, DeliveryDetail } from '../activity-schema.ts';
import { viewDelivery } from '../event-view.ts';
import { eventNamed, found } from '../found.ts';
import { once, sendAnswer, type OnceDeps } from '../idempotency.ts';
import { contentOf, rangeOf, toDirectedPage, toldOf, uuidDirectionOf } from '../paging.ts';
import type { App } from '../request.ts';
import { idParams, page } from '../schema.ts';
import { ofDelivery } from '../timeline-view.ts';

export interface DeliveryDeps {
  readonly database: Pick<Database, 'asTenant'>;
  readonly once: OnceDeps;
  /** The policy of each channel: so many attempts more after a person's retry. */
  readonly attemptsOf: Readonly<Record<ChannelName, number>>;
  /** After the commit: something is due now. */
  readonly wakeWorker: () => void;
}

const WRITE = { auth: { kind: 'key', scope: 'events:write' } } as const;
const READ = { auth: { kind: 'key', scope: 'events:read' } } as const;

export function deliveryRoutes(app: App, deps: DeliveryDeps): void {
  const { database } = deps;
  app.get(
    '/v1/deliveries',
    { config: READ, schema: { querystring: DeliveriesQuery, response: { 200: page(Delivery) } } },
    async ({ caller: { tenantId }, query }) => {
      const { cursor, backward } = uuidDirectionOf(query);
      const rows = await database.asTenant(tenantId, async (tx) => {
        const event = query.event_id === undefined ? null : await eventNamed(tx, tenantId, query.event_id);
        const range = event?.range ?? rangeOf(query);
        return listDeliveries(tx, {
          tenantId,
          cursor,
          forward: backward,
          limit: query.limit + 1,
          range,
          eventId: event?.id ?? null,
          ...contentOf(query),
          ...toldOf(query),
          destinationId: query.destination_id === undefined ? null : found(parseId('dst', query.destination_id)),
          status: query.status === undefined ? null : DELIVERY_STATES[query.status],
          destinations: false,
        });
      });
      return toDirectedPage(rows, { limit: query.limit, backward }, viewDelivery, (row) => row.id);
    },
  );
  app.get(
    '/v1/deliveries/:id',
    { config: READ, schema: { params: idParams('dlv'), response: { 200: DeliveryDetail } } },
    async ({ caller: { tenantId }, params: { id } }) => database.asTenant(tenantId, (tx) => detail(tx, tenantId, id)),
  );
  retryRoute(app, deps);
}

async function detail(tx: Tx, tenantId: string, id: string) {
  const delivery = found(await findDelivery(tx, { tenantId, id }));
  return { ...viewDelivery(delivery), timeline: ofDelivery(delivery, await entriesOf(tx, tenantId, [id])) };
}

function retryRoute(app: App, { once: onceDeps, attemptsOf, wakeWorker }: DeliveryDeps): void {
  app.post(
    '/v1/deliveries/:id/retry',
    { config: WRITE, schema: { params: idParams('dlv'), response: { 202: Delivery } } },
    async (request, reply) => {
      const delivery = { tenantId: request.caller.tenantId, id: request.params.id };
      const answer = await once(onceDeps, request, async (tx) => {
        const retried = await retryDelivery(tx, delivery, attemptsOf);
        if (retried) await retryDigest(tx, { tenantId: delivery.tenantId, deliveryId: delivery.id });
        const body = viewDelivery(found(await findDelivery(tx, delivery)));
        if (!retried)
          throw new CarillonError(
            'conflict',
            `Only what has failed, still has its address and has not expired can be tried again; this is ${body.status}.`,
          );
        return { status: 202, body };
      });
      if (!answer.replayed) wakeWorker();
      return sendAnswer(reply, answer);
    },
  );
}
