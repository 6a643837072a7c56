/** What has left lately, for the page that shows it in development. */
import { bounds } from './arrays.ts';
import { within } from './database.ts';
import type { Tx } from '../domain/event.ts';
import { REASONS } from '../domain/reason.ts';
import type { EntryRecord } from './timeline.ts';

export interface OutboxRow {
  readonly id: string;
  readonly tenantId: string;
  readonly channel: string;
  readonly address: string | null;
  readonly status: number;
  readonly reason: number;
  readonly createdAt: Date;
  readonly subject: string;
  readonly body: string;
  readonly actionUrl: string | null;
  readonly attempts: readonly Pick<EntryRecord, 'at' | 'kind' | 'reason' | 'status' | 'durationMs' | 'detail' | 'response'>[];
}

type DeliveryRow = Omit<OutboxRow, 'subject' | 'body' | 'actionUrl' | 'attempts'> & { readonly notificationId: string };
type ContentRow = Pick<OutboxRow, 'id' | 'subject' | 'body' | 'actionUrl'>;
type AttemptRow = OutboxRow['attempts'][number] & { readonly deliveryId: string };

/** Of all tenants, newest first. */
export async function readOutbox(tx: Tx, limit: number): Promise<OutboxRow[]> {
  const { rows } = await within(tx).query<DeliveryRow>({
    name: 'outbox-deliveries',
    text: `select id, tenant_id as "tenantId", notification_id as "notificationId", channel, address, status, reason, created_at as "createdAt"
             from carillon.deliveries where channel not in ('in_app', '*') and notification_id is not null
              and reason not in (${REASONS.digest_sending.number}, ${REASONS.digested.number}) -- their message is here
            order by id desc limit $1`,
    values: [limit],
  });
  if (rows.length === 0) return [];
  const [contents, attempts] = await Promise.all([
    readContents(
      tx,
      rows.map((row) => row.notificationId),
    ),
    readAttempts(
      tx,
      rows.map((row) => row.id),
    ),
  ]);
  const contentById = new Map(contents.map((content) => [content.id, content]));
  const attemptsById = Map.groupBy(attempts, ({ deliveryId }) => deliveryId);
  return rows.flatMap(({ notificationId, ...row }) => {
    const content = contentById.get(notificationId);
    return content ? [{ ...content, ...row, attempts: attemptsById.get(row.id) ?? [] }] : [];
  });
}

async function readContents(tx: Tx, ids: readonly string[]): Promise<ContentRow[]> {
  const { rows } = await within(tx).query<ContentRow>({
    name: 'outbox-contents',
    text: 'select id, subject, body, action_url as "actionUrl" from carillon.notifications where id = any($1) and id between $2 and $3',
    values: [ids, ...bounds(ids)],
  });
  return rows;
}

async function readAttempts(tx: Tx, ids: readonly string[]): Promise<AttemptRow[]> {
  const { rows } = await within(tx).query<AttemptRow>({
    name: 'outbox-attempts',
    text: `select delivery_id as "deliveryId", at, kind, reason, status, duration_ms as "durationMs", detail, response
             from carillon.attempts where delivery_id = any($1) and delivery_id between $2 and $3 order by delivery_id, number`,
    values: [ids, ...bounds(ids)],
  });
  return rows;
}
