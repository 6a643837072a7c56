/** The preview, wired: routing without its writers, rendering without its senders. Part of the composition root. */
import type { Previewed, PreviewedDelivery } from './api/preview-view.ts';
import { previewContent } from './delivery/prepare.ts';
import { IN_APP } from './domain/channel.ts';
import type { CarillonEvent } from './domain/event.ts';
import { TemplateFailed } from './domain/written.ts';
import type { DeliveryDeps } from './main-delivery.ts';
import { routingReads } from './main-stages.ts';
import { preview, type ForeseenDelivery, type PreviewDeps } from './router/preview.ts';
import { readOnly } from './store/database.ts';
import { foreseeDigests } from './store/digest-joining.ts';
import { loadRecipients } from './store/recipients.ts';
import { foreseeThrottled } from './store/throttles.ts';

/** What becomes of an event at its due time, with what each of its first `limit` recipients would read. Writes and sends nothing. */
export function makePreview(parts: DeliveryDeps): (event: CarillonEvent, limit: number) => Promise<Previewed> {
  const deps = routing(parts);
  return async (event, limit) => {
    const { recipientCount, recipients, destinations } = await parts.database.asTenant(event.tenantId, async (tx) => {
      await readOnly(tx);
      return preview(deps, tx, event, limit);
    });
    const told: Previewed['recipients'][number][] = [];
    for (const one of recipients) told.push({ ...one, deliveries: await rendered(parts, one.deliveries) });
    return { recipientCount, recipients: told, destinations: await rendered(parts, destinations) };
  };
}

function routing(parts: DeliveryDeps): PreviewDeps {
  return {
    ...routingReads(parts),
    load: async (tx, keys) => new Map((await loadRecipients(tx, keys)).map((row) => [`${row.tenantId}\0${row.id}`, row])),
    createsUsers: parts.config['users.create'] === 'on_mention',
    foreseeThrottled,
    foreseeDigests,
    now: parts.clock.now,
  };
}

/** One after the other: a preview is not to keep the threads busy in which tenants' templates are rendered to be sent. */
async function rendered<T extends ForeseenDelivery>(parts: DeliveryDeps, deliveries: readonly T[]): Promise<(T & Made)[]> {
  const made: (T & Made)[] = [];
  for (const one of deliveries) made.push({ ...one, ...(await contentOf(parts, one)) });
  return made;
}

type Made = Pick<PreviewedDelivery, 'content' | 'warnings'>;

async function contentOf({ channels, catalog, config, defaults }: DeliveryDeps, { job, row }: ForeseenDelivery): Promise<Made> {
  if (!job || !channels.facts.get(job.channel)?.available) return { content: null, warnings: [] };
  try {
    if (job.channel === IN_APP) {
      const { subject, body, actionUrl, severity, tags, metadata } = job.content;
      const own = row.state === 'skipped' && job.event.version != null ? await catalog.written(job) : undefined; // nobody has written it yet
      return { content: { subject, body, ...own?.notification, action_url: actionUrl, severity, tags, metadata }, warnings: [] };
    }
    const context = { productName: config.product_name };
    const baseUrlOf = (tenantId: string) => defaults.settingsOf(tenantId).base_url;
    return await previewContent({ channelFor: channels.channelFor, context, baseUrlOf, written: catalog.written }, job);
  } catch (error) {
    if (!(error instanceof TemplateFailed)) throw error;
    return { content: null, warnings: [error.message] };
  }
}
