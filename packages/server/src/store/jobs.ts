/** What a worker needs to send leased deliveries: their content, their event, and the recipient as he is now. */
import { contentOf, type Content } from '../domain/content.ts';
import type { DeliveryJob } from '../domain/delivery.ts';
import { nameOf } from '../domain/delivery.ts';
import { EVENT_STATES, SEVERITIES, type EventRequest, type Tx } from '../domain/event.ts';
import type { Destination } from '../domain/destination.ts';
import type { Vault } from '../lib/crypto.ts';
import { bounds } from './arrays.ts';
import { within } from './database.ts';
import type { LeasedRow } from './deliveries.ts';
import { loadDestinations } from './destinations.ts';
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
  version: string | null;
}

/** In the order of `leased`. A row whose notification or event is gone (erased, dropped) has no job. */
export async function loadJobs(
  tx: Tx,
  leased: readonly LeasedRow[],
  { token, vault }: { token: string; vault: Vault },
): Promise<DeliveryJob[]> {
  const [toUsers, toDestinations] = [leased.filter(isToUser), leased.filter(isToDestination)];
  const [users, destinations] = await Promise.all([
    toUsers.length > 0 ? userJobs(tx, toUsers, token) : [],
    toDestinations.length > 0 ? destinationJobs(tx, toDestinations, { token, vault }) : [],
  ]);
  if (toDestinations.length === 0) return users;
  const byId = new Map([...users, ...destinations].map((job) => [job.id, job]));
  return leased.flatMap(({ id }) => byId.get(id) ?? []);
}

type ToUser = LeasedRow & { readonly notification_id: string; readonly user_id: string };
type ToDestination = LeasedRow & { readonly destination_id: string };

function isToUser(row: LeasedRow): row is ToUser {
  return row.notification_id !== null && row.user_id !== null;
}

function isToDestination(row: LeasedRow): row is ToDestination {
  return row.destination_id !== null;
}

async function userJobs(tx: Tx, leased: readonly ToUser[], token: string): Promise<DeliveryJob[]> {
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
    if (!content || !event || !recipient) return [];
    const { subject, body, action_url: actionUrl, severity, tags, metadata } = content;
    const said = { subject, body, actionUrl, severity: nameOf(SEVERITIES, severity), tags, metadata };
    return [toJob(row, { content: said, event, recipient, destination: null, token })];
  });
}

/** The event's own words: there is no notification. The destination is as it is now; null for one that was deleted. */
async function destinationJobs(
  tx: Tx,
  leased: readonly ToDestination[],
  { token, vault }: { token: string; vault: Vault },
): Promise<DeliveryJob[]> {
  const keys = leased.map((row) => ({ tenantId: row.tenant_id, id: row.destination_id }));
  const [events, destinations] = await Promise.all([
    loadWholeEvents(tx, [...new Set(leased.map((row) => row.event_id))]),
    loadDestinations(tx, vault, keys),
  ]);
  const eventById = new Map(events.map((row) => [row.id, row]));
  return leased.flatMap((row) => {
    const event = eventById.get(row.event_id);
    if (!event) return [];
    const { request, type, severity, tags } = event;
    const content = contentOf({ type, request, severity: nameOf(SEVERITIES, severity), tags });
    const destination = destinations.get(row.destination_id) ?? null;
    return [
      toJob(row, {
        content,
        event: { ...event, data: request.data, category: request.category ?? null },
        recipient: null,
        destination,
        token,
      }),
    ];
  });
}

interface Parts {
  readonly content: Content;
  readonly event: EventContentRow;
  readonly recipient: DeliveryJob['recipient'];
  readonly destination: Destination | null;
  readonly token: string;
}

function toJob(row: LeasedRow, { content, event, recipient, destination, token }: Parts): DeliveryJob {
  return {
    id: row.id,
    tenantId: row.tenant_id,
    eventId: row.event_id,
    notificationId: row.notification_id,
    userId: row.user_id,
    destinationId: row.destination_id,
    destination,
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
    event: { type: event.type, category: event.category, acceptedAt: event.accepted_at, data: event.data, version: event.version },
    content,
    recipient,
    queue: row.queue ?? undefined,
    delayedUntil: row.delayed_until,
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
    text: "select id, type, status, accepted_at, request -> 'data' as data, request ->> 'category' as category, version from carillon.events where id = any($1) and id between $2 and $3",
    values: [ids, ...bounds(ids)],
  });
  return rows;
}

type WholeEventRow = Omit<EventContentRow, 'data' | 'category'> & { severity: number; tags: string[]; request: EventRequest };

async function loadWholeEvents(tx: Tx, ids: readonly string[]): Promise<WholeEventRow[]> {
  const { rows } = await within(tx).query<WholeEventRow>({
    name: 'jobs-whole-events',
    text: 'select id, type, status, accepted_at, severity, tags, request from carillon.events where id = any($1) and id between $2 and $3',
    values: [ids, ...bounds(ids)],
  });
  return rows;
}
