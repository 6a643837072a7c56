/** What is said about an event: the words of its producer, or those of every event. */
import type { CarillonEvent, Severity } from './event.ts';

export interface Content {
  readonly subject: string;
  readonly body: string;
  readonly actionUrl: string | null;
  readonly severity: Severity;
  readonly tags: readonly string[];
  readonly metadata: Readonly<Record<string, unknown>>;
}

export function contentOf({ type, request, severity, tags }: Pick<CarillonEvent, 'type' | 'request' | 'severity' | 'tags'>): Content {
  return {
    subject: request.subject ?? (request.body === undefined ? `Notification: ${type}` : ''),
    body: request.body ?? (request.subject === undefined ? `Event: ${type}` : ''),
    actionUrl: request.action_url ?? null,
    severity,
    tags,
    metadata: request.metadata ?? {},
  };
}
