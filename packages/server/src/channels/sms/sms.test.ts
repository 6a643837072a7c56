import { describe, expect, test } from 'vitest';
import { httpContract, talk } from '../../../test/conformance/http-provider.ts';
import { telling } from '../../../test/harness/telling.ts';
import type { ExchangeDeps } from '../exchange.ts';
import { GatewayOptions, smsGateway } from './gateway.ts';
import { renderSms } from './render.ts';
import { twilio, TwilioOptions } from './twilio.ts';

const ACCOUNT = `AC${'0123456789abcdef'.repeat(2)}`;
const TOKEN = 'planted-auth-token';
const address = () => ({ number: '+15558675310' });
const content = renderSms(telling());
const sender = { account_sid: ACCOUNT, auth_token: TOKEN, from: '+15017122661' };

const byTwilio = {
  name: 'sms.twilio',
  provider: (deps: ExchangeDeps, base: string) => twilio(deps, TwilioOptions.parse({ ...sender, api_url: base })),
  address,
  content,
};
const byGateway = {
  name: 'sms.gateway',
  provider: (deps: ExchangeDeps, base: string) =>
    smsGateway(deps, GatewayOptions.parse({ url: `${base}/send?key=planted-key`, headers: { 'x-api-key': 'planted-header' } })),
  address,
  content,
};

httpContract({
  ...byTwilio,
  body: (status) => (status === 201 ? '{"sid":"SM1","status":"queued"}' : '{"code":0,"message":"said so"}'),
  accepts: [201],
  refuses: [
    [200, 'transient', 'provider_error'],
    [400, 'transient', 'provider_error'],
    [401, 'transient', 'unauthorized'],
    [429, 'transient', 'rate_limited'],
    [503, 'transient', 'provider_error'],
  ],
  secrets: [TOKEN, Buffer.from(`${ACCOUNT}:${TOKEN}`).toString('base64')],
});

httpContract({
  ...byGateway,
  body: (status) => (status < 300 ? '{"id":"7"}' : 'said so'),
  accepts: [200, 201, 202, 204],
  refuses: [
    [203, 'transient', 'provider_error'],
    [302, 'transient', 'provider_error'],
    [400, 'permanent', 'content_rejected'],
    [403, 'transient', 'unauthorized'],
    [429, 'transient', 'rate_limited'],
    [500, 'transient', 'provider_error'],
  ],
  secrets: ['planted-key', 'planted-header'],
});

describe('Twilio', () => {
  test('is asked as its documentation shows it', async () => {
    const { request, result } = await talk(byTwilio, { status: 201, body: '{"sid":"SM0123","status":"queued","num_segments":"1"}' });
    expect(request).toMatchObject({
      method: 'POST',
      path: `/2010-04-01/Accounts/${ACCOUNT}/Messages.json`,
      headers: {
        authorization: `Basic ${Buffer.from(`${ACCOUNT}:${TOKEN}`).toString('base64')}`,
        'content-type': 'application/x-www-form-urlencoded',
      },
    });
    expect(Object.fromEntries(new URLSearchParams(request!.body))).toEqual({
      To: '+15558675310',
      From: '+15017122661',
      Body: 'Disk almost full\n92 % used\nhttps://app.example.org/disks/7',
    });
    expect(result).toMatchObject({ kind: 'accepted', providerId: 'SM0123' });
  });

  test.each([
    [21_211, 'address_rejected'],
    [21_614, 'address_rejected'],
    [21_610, 'address_gone'],
    [21_617, 'content_rejected'],
  ])('its error %i is %s', async (code, reason) => {
    const { result } = await talk(byTwilio, { status: 400, body: JSON.stringify({ code, message: 'said so', status: 400 }) });
    expect(result).toMatchObject({ kind: 'permanent', reason });
  });

  test('a messaging service may stand for the sender, and one of the two is needed', async () => {
    const service = `MG${'ab'.repeat(16)}`;
    const rest = { account_sid: ACCOUNT, auth_token: TOKEN };
    const provider = (deps: ExchangeDeps, base: string) =>
      twilio(deps, TwilioOptions.parse({ ...rest, messaging_service_sid: service, api_url: base }));
    const { request } = await talk({ ...byTwilio, provider }, { status: 201, body: '{}' });
    expect(Object.fromEntries(new URLSearchParams(request!.body))).toMatchObject({ MessagingServiceSid: service });
    expect(TwilioOptions.safeParse(rest).success).toBe(false);
    expect(TwilioOptions.safeParse({ ...sender, messaging_service_sid: service }).success).toBe(false);
  });
});

describe('a gateway', () => {
  test('gets JSON under its own names, with the delivery’s id', async () => {
    const options = { fields: { to: 'recipient', text: 'message' }, extra: { sender: 'ACME' } };
    const provider = (deps: ExchangeDeps, base: string) => smsGateway(deps, GatewayOptions.parse({ url: `${base}/send`, ...options }));
    const { request } = await talk({ ...byGateway, provider }, { status: 200 });
    expect(JSON.parse(request!.body)).toEqual({ recipient: '+15558675310', message: content.text, id: 'dlv_1', sender: 'ACME' });
  });

  test('or a form', async () => {
    const provider = (deps: ExchangeDeps, base: string) => smsGateway(deps, GatewayOptions.parse({ url: `${base}/send`, format: 'form' }));
    const { request } = await talk({ ...byGateway, provider }, { status: 200 });
    expect(request?.headers['content-type']).toBe('application/x-www-form-urlencoded');
    expect(Object.fromEntries(new URLSearchParams(request!.body))).toEqual({ to: '+15558675310', text: content.text, id: 'dlv_1' });
  });

  test('a header that can’t be sent is refused', () => {
    expect(GatewayOptions.safeParse({ url: 'https://example.org', headers: { host: 'x' } }).success).toBe(false);
  });
});

test('the text is cut to 1,600, and the link stays', () => {
  const { text } = renderSms(telling({ body: '😀'.repeat(2_000) }));
  expect(text.length).toBeLessThanOrEqual(1_600);
  expect(text.isWellFormed()).toBe(true);
  expect(text.endsWith('…\nhttps://app.example.org/disks/7')).toBe(true);
});
