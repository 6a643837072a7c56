/** A leased delivery becomes a message for a provider: content rendered by its channel, address completed with its secret. */
import type { Channel, Message, Provider, RenderContext, Telling } from '../domain/channel.ts';
import type { DeliveryJob } from '../domain/delivery.ts';
import { currentAddressOf, DESTINATION_TIMEOUT_MS } from '../domain/destination.ts';
import type { Written } from '../domain/written.ts';
import { publicId } from '../lib/id.ts';
import { absoluteLink } from '../lib/link.ts';
import { nextProvider } from './failover.ts';

export interface PrepareDeps {
  readonly channelFor: (job: DeliveryJob) => Channel;
  readonly context: RenderContext;
  /** Where the tenant's paths lead. */
  readonly baseUrlOf: (tenantId: string) => string | undefined;
  /** What the event type's templates make for this channel. Throws TemplateFailed. */
  readonly written: (job: DeliveryJob) => Promise<Written | undefined>;
}

export interface Prepared {
  /** The one that is asked. */
  readonly provider: Provider;
  readonly providers: readonly Provider[];
  readonly message: Message;
}

export async function prepare(deps: PrepareDeps, job: DeliveryJob): Promise<Prepared> {
  const text = addressTextOf(job);
  const channel = deps.channelFor({ ...job, address: text });
  const provider = nextProvider(channel.providers, job.last);
  if (!provider) throw new Error(`the channel ${job.channel} has no provider`);
  const address = await channel.addressOf(text, job);
  const written = job.event.version == null ? undefined : await deps.written(job);
  const content = contentIn(deps, channel, job, written);
  const message = { deliveryId: publicId('dlv', job.id), address, content };
  return {
    provider,
    providers: channel.providers,
    message: job.destinationId === null ? message : { ...message, timeoutMs: DESTINATION_TIMEOUT_MS },
  };
}

function contentIn({ context, baseUrlOf }: PrepareDeps, channel: Channel, job: DeliveryJob, written: Written | undefined): unknown {
  const telling = { ...tellingOf(job, baseUrlOf), ...written?.notification, written };
  return written?.payload === undefined ? channel.render(telling, context) : written.payload;
}

/** What a delivery would say, to nobody, and what its templates missed. Throws TemplateFailed. */
export async function previewContent(deps: PrepareDeps, job: DeliveryJob): Promise<{ content: unknown; warnings: readonly string[] }> {
  const written = job.event.version == null ? undefined : await deps.written(job);
  const channel = deps.channelFor(job);
  const content = contentIn(deps, channel, job, written);
  return { content: channel.shown ? await channel.shown(content) : content, warnings: written?.warnings ?? [] };
}

/** A destination's is read from its configuration: what stands with the delivery may be cut. */
function addressTextOf({ destination, address }: DeliveryJob): string {
  return (destination && currentAddressOf(destination, address)) ?? address;
}

function tellingOf(
  { tenantId, eventId, notificationId, userId, event, content }: DeliveryJob,
  baseUrlOf: PrepareDeps['baseUrlOf'],
): Telling {
  const { subject, body, severity, tags, actionUrl, metadata } = content;
  return {
    eventId: publicId('evt', eventId),
    notificationId: notificationId && publicId('ntf', notificationId),
    userId,
    type: event.type,
    acceptedAt: event.acceptedAt,
    subject,
    body,
    severity,
    tags,
    actionUrl: actionUrl?.startsWith('/') ? (absoluteLink(actionUrl, baseUrlOf(tenantId)) ?? actionUrl) : actionUrl,
    metadata,
    data: event.data,
  };
}
