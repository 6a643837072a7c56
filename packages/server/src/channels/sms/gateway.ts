/** Any carrier that takes a text message by HTTP: a POST of JSON or of a form, whose fields the operator names. */
import { z } from 'zod';
import type { Message, Provider } from '../../domain/channel.ts';
import { checkHeaders } from '../../lib/egress-url.ts';
import { exchange, readJson, urlSecrets, type ExchangeDeps } from '../exchange.ts';
import type { SmsMessage } from './render.ts';
import type { SmsAddress } from './twilio.ts';

export const GatewayOptions = z.strictObject({
  url: z.url({ protocol: /^https?$/ }),
  headers: z
    .record(z.string(), z.string())
    .default({})
    .check((context) => {
      const refusal = checkHeaders(context.value);
      if (refusal !== undefined) context.issues.push({ code: 'custom', input: context.value, message: refusal });
    }),
  format: z.enum(['json', 'form']).default('json'),
  /** The gateway's names for the number, the text, and the delivery's id, which is the same on every attempt. */
  fields: z
    .strictObject({ to: z.string().default('to'), text: z.string().default('text'), id: z.string().default('id') })
    .default({ to: 'to', text: 'text', id: 'id' }),
  /** Sent with every message as they are: a sender, an account. */
  extra: z.record(z.string(), z.string()).default({}),
  /** Statuses that mean it was taken. */
  accepts: z.array(z.int().min(200).max(299)).min(1).default([200, 201, 202, 204]),
  /** Refusals that another attempt would not change. */
  final: z.array(z.int().min(400).max(499)).default([400, 422]),
});

type Options = z.output<typeof GatewayOptions>;

export function smsGateway(deps: ExchangeDeps, options: Options): Provider<SmsAddress, SmsMessage> {
  const { url, headers, format, fields, extra, accepts, final } = options;
  const type = format === 'json' ? 'application/json' : 'application/x-www-form-urlencoded';
  const secrets = [...Object.values(headers), ...urlSecrets(url).slice(1), ...Object.values(extra)];
  return {
    id: 'sms.gateway',
    send: ({ deliveryId, address: { number }, content: { text } }: Message<SmsAddress, SmsMessage>, signal) => {
      const values = { ...extra, [fields.to]: number, [fields.text]: text, [fields.id]: deliveryId };
      const body = format === 'json' ? JSON.stringify(values) : new URLSearchParams(values).toString();
      return exchange(
        deps,
        {
          url,
          headers: { ...headers, 'content-type': type },
          body,
          secrets,
          judge: ({ status, body: answer }) => {
            if (accepts.includes(status)) return { kind: 'accepted', providerId: idOf(answer) };
            return final.includes(status) ? { kind: 'permanent', reason: 'content_rejected' } : undefined;
          },
        },
        signal,
      );
    },
    close: () => Promise.resolve(),
  };
}

/** As gateways mostly name it. */
function idOf(answer: string): string | undefined {
  const { id, message_id: messageId } = readJson(answer) ?? {};
  return [id, messageId].find((one) => typeof one === 'string');
}
