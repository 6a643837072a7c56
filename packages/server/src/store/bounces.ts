/** What came back of a delivery, in its timeline. Its state stays: it was handed over, and nothing changes that. */
import { ENTRY_KINDS } from '../domain/delivery.ts';
import type { Tx } from '../domain/event.ts';
import { REASONS, type ReasonCode } from '../domain/reason.ts';
import { within } from './database.ts';

export interface ReportedDelivery {
  readonly id: string;
  readonly tenantId: string;
  readonly channel: string;
  /** Null once its user has been erased. */
  readonly address: string | null;
}

/** `tenantId` null: of any tenant, for an operator. */
export async function findReported(
  tx: Tx,
  { id, tenantId }: { id: string; tenantId: string | null },
): Promise<ReportedDelivery | undefined> {
  const { rows } = await within(tx).query<ReportedDelivery>({
    name: 'bounces-find',
    text: `select d.id, d.tenant_id as "tenantId", d.channel, d.address from carillon.deliveries d
            where d.id = $1 and ($2::text is null or d.tenant_id = $2) limit 1`,
    values: [id, tenantId],
  });
  return rows[0];
}

/** A report that comes twice is noted once. */
export async function noteReport(
  tx: Tx,
  { id, tenantId, reason, detail }: { id: string; tenantId: string; reason: ReasonCode; detail: string | null },
): Promise<void> {
  await within(tx).query({
    name: 'bounces-note',
    text: `with noted as (
             update carillon.deliveries d set entry_count = d.entry_count + 1
              where d.id = $1 and d.tenant_id = $2
                and not exists (select from carillon.attempts a
                                 where a.delivery_id = $1 and a.tenant_id = $2 and a.kind = ${ENTRY_KINDS.report} and a.reason = $3 and a.detail is not distinct from $4)
          returning d.id, d.tenant_id, d.entry_count
           )
           insert into carillon.attempts (delivery_id, number, tenant_id, kind, at, reason, detail)
           select id, entry_count, tenant_id, ${ENTRY_KINDS.report}, carillon.now(), $3, $4 from noted`,
    values: [id, tenantId, REASONS[reason].number, detail],
  });
}
