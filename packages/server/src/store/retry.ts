/** A person's retry of what has failed. */
import type { ChannelName } from '../domain/channel.ts';
import { DELIVERY_STATES as S } from '../domain/delivery.ts';
import type { Tx } from '../domain/event.ts';
import { REASONS } from '../domain/reason.ts';
import type { TenantRow } from './cancel.ts';
import { within } from './database.ts';

/**
 * failed → pending, due at once, or with an ordering key when its turn comes. The attempts made so far stay counted, and a full policy more may follow.
 * False when it is not there, has not failed, was erased, or would expire unsent.
 */
export async function retryDelivery(
  tx: Tx,
  { tenantId, id }: TenantRow,
  attemptsOf: Readonly<Record<ChannelName, number>>,
): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'retry-delivery',
    text: `update carillon.deliveries d
              set status = ${S.pending}, reason = ${REASONS.queued.number}, due_at = case when queue is null then carillon.now() end, finished_at = null, cancel_requested = false,
                  max_attempts = attempt_count + coalesce(
                    (select max_retries + 1 from carillon.destinations t where t.tenant_id = d.tenant_id and t.id = d.destination_id), ($3::json ->> channel)::smallint)
            where id = $1 and tenant_id = $2 and status = ${S.failed} and address is not null and (expires_at is null or expires_at > carillon.now())`,
    values: [id, tenantId, JSON.stringify(attemptsOf)],
  });
  return rowCount === 1;
}
