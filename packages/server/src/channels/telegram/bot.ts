/** Telegram's Bot API, `sendMessage`. The token stands in the URL. */
import { z } from 'zod';
import type { Message, Provider } from '../../domain/channel.ts';
import type { EgressResponse } from '../../lib/egress.ts';
import { exchange, readJson, type ExchangeDeps, type Judgement } from '../exchange.ts';
import { baseUrl } from '../options.ts';
import type { TelegramMessage } from './render.ts';

export interface TelegramAddress {
  readonly chatId: string;
}

export const TelegramOptions = z.strictObject({
  bot_token: z.string().regex(/^\d{3,20}:[\w-]{20,}$/, 'the token that @BotFather gave, such as 123456:ABC-DEF'),
  api_url: baseUrl('https://api.telegram.org'),
});

export function telegramBot(
  deps: ExchangeDeps,
  { bot_token: token, api_url: base }: z.output<typeof TelegramOptions>,
): Provider<TelegramAddress, TelegramMessage> {
  return {
    id: 'telegram.bot',
    send: ({ address: { chatId }, content }: Message<TelegramAddress, TelegramMessage>, signal) =>
      exchange(
        deps,
        { url: `${base}/bot${token}/sendMessage`, body: JSON.stringify({ chat_id: chatId, ...content }), secrets: [token], judge },
        signal,
      ),
    close: () => Promise.resolve(),
  };
}

interface BotAnswer {
  readonly ok?: boolean;
  readonly description?: string;
  readonly result?: { readonly message_id?: number };
  readonly parameters?: { readonly retry_after?: number; readonly migrate_to_chat_id?: number };
}

function judge({ status, body }: EgressResponse): Judgement | undefined {
  const answer: BotAnswer = readJson(body) ?? {};
  if (status === 200 && answer.ok === true) return { kind: 'accepted', providerId: String(answer.result?.message_id ?? '') };
  const waitS = answer.parameters?.retry_after;
  if (typeof waitS === 'number') return { kind: 'transient', reason: 'rate_limited', retryAfterMs: waitS * 1_000 };
  if (status === 403) return { kind: 'permanent', reason: 'address_gone' }; // blocked, kicked, or deactivated: said of the chat, never of the bot
  return status === 400 ? refused(answer) : undefined;
}

function refused({ description = '' }: BotAnswer): Judgement {
  return { kind: 'permanent', reason: BAD_CHAT.test(description) ? 'address_rejected' : 'content_rejected' };
}

const BAD_CHAT = /chat not found|user not found|chat_id is empty|peer_id_invalid|group chat was upgraded/i;
