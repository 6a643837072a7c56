/** The channel `webhook`: a signed POST to a URL. */
import type { Channel, Owner, Provider } from '../../domain/channel.ts';
import { renderWebhook } from './render.ts';

export interface WebhookAddress {
  readonly url: string;
  /** Raw signing keys, already decrypted; two while a secret rotates, the new one first. */
  readonly secrets: readonly Uint8Array[];
}

export interface WebhookContent {
  /** Exact bytes of the request body. */
  readonly body: string;
}

export interface WebhookChannelOptions {
  readonly providers: readonly Provider<WebhookAddress, WebhookContent>[];
  readonly delaysMs: readonly number[];
  /** The keys that this user's webhooks are signed with, the newest first. */
  readonly secretsOf: (owner: Owner) => Promise<readonly Uint8Array[]>;
}

export function webhookChannel({ providers, delaysMs, secretsOf }: WebhookChannelOptions): Channel<WebhookAddress, WebhookContent> {
  return {
    name: 'webhook',
    title: 'Webhook',
    available: providers.length > 0,
    address: { field: 'webhook_url', format: 'url', profile: 'webhook_url', words: 'a http or https URL', secret: false },
    lane: 'address',
    delaysMs,
    providers,
    render: (telling) => ({ body: renderWebhook(telling) }),
    addressOf: async (url, owner) => ({ url, secrets: await secretsOf(owner) }),
  };
}
