/** What a stream says, as text/event-stream (WHATWG HTML, 9.2). The lists of the API show items in the same shape. */
import type { InboxItem } from '../domain/notification.ts';
import { publicId } from '../lib/id.ts';

/** An inbox item on the wire. Times are RFC 3339, UTC. */
export interface WireItem {
  readonly id: string;
  readonly event_id: string;
  readonly sequence: number;
  readonly type: string;
  readonly subject: string;
  readonly body: string;
  readonly severity: string;
  readonly tags: readonly string[];
  readonly action_url: string | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly created_at: string;
  readonly read_at: string | null;
  readonly clicked_at: string | null;
  readonly archived_at: string | null;
  readonly deleted_at: string | null;
}

export function wireItem(item: InboxItem): WireItem {
  return {
    id: publicId('ntf', item.id),
    event_id: publicId('evt', item.eventId),
    sequence: item.sequence,
    type: item.type,
    subject: item.subject,
    body: item.body,
    severity: item.severity,
    tags: item.tags,
    action_url: item.actionUrl,
    metadata: item.metadata,
    created_at: item.createdAt.toISOString(),
    read_at: wireTime(item.readAt),
    clicked_at: wireTime(item.clickedAt),
    archived_at: wireTime(item.archivedAt),
    deleted_at: wireTime(item.deletedAt),
  };
}

function wireTime(time: Date | null): string | null {
  return time === null ? null : time.toISOString();
}

/** `notification` for what is new to the reader, whose picture was whole as of the number `known`; else `update`. */
export function itemFrame(item: InboxItem, known: number): string {
  const event = item.createdSequence > known ? 'notification' : 'update';
  return `event: ${event}\nid: ${item.sequence}\ndata: ${JSON.stringify(wireItem(item))}\n\n`;
}

/** Without an id: counts are not something to resume from. */
export function countsFrame({ unread, total }: { unread: number; total: number }): string {
  return `event: counts\ndata: ${JSON.stringify({ unread_count: unread, total })}\n\n`;
}

/** Sets the reader's last event id and, having no data, reaches no handler. */
export function positionFrame(sequence: number): string {
  return `id: ${sequence}\n\n`;
}

/** What was missed can't be told one by one: load the list again. */
export function resyncFrame(sequence: number): string {
  return `event: resync\nid: ${sequence}\ndata: ${JSON.stringify({ sequence })}\n\n`;
}

export function retryFrame(ms: number): string {
  return `retry: ${Math.round(ms)}\n\n`;
}

/** A comment, so that nothing in between takes the connection for dead. */
export const HEARTBEAT_FRAME = ':\n\n';
