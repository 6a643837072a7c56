/** A leased delivery becomes a message for a provider: content rendered, address completed with its secret. */
import type { Message, Provider, ProviderChannel } from '../domain/channel.ts';
import type { DeliveryJob } from '../domain/delivery.ts';
import { publicId } from '../lib/id.ts';
import { renderEmail, renderWebhook } from './render.ts';

export interface PrepareDeps {
  readonly providerOf: (channel: ProviderChannel) => Provider;
  /** The key that this user's webhooks are signed with. */
  readonly webhookSecret: (tenantId: string, userId: string) => Promise<Uint8Array>;
  readonly productName: string;
}

export async function prepare(deps: PrepareDeps, job: DeliveryJob): Promise<{ provider: Provider; message: Message }> {
  const deliveryId = publicId('dlv', job.id);
  const provider = deps.providerOf(job.channel);
  switch (job.channel) {
    case 'email':
      return {
        provider,
        message: { deliveryId, address: { mailbox: job.address }, content: renderEmail({ ...job.content, productName: deps.productName }) },
      };
    case 'webhook': {
      const secret = await deps.webhookSecret(job.tenantId, job.userId);
      return { provider, message: { deliveryId, address: { url: job.address, secret }, content: { body: webhookBody(job) } } };
    }
  }
}

function webhookBody({ eventId, notificationId, userId, event, content }: DeliveryJob): string {
  const ids = { eventId: publicId('evt', eventId), notificationId: publicId('ntf', notificationId), userId };
  const { subject, body, severity, tags, actionUrl, metadata } = content;
  return renderWebhook({ ...event, ...ids, subject, body, severity, tags, actionUrl, metadata });
}
