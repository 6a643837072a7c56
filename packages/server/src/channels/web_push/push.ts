/** Web Push: encrypted for one browser (RFC 8291), signed as ours (VAPID, RFC 8292), handed to the browser's own push service (RFC 8030). */
import { z } from 'zod';
import type { Message, Provider } from '../../domain/channel.ts';
import type { EgressResponse } from '../../lib/egress.ts';
import { exchange, urlSecrets, type ExchangeDeps, type Judgement } from '../exchange.ts';
import type { WebPushMessage } from './render.ts';

const base64url = (bytes: number) =>
  z
    .string()
    .refine((text) => /^[\w-]+={0,2}$/.test(text) && Buffer.from(text, 'base64url').length === bytes, `${bytes} bytes in base64url`);

/** What `PushSubscription.toJSON()` gives in a browser. */
const Subscription = z.object({ endpoint: z.string(), keys: z.object({ p256dh: base64url(65), auth: base64url(16) }) });
export type PushSubscription = z.output<typeof Subscription>;

export interface WebPushAddress {
  /** Null for what is no subscription. */
  readonly subscription: PushSubscription | null;
}

export function readSubscription(text: string): WebPushAddress {
  try {
    return { subscription: Subscription.parse(JSON.parse(text)) };
  } catch {
    return { subscription: null };
  }
}

export const WebPushOptions = z.strictObject({
  /** Whom a push service may write to. */
  subject: z.string().regex(/^(?:mailto:[^\s@]+@[^\s@]+|https:\/\/\S+)$/, 'a mailto: or https: address'),
  public_key: base64url(65),
  private_key: base64url(32),
  /** How long a push service keeps it for a browser that is away. */
  ttl_seconds: z.int().min(0).max(2_419_200).default(86_400),
});

export function webPushProvider(deps: ExchangeDeps, options: z.output<typeof WebPushOptions>): Provider<WebPushAddress, WebPushMessage> {
  const vapidDetails = { subject: options.subject, publicKey: options.public_key, privateKey: options.private_key };
  return {
    id: 'web_push.push',
    send: async ({ address: { subscription }, content }: Message<WebPushAddress, WebPushMessage>, signal) => {
      if (!subscription) return { kind: 'permanent', reason: 'address_rejected', detail: 'not sent: the address is no push subscription' };
      const { endpoint, keys } = subscription;
      const { default: webPush } = await import('web-push');
      const { headers, body } = webPush.generateRequestDetails(subscription, content.payload, {
        vapidDetails,
        TTL: options.ttl_seconds,
        urgency: content.urgency,
        contentEncoding: 'aes128gcm',
      });
      const secrets = [...urlSecrets(endpoint), keys.auth, keys.p256dh, headerOf(headers, 'Authorization')];
      return exchange(deps, { url: endpoint, headers: ours(headers), body, secrets, judge }, signal);
    },
    close: () => Promise.resolve(),
  };
}

type Headers = Readonly<Record<string, string | number | undefined>>;

/** The client counts the bytes itself. */
function ours(headers: Headers): Record<string, string> {
  const kept = Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'content-length');
  return Object.fromEntries(kept.map(([name, value]) => [name.toLowerCase(), String(value)]));
}

function headerOf(headers: Headers, name: string): string {
  return String(headers[name] ?? '');
}

/** 404 and 410: the browser has unsubscribed, or was reset. */
function judge({ status, headers }: EgressResponse): Judgement | undefined {
  if (status === 201 || status === 202) {
    const { location } = headers;
    return { kind: 'accepted', providerId: typeof location === 'string' ? location.slice(0, 300) : undefined };
  }
  if (status === 404 || status === 410) return { kind: 'permanent', reason: 'address_gone' };
  return status === 400 ? { kind: 'permanent', reason: 'content_rejected' } : undefined;
}
