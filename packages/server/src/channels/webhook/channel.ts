/** The channel `webhook`: a signed POST to a URL. */
import type { Channel, Owner, Provider } from '../../domain/channel.ts';
import { renderWebhook } from './render.ts';

export interface WebhookAddress {
  readonly url: string;
  /** The raw signing key, already decrypted. */
  readonly secret: Uint8Array;
}

export interface WebhookContent {
  /** Exact bytes of the request body. */
  readonly body: string;
}

export interface WebhookChannelOptions {
  readonly providers: readonly Provider<WebhookAddress, WebhookContent>[];
  readonly delaysMs: readonly number[];
  /** The key that this user's webhooks are signed with. */
  readonly secretOf: (owner: Owner) => Promise<Uint8Array>;
}

export function webhookChannel({ providers, delaysMs, secretOf }: WebhookChannelOptions): Channel<WebhookAddress, WebhookContent> {
  return {
    name: 'webhook',
    title: 'Webhook',
    available: providers.length > 0,
    address: { field: 'webhook_url', format: 'url', profile: 'webhook_url', words: 'a http or https URL', secret: false },
    lane: 'address',
    delaysMs,
    providers,
    render: (telling) => ({ body: renderWebhook(telling) }),
    addressOf: async (url, owner) => ({ url, secret: await secretOf(owner) }),
  };
}
