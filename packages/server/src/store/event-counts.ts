/** What became of one event, in numbers. */
import { DELIVERY_STATES } from '../domain/delivery.ts';
import type { AudienceCounts, Tx } from '../domain/event.ts';
import { REASONS } from '../domain/reason.ts';
import { within } from './database.ts';
import type { IdRange } from './timeline.ts';

interface OfEvent {
  readonly tenantId: string;
  /** UUID. */
  readonly id: string;
  readonly range: IdRange;
}

export interface DeliveryCounts {
  readonly byStatus: ReadonlyMap<number, number>;
  /** Those to destinations. */
  readonly destinations: number;
}

export async function countDeliveries(tx: Tx, { tenantId, id, range }: OfEvent): Promise<DeliveryCounts> {
  const { rows } = await within(tx).query<{ status: number; count: number; destinations: number }>({
    name: 'event-counts',
    text: `select status, count(*) as count, count(*) filter (where user_id is null) as destinations from carillon.deliveries
            where event_id = $1 and tenant_id = $2 and id >= $3 and id < $4 group by status`,
    values: [id, tenantId, range.low, range.high],
  });
  return {
    byStatus: new Map(rows.map(({ status, count }) => [status, count])),
    destinations: rows.reduce((sum, row) => sum + row.destinations, 0),
  };
}

/** Of an event whose users are all named: they are few enough to be counted by their rows. */
export async function countUsers(tx: Tx, { tenantId, id, range }: OfEvent): Promise<AudienceCounts> {
  const { rows } = await within(tx).query<AudienceCounts>({
    name: 'event-counts-users',
    text: `select count(*) filter (where kind = 'created') as created, count(*) filter (where kind = 'failed') as failed,
                  count(*) filter (where kind = 'throttled') as throttled, count(*) filter (where kind = 'skipped') as skipped
             from (select case when bool_or(d.status = ${DELIVERY_STATES.skipped} and d.reason in (${REASONS.template_failed.number}, ${REASONS.decision_failed.number})) then 'failed'
                               when bool_or(d.notification_id is not null) then 'created'
                               when bool_or(d.reason = ${REASONS.throttled.number}) then 'throttled' else 'skipped' end as kind
                     from carillon.deliveries d
                    where d.event_id = $1 and d.tenant_id = $2 and d.id >= $3 and d.id < $4 and d.user_id is not null
                    group by d.user_id) as users`,
    values: [id, tenantId, range.low, range.high],
  });
  return rows[0] ?? { created: 0, failed: 0, throttled: 0, skipped: 0 };
}
