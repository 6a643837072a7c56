/** The channel `discord`: an embed to a webhook of a Discord channel. */
import { CHAT_RETRY, type ChannelKind } from '../kind.ts';
import { noOptions } from '../options.ts';
import { renderDiscord, type DiscordMessage } from './render.ts';
import { discordWebhook, type DiscordAddress } from './webhook.ts';

export const DISCORD: ChannelKind<DiscordAddress, DiscordMessage> = {
  name: 'discord',
  title: 'Discord',
  address: { field: 'webhook_url', format: 'url', profile: null, words: 'the URL of a webhook', secret: true },
  lane: 'address',
  delaysMs: CHAT_RETRY,
  makers: {
    webhook: (options, tools) => {
      noOptions(options);
      return discordWebhook(tools);
    },
  },
  standard: 'webhook',
  ready: true,
  render: renderDiscord,
  addressOf: (url) => ({ url }),
};
