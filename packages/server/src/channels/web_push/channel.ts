/** The channel `web_push`: a message to a browser that has subscribed. */
import { CHAT_RETRY, type ChannelKind } from '../kind.ts';
import { readOptions } from '../options.ts';
import { readSubscription, WebPushOptions, webPushProvider, type WebPushAddress } from './push.ts';
import { renderWebPush, type WebPushMessage } from './render.ts';

export const WEB_PUSH: ChannelKind<WebPushAddress, WebPushMessage> = {
  name: 'web_push',
  title: 'Browser',
  address: { field: 'subscription', format: 'json', profile: null, words: 'the JSON of a push subscription', secret: true },
  lane: 'tenant',
  delaysMs: CHAT_RETRY,
  makers: { push: (options, tools) => webPushProvider(tools, readOptions(WebPushOptions, options)) },
  standard: 'push',
  ready: false,
  render: renderWebPush,
  addressOf: readSubscription,
};
