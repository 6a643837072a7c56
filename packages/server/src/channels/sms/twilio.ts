/** Twilio's Messages resource, of the version 2010-04-01. */
import { z } from 'zod';
import type { Message, Provider } from '../../domain/channel.ts';
import type { EgressResponse } from '../../lib/egress.ts';
import { exchange, readJson, type ExchangeDeps, type Judgement } from '../exchange.ts';
import { baseUrl } from '../options.ts';
import type { SmsMessage } from './render.ts';

export interface SmsAddress {
  /** E.164. */
  readonly number: string;
}

export const TwilioOptions = z
  .strictObject({
    account_sid: z.string().regex(/^AC[0-9a-f]{32}$/, 'AC and 32 hexadecimal digits'),
    auth_token: z.string().min(16),
    from: z.string().min(3).max(20).optional(),
    messaging_service_sid: z
      .string()
      .regex(/^MG[0-9a-f]{32}$/, 'MG and 32 hexadecimal digits')
      .optional(),
    api_url: baseUrl('https://api.twilio.com'),
  })
  .refine(
    ({ from, messaging_service_sid: service }) => (from === undefined) !== (service === undefined),
    'needs either from or messaging_service_sid',
  );

type Options = z.output<typeof TwilioOptions>;

export function twilio(deps: ExchangeDeps, options: Options): Provider<SmsAddress, SmsMessage> {
  const { account_sid: account, auth_token: token, from, messaging_service_sid: service, api_url: base } = options;
  const login = Buffer.from(`${account}:${token}`).toString('base64');
  const sender: Record<string, string> = service === undefined ? { From: from ?? '' } : { MessagingServiceSid: service };
  return {
    id: 'sms.twilio',
    send: ({ address: { number }, content: { text } }: Message<SmsAddress, SmsMessage>, signal) =>
      exchange(
        deps,
        {
          url: `${base}/2010-04-01/Accounts/${account}/Messages.json`,
          headers: { authorization: `Basic ${login}`, 'content-type': 'application/x-www-form-urlencoded' },
          body: new URLSearchParams({ To: number, ...sender, Body: text }).toString(),
          secrets: [token, login],
          judge,
        },
        signal,
      ),
    close: () => Promise.resolve(),
  };
}

/** Of https://www.twilio.com/docs/api/errors: the number is none, can't be texted, or has answered STOP. */
const BAD_NUMBER = new Set([21_211, 21_214, 21_217, 21_612, 21_614]);
const UNSUBSCRIBED = 21_610;
const BAD_TEXT = new Set([21_602, 21_617, 21_619]);

function judge({ status, body }: EgressResponse): Judgement | undefined {
  const { sid, code } = readJson(body) ?? {};
  if (status === 201) return { kind: 'accepted', providerId: typeof sid === 'string' ? sid : undefined };
  if (code === UNSUBSCRIBED) return { kind: 'permanent', reason: 'address_gone' };
  if (typeof code === 'number' && BAD_NUMBER.has(code)) return { kind: 'permanent', reason: 'address_rejected' };
  return typeof code === 'number' && BAD_TEXT.has(code) ? { kind: 'permanent', reason: 'content_rejected' } : undefined;
}
