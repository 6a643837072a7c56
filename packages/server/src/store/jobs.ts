/** What a worker needs to send leased deliveries: their content, their event, and the recipient as he is now. */
import type { DeliveryJob } from '../domain/delivery.ts';
import { nameOf } from '../domain/delivery.ts';
import { EVENT_STATES, SEVERITIES, type EventRequest, type Tx } from '../domain/event.ts';
import { bounds } from './arrays.ts';
import { within } from './database.ts';
import type { LeasedRow } from './deliveries.ts';
import { loadRecipients } from './recipients.ts';

interface ContentRow {
  id: string;
  subject: string;
  body: string;
  action_url: string | null;
  severity: number;
  tags: string[];
  metadata: Record<string, unknown>;
}

interface EventContentRow {
  id: string;
  type: string;
  status: number;
  accepted_at: Date;
  data: EventRequest['data'];
  category: string | null;
}

/** In the order of `leased`. A row whose notification or event is gone (erased, dropped) has no job. */
export async function loadJobs(tx: Tx, leased: readonly LeasedRow[], token: string): Promise<DeliveryJob[]> {
  const [contents, events, recipients] = await Promise.all([
    loadContents(tx, [...new Set(leased.map((row) => row.notification_id))]),
    loadEventContents(tx, [...new Set(leased.map((row) => row.event_id))]),
    loadRecipients(
      tx,
      leased.map((row) => ({ tenantId: row.tenant_id, userId: row.user_id })),
    ),
  ]);
  const contentById = new Map(contents.map((row) => [row.id, row]));
  const eventById = new Map(events.map((row) => [row.id, row]));
  const recipientByKey = new Map(recipients.map((row) => [`${row.tenantId}\0${row.id}`, row]));
  return leased.flatMap((row) => {
    const [content, event, recipient] = [
      contentById.get(row.notification_id),
      eventById.get(row.event_id),
      recipientByKey.get(`${row.tenant_id}\0${row.user_id}`),
    ];
    return content && event && recipient ? [toJob(row, { content, event, recipient, token })] : [];
  });
}

function toJob(
  row: LeasedRow,
  { content, event, recipient, token }: { content: ContentRow; event: EventContentRow; recipient: DeliveryJob['recipient']; token: string },
): DeliveryJob {
  return {
    id: row.id,
    tenantId: row.tenant_id,
    eventId: row.event_id,
    notificationId: row.notification_id,
    userId: row.user_id,
    channel: row.channel,
    address: row.address,
    lane: row.lane,
    token,
    attempt: row.attempt_count,
    maxAttempts: row.max_attempts,
    last: row.last_provider === null || row.last_outcome === null ? null : { provider: row.last_provider, outcome: row.last_outcome },
    critical: row.critical,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    event: { type: event.type, category: event.category, acceptedAt: event.accepted_at, data: event.data },
    content: {
      subject: content.subject,
      body: content.body,
      actionUrl: content.action_url,
      severity: nameOf(SEVERITIES, content.severity),
      tags: content.tags,
      metadata: content.metadata,
    },
    recipient,
    queue: row.queue ?? undefined,
    cancelled: row.cancel_requested || event.status === EVENT_STATES.cancelled,
  };
}

async function loadContents(tx: Tx, ids: readonly string[]): Promise<ContentRow[]> {
  const { rows } = await within(tx).query<ContentRow>({
    name: 'jobs-contents',
    text: 'select id, subject, body, action_url, severity, tags, metadata from carillon.notifications where id = any($1) and id between $2 and $3',
    values: [ids, ...bounds(ids)],
  });
  return rows;
}

async function loadEventContents(tx: Tx, ids: readonly string[]): Promise<EventContentRow[]> {
  const { rows } = await within(tx).query<EventContentRow>({
    name: 'jobs-events',
    text: "select id, type, status, accepted_at, request -> 'data' as data, request ->> 'category' as category from carillon.events where id = any($1) and id between $2 and $3",
    values: [ids, ...bounds(ids)],
  });
  return rows;
}
