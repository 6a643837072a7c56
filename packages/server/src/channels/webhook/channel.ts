/** The channel `webhook`: a signed POST to a URL. */
import type { Channel, Provider } from '../../domain/channel.ts';
import { renderWebhook } from './render.ts';

export interface WebhookAddress {
  readonly url: string;
  /** Raw signing keys, already decrypted; two while a secret rotates, the new one first. */
  readonly secrets: readonly Uint8Array[];
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

export interface WebhookContent {
  /** Exact bytes of the request body. */
  readonly body: string;
}

export interface WebhookChannelOptions {
  readonly providers: readonly Provider<WebhookAddress, WebhookContent>[];
  readonly delaysMs: readonly number[];
  /** The keys that this user's webhooks are signed with, the newest first. */
  readonly secretsOf: (user: { readonly tenantId: string; readonly userId: string }) => Promise<readonly Uint8Array[]>;
}

export function webhookChannel({ providers, delaysMs, secretsOf }: WebhookChannelOptions): Channel<WebhookAddress, WebhookContent> {
  return {
    name: 'webhook',
    title: 'Webhook',
    available: providers.length > 0,
    address: { field: 'webhook_url', format: 'url', profile: 'webhook_url', words: 'a http or https URL', secret: false },
    lane: 'address',
    signed: true,
    delaysMs,
    providers,
    render: (telling) => ({ body: renderWebhook(telling) }),
    addressOf: async (url, { tenantId, userId, destination }) => {
      if (destination) return { url, secrets: destination.secrets, headers: destination.headers };
      if (userId === null) throw new Error('a webhook of nobody');
      return { url, secrets: await secretsOf({ tenantId, userId }) };
    },
  };
}
