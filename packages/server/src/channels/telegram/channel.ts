/** The channel `telegram`: a message from the operator's bot to a chat. */
import { CHAT_RETRY, type ChannelKind } from '../kind.ts';
import { readOptions } from '../options.ts';
import { telegramBot, TelegramOptions, type TelegramAddress } from './bot.ts';
import { renderTelegram, type TelegramMessage } from './render.ts';

export const TELEGRAM: ChannelKind<TelegramAddress, TelegramMessage> = {
  name: 'telegram',
  title: 'Telegram',
  address: {
    field: 'chat_id',
    format: 'text',
    profile: null,
    pattern: '^(?:-?\\d{1,20}|@[A-Za-z]\\w{3,63})$',
    words: 'the number of a chat, or @ and the name of a channel',
    secret: false,
  },
  lane: 'tenant',
  delaysMs: CHAT_RETRY,
  makers: { bot: (options, tools) => telegramBot(tools, readOptions(TelegramOptions, options)) },
  standard: 'bot',
  ready: false,
  render: renderTelegram,
  addressOf: (chatId) => ({ chatId }),
};
