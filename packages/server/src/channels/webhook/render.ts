/** The body of a webhook. Pure: the same bytes on every attempt. */
import type { Telling } from '../../domain/channel.ts';

/** As JSON. Sign and send exactly these characters, as UTF-8. What is absent goes out as null, so that receivers see one shape. */
export function renderWebhook(telling: Telling): string {
  return JSON.stringify({
    type: telling.type,
    timestamp: telling.acceptedAt.toISOString(),
    data: {
      event_id: telling.eventId,
      notification_id: telling.notificationId,
      user_id: telling.userId,
      subject: telling.subject,
      body: telling.body,
      severity: telling.severity,
      tags: telling.tags,
      action_url: telling.actionUrl,
      metadata: telling.metadata,
      data: telling.data,
    },
  });
}
