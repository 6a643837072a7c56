/** The channel `slack`: a message to the incoming webhook of somebody's channel. */
import { CHAT_RETRY, type ChannelKind } from '../kind.ts';
import { noOptions } from '../options.ts';
import { renderSlack, type SlackMessage } from './render.ts';
import { slackWebhook, type SlackAddress } from './webhook.ts';

export const SLACK: ChannelKind<SlackAddress, SlackMessage> = {
  name: 'slack',
  title: 'Slack',
  address: {
    field: 'webhook_url',
    alias: 'slack_webhook',
    format: 'url',
    profile: null,
    words: 'the URL of an incoming webhook',
    secret: true,
  },
  lane: 'address',
  delaysMs: CHAT_RETRY,
  makers: {
    webhook: (options, tools) => {
      noOptions(options);
      return slackWebhook(tools);
    },
  },
  standard: 'webhook',
  ready: true,
  render: renderSlack,
  addressOf: (url) => ({ url }),
};
