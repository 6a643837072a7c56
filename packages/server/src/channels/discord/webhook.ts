/** Discord's webhooks. `wait=true` has it answer once the message is stored, with its id. */
import type { Message, Provider } from '../../domain/channel.ts';
import type { EgressResponse } from '../../lib/egress.ts';
import { exchange, readJson, urlSecrets, type ExchangeDeps, type Judgement } from '../exchange.ts';
import type { DiscordMessage } from './render.ts';

export interface DiscordAddress {
  readonly url: string;
}

export function discordWebhook(deps: ExchangeDeps): Provider<DiscordAddress, DiscordMessage> {
  return {
    id: 'discord.webhook',
    send: ({ address: { url }, content }: Message<DiscordAddress, DiscordMessage>, signal) =>
      exchange(deps, { url: waiting(url), body: JSON.stringify(content), secrets: urlSecrets(url), judge }, signal),
    close: () => Promise.resolve(),
  };
}

/** What is no URL goes on as it is, for the client to refuse. */
function waiting(text: string): string {
  const url = URL.parse(text);
  url?.searchParams.set('wait', 'true');
  return url?.href ?? text;
}

const UNKNOWN_WEBHOOK = 10_015;

function judge({ status, body }: EgressResponse): Judgement | undefined {
  if (status === 200 || status === 204) {
    const id = readJson(body)?.id;
    return { kind: 'accepted', providerId: typeof id === 'string' ? id : undefined };
  }
  const { code, retry_after: waitS } = readJson(body) ?? {};
  if (code === UNKNOWN_WEBHOOK) return { kind: 'permanent', reason: 'address_gone' };
  if (status === 400) return { kind: 'permanent', reason: 'content_rejected' };
  if (status === 429 && typeof waitS === 'number')
    return { kind: 'transient', reason: 'rate_limited', retryAfterMs: Math.ceil(waitS * 1_000) };
  return undefined;
}
