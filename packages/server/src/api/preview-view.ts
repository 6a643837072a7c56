/** What would become of an event, as it is answered. Pure. */
import type { NewDelivery } from '../domain/delivery.ts';
import type { CarillonEvent } from '../domain/event.ts';
import type { NewNotification } from '../domain/notification.ts';
import type { Layer } from '../domain/preference.ts';
import { publicId } from '../lib/id.ts';
import { viewExplained } from './preferences.ts';
import { toWire } from './schema.ts';

export interface PreviewedDelivery {
  readonly row: NewDelivery;
  /** Who has said it in the preferences. */
  readonly layer: Layer | null;
  /** As its channel's renderer made it; null where there is none. */
  readonly content: unknown;
  /** What its templates missed, or why they made nothing. */
  readonly warnings: readonly string[];
}

export interface Previewed {
  readonly recipientCount: number;
  readonly recipients: readonly {
    readonly userId: string;
    readonly notification: NewNotification | undefined;
    readonly deliveries: readonly PreviewedDelivery[];
  }[];
  readonly destinations: readonly (PreviewedDelivery & { readonly name: string })[];
}

export function viewPreview(event: CarillonEvent, { recipientCount, recipients, destinations }: Previewed) {
  const { type, version, severity, tags, dueAt, expiresAt, request } = event;
  return {
    type,
    version,
    at: toWire(dueAt),
    expires_at: toWire(expiresAt),
    severity,
    tags: [...tags],
    category: request.category ?? null,
    critical: request.critical ?? false,
    data: { ...request.data },
    action_url: request.action_url ?? null,
    warnings: [...(request.warnings ?? [])],
    recipient_count: recipientCount,
    truncated: recipients.length < recipientCount,
    recipients: recipients.map(({ userId, notification, deliveries }) => ({
      user_id: userId,
      subject: notification?.subject ?? null,
      body: notification?.body ?? null,
      warnings: [...(notification?.warnings ?? [])],
      channels: deliveries.map(viewForeseen),
    })),
    destinations: destinations.map((one) => ({
      destination_id: one.row.destinationId && publicId('dst', one.row.destinationId),
      name: one.name,
      ...viewForeseen(one),
    })),
  };
}

function viewForeseen({ row, layer, content, warnings }: PreviewedDelivery) {
  return { ...viewExplained(explainedBy(row, layer)), content, warnings: [...warnings] };
}

/** Whatever waits has a reason; what is due at once has none but that nothing stops it. */
function explainedBy({ state, channel, address, reason, dueAt }: NewDelivery, layer: Layer | null): Parameters<typeof viewExplained>[0] {
  const about = { channel, address, layer };
  if (state === 'skipped') return { ...about, kind: 'skip', reason };
  const waits = state === 'held' || reason === 'delayed';
  return waits ? { ...about, kind: 'hold', reason, ...(dueAt && { until: dueAt }) } : { ...about, kind: 'deliver' };
}
