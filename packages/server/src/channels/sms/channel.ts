/** The channel `sms`: a text message to a telephone. */
import { LONG_RETRY, type ChannelKind } from '../kind.ts';
import { readOptions } from '../options.ts';
import { GatewayOptions, smsGateway } from './gateway.ts';
import { renderSms, type SmsMessage } from './render.ts';
import { twilio, TwilioOptions, type SmsAddress } from './twilio.ts';

export const SMS: ChannelKind<SmsAddress, SmsMessage> = {
  name: 'sms',
  title: 'Text message',
  address: { field: 'phone', format: 'phone', profile: 'phone', words: 'a telephone number in E.164', secret: false },
  lane: 'tenant',
  delaysMs: LONG_RETRY,
  makers: {
    twilio: (options, tools) => twilio(tools, readOptions(TwilioOptions, options)),
    gateway: (options, tools) => smsGateway(tools, readOptions(GatewayOptions, options)),
  },
  standard: 'twilio',
  ready: false,
  render: renderSms,
  addressOf: (number) => ({ number }),
};
