/** Webhook over HTTP, signed as Standard Webhooks 1.0 describes (https://www.standardwebhooks.com). */
import type { Answer, Message, Provider, SendResult } from '../../domain/channel.ts';
import { type Egress, EgressError, type EgressResponse } from '../../lib/egress.ts';
import { parseRetryAfter } from '../../lib/retry-after.ts';
import { fromEgressError } from '../exchange.ts';
import { checkHeaders } from '../../lib/egress-url.ts';
import { signBody, signWebhook, type Scheme } from '../../lib/webhook-signature.ts';
import type { WebhookAddress, WebhookContent } from './channel.ts';

export interface WebhookHttpDeps {
  readonly egress: Pick<Egress, 'request'>;
  readonly now: () => Date;
  /** Sent with every message, in addition to ours or instead of `content-type` and `user-agent`. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Of `webhook-signature`. Default: v1. */
  readonly schemes?: readonly Scheme[] | undefined;
  /** A plain HMAC of the body besides. `secret`: instead of the address's own. */
  readonly plain?: { readonly header: string; readonly secret: Uint8Array | undefined } | undefined;
}

/** Throws when one of `headers`, or the header of `plain`, can't be sent. The egress client belongs to the caller, who closes it. */
export function webhookHttp({
  egress,
  now,
  headers = {},
  schemes = ['v1'],
  plain,
}: WebhookHttpDeps): Provider<WebhookAddress, WebhookContent> {
  const refusal = checkHeaders(plain ? { ...headers, [plain.header]: '' } : headers);
  if (refusal !== undefined) throw new Error(`custom webhook headers: ${refusal}`);
  const fixed = { 'content-type': 'application/json', 'user-agent': 'Carillon', ...lowerCased(headers) };

  const plainName = plain?.header.toLowerCase();
  function plainSignature({ secrets }: WebhookAddress, { body }: WebhookContent): Record<string, string> | undefined {
    return plainName === undefined ? undefined : { [plainName]: signBody(plain?.secret ? [plain.secret] : secrets, body) };
  }

  async function send(
    { deliveryId, address, content, timeoutMs }: Message<WebhookAddress, WebhookContent>,
    signal: AbortSignal,
  ): Promise<SendResult> {
    const startedAt = now();
    const timestamp = String(Math.floor(startedAt.getTime() / 1000));
    const signed = {
      ...fixed,
      ...lowerCased(address.headers ?? {}),
      'webhook-id': deliveryId,
      'webhook-timestamp': timestamp,
      'webhook-signature': signWebhook(address.secrets, schemes, { id: deliveryId, timestamp, body: content.body }),
      ...plainSignature(address, content),
    };
    try {
      const response = await egress.request(address.url, { method: 'POST', headers: signed, body: content.body, signal, timeoutMs });
      return fromResponse(response, now());
    } catch (error) {
      if (error instanceof EgressError) return fromEgressError(error);
      throw error; // the abort's reason, or a bug
    }
  }

  return { id: 'webhook.http', send, close: () => Promise.resolve() };
}

function lowerCased(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

/**
 * Every refusal is worth another try, because receivers answer 4xx while they deploy;
 * only 410 Gone says that nobody will ever listen here again.
 */
function fromResponse({ status, headers, body }: EgressResponse, now: Date): SendResult {
  const answer: Answer = { status, response: body };
  if (status >= 200 && status < 300) return { kind: 'accepted', ...answer };
  const detail = `HTTP ${status}`;
  if (status === 410) return { kind: 'permanent', reason: 'address_gone', detail, ...answer };
  const retryAfterMs = parseRetryAfter(headers['retry-after'], now);
  return { kind: 'transient', reason: reasonOfStatus(status), detail, retryAfterMs, ...answer };
}

function reasonOfStatus(status: number): 'rate_limited' | 'unauthorized' | 'provider_error' {
  if (status === 429) return 'rate_limited';
  return status === 401 || status === 403 ? 'unauthorized' : 'provider_error';
}
