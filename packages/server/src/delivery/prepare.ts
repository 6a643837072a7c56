/** A leased delivery becomes a message for a provider: content rendered by its channel, address completed with its secret. */
import type { Channel, Message, Provider, RenderContext, Telling } from '../domain/channel.ts';
import type { DeliveryJob } from '../domain/delivery.ts';
import { currentAddressOf, DESTINATION_TIMEOUT_MS } from '../domain/destination.ts';
import type { Written } from '../domain/written.ts';
import { publicId } from '../lib/id.ts';
import { nextProvider } from './failover.ts';

export interface PrepareDeps {
  readonly channelFor: (job: DeliveryJob) => Channel;
  readonly context: RenderContext;
  /** What the event type's templates make for this channel. Throws TemplateFailed. */
  readonly written: (job: DeliveryJob) => Promise<Written | undefined>;
}

export interface Prepared {
  /** The one that is asked. */
  readonly provider: Provider;
  readonly providers: readonly Provider[];
  readonly message: Message;
}

export async function prepare({ channelFor, context, written: write }: PrepareDeps, job: DeliveryJob): Promise<Prepared> {
  const text = addressTextOf(job);
  const channel = channelFor({ ...job, address: text });
  const provider = nextProvider(channel.providers, job.last);
  if (!provider) throw new Error(`the channel ${job.channel} has no provider`);
  const address = await channel.addressOf(text, job);
  const written = job.event.version == null ? undefined : await write(job);
  const telling = { ...tellingOf(job), ...written?.notification, written };
  const content = written?.payload === undefined ? channel.render(telling, context) : written.payload;
  const message = { deliveryId: publicId('dlv', job.id), address, content };
  return {
    provider,
    providers: channel.providers,
    message: job.destinationId === null ? message : { ...message, timeoutMs: DESTINATION_TIMEOUT_MS },
  };
}

/** A destination's is read from its configuration: what stands with the delivery may be cut. */
function addressTextOf({ destination, address }: DeliveryJob): string {
  return (destination && currentAddressOf(destination, address)) ?? address;
}

function tellingOf({ eventId, notificationId, userId, event, content }: DeliveryJob): Telling {
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
    actionUrl,
    metadata,
    data: event.data,
  };
}
