/**
 * What each provider's documentation says of a request, field by field, next to an example as it stands there: both the
 * example and what Carillon sends have to fit. A field that nobody documents is a mistake.
 */
import webPush from 'web-push';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { renderDiscord } from '../../src/channels/discord/render.ts';
import { discordWebhook } from '../../src/channels/discord/webhook.ts';
import type { ExchangeDeps } from '../../src/channels/exchange.ts';
import { pagerDutyEvents } from '../../src/channels/pagerduty/events.ts';
import { renderPagerDuty } from '../../src/channels/pagerduty/render.ts';
import { renderSlack } from '../../src/channels/slack/render.ts';
import { slackWebhook } from '../../src/channels/slack/webhook.ts';
import { renderSms } from '../../src/channels/sms/render.ts';
import { twilio, TwilioOptions } from '../../src/channels/sms/twilio.ts';
import { renderTeams } from '../../src/channels/teams/render.ts';
import { teamsWorkflow } from '../../src/channels/teams/workflow.ts';
import { telegramBot, TelegramOptions } from '../../src/channels/telegram/bot.ts';
import { renderTelegram } from '../../src/channels/telegram/render.ts';
import { readSubscription, WebPushOptions, webPushProvider } from '../../src/channels/web_push/push.ts';
import { renderWebPush } from '../../src/channels/web_push/render.ts';
import type { Provider, Telling } from '../../src/domain/channel.ts';
import { talk } from '../conformance/http-provider.ts';
import { makePushBrowser } from '../harness/push-browser.ts';
import { CONTEXT, telling } from '../harness/telling.ts';

const chars = (max: number) => z.string().min(1).max(max);
const page = z
  .string()
  .regex(/^https?:\/\//)
  .max(3_000);

/** https://docs.slack.dev/reference/block-kit/composition-objects/text-object */
const slackText = <T extends string>(type: T, max: number) =>
  z.strictObject({ type: z.literal(type), text: chars(max), emoji: z.boolean().optional(), verbatim: z.boolean().optional() });
/** https://docs.slack.dev/reference/block-kit/blocks */
const slackBlock = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('header'), text: slackText('plain_text', 150) }),
  z.strictObject({ type: z.literal('section'), text: slackText('mrkdwn', 3_000) }),
  z.strictObject({ type: z.literal('context'), elements: z.array(slackText('mrkdwn', 3_000)).max(10) }),
  z.strictObject({
    type: z.literal('actions'),
    elements: z.array(z.strictObject({ type: z.literal('button'), text: slackText('plain_text', 75), url: page })).max(25),
  }),
]);
/** https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and .../reference/messaging/payload */
const slack = z.strictObject({
  text: z.string(),
  blocks: z.array(slackBlock).max(50).optional(),
  attachments: z
    .array(z.strictObject({ color: z.string().regex(/^#[\da-f]{6}$/), fallback: z.string(), blocks: z.array(slackBlock) }))
    .optional(),
  unfurl_links: z.boolean().optional(),
  unfurl_media: z.boolean().optional(),
});

/** https://adaptivecards.io/explorer/TextBlock.html and .../Action.OpenUrl.html, version 1.4 */
const textBlock = z.strictObject({
  type: z.literal('TextBlock'),
  text: z.string(),
  wrap: z.boolean().optional(),
  weight: z.enum(['Lighter', 'Default', 'Bolder']).optional(),
  size: z.enum(['Small', 'Default', 'Medium', 'Large', 'ExtraLarge']).optional(),
  color: z.enum(['Default', 'Dark', 'Light', 'Accent', 'Good', 'Warning', 'Attention']).optional(),
});
/** https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using */
const teams = z.strictObject({
  type: z.literal('message'),
  attachments: z
    .array(
      z.strictObject({
        contentType: z.literal('application/vnd.microsoft.card.adaptive'),
        contentUrl: z.null(),
        content: z.strictObject({
          $schema: z.literal('http://adaptivecards.io/schemas/adaptive-card.json'),
          type: z.literal('AdaptiveCard'),
          version: z.enum(['1.2', '1.3', '1.4']),
          body: z.array(textBlock),
          actions: z.array(z.strictObject({ type: z.literal('Action.OpenUrl'), title: z.string(), url: z.url() })).optional(),
          msteams: z.strictObject({ width: z.literal('Full') }).optional(),
        }),
      }),
    )
    .length(1),
});

/** https://discord.com/developers/docs/resources/webhook#execute-webhook and .../message#embed-object-embed-limits */
const discord = z.strictObject({
  embeds: z
    .array(
      z.strictObject({
        title: chars(256),
        description: chars(4_096).optional(),
        url: page.optional(),
        color: z.int().min(0).max(0xffffff),
        footer: z.strictObject({ text: chars(2_048) }).optional(),
      }),
    )
    .min(1)
    .max(10),
  allowed_mentions: z.strictObject({ parse: z.array(z.enum(['roles', 'users', 'everyone'])) }).optional(),
});

/** https://core.telegram.org/bots/api#sendmessage */
const telegram = z.strictObject({
  chat_id: z.union([z.int(), z.string()]),
  text: z.string().min(1),
  parse_mode: z.enum(['HTML', 'MarkdownV2', 'Markdown']).optional(),
  link_preview_options: z.strictObject({ is_disabled: z.boolean() }).optional(),
  reply_markup: z.strictObject({ inline_keyboard: z.array(z.array(z.strictObject({ text: z.string().min(1), url: page }))) }).optional(),
});

/** https://developer.pagerduty.com/docs/events-api-v2/trigger-events/ */
const pagerduty = z.strictObject({
  routing_key: z.string().length(32),
  event_action: z.enum(['trigger', 'acknowledge', 'resolve']),
  dedup_key: chars(255).optional(),
  client: z.string().optional(),
  client_url: z.url().optional(),
  links: z.array(z.strictObject({ href: z.url(), text: z.string().optional() })).optional(),
  payload: z.strictObject({
    summary: chars(1_024),
    source: z.string().min(1),
    severity: z.enum(['critical', 'error', 'warning', 'info']),
    timestamp: z.iso.datetime({ offset: true }).optional(),
    component: z.string().optional(),
    group: z.string().optional(),
    class: z.string().optional(),
    custom_details: z.record(z.string(), z.unknown()).optional(),
  }),
});

/** https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource */
const sms = z
  .strictObject({
    To: z.string().regex(/^\+[1-9]\d{1,14}$/),
    From: z.string().optional(),
    MessagingServiceSid: z.string().optional(),
    Body: chars(1_600),
  })
  .refine(({ From, MessagingServiceSid }) => (From === undefined) !== (MessagingServiceSid === undefined));

interface Wire {
  readonly name: string;
  readonly documented: z.ZodType;
  /** As the documentation has it. */
  readonly example: unknown;
  readonly status: number;
  readonly provider: (deps: ExchangeDeps, base: string) => Provider<never, never>;
  readonly address: (base: string) => unknown;
  readonly render: (telling: Telling) => unknown;
}

const KEY = 'R'.repeat(32);
const TOKEN = '123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11';
const TWILIO = { account_sid: `AC${'0'.repeat(32)}`, auth_token: 'a-token-of-twilio', from: '+15017122661' };
const urlOf = (base: string) => ({ url: `${base}/hook` });

const WIRES: readonly Wire[] = [
  {
    ...{ name: 'Slack', documented: slack, example: { text: 'Hello, world.' }, status: 200 },
    ...{ provider: (deps) => slackWebhook(deps), address: urlOf, render: (one) => renderSlack(one, CONTEXT) },
  },
  {
    ...{ name: 'Teams', documented: teams, status: 202 },
    example: {
      type: 'message',
      attachments: [
        {
          contentType: 'application/vnd.microsoft.card.adaptive',
          contentUrl: null,
          content: {
            $schema: 'http://adaptivecards.io/schemas/adaptive-card.json',
            type: 'AdaptiveCard',
            version: '1.2',
            body: [{ type: 'TextBlock', text: 'For Samples and Templates, see …' }],
          },
        },
      ],
    },
    ...{ provider: (deps) => teamsWorkflow(deps), address: urlOf, render: (one) => renderTeams(one, CONTEXT) },
  },
  {
    ...{ name: 'Discord', documented: discord, status: 204 },
    example: { embeds: [{ title: 'Hello, Embed!', description: 'This is an embedded message.', color: 0 }] },
    ...{ provider: (deps) => discordWebhook(deps), address: urlOf, render: (one) => renderDiscord(one, CONTEXT) },
  },
  {
    ...{ name: 'Telegram', documented: telegram, example: { chat_id: '@channelusername', text: 'test', parse_mode: 'HTML' }, status: 200 },
    provider: (deps, base) => telegramBot(deps, TelegramOptions.parse({ bot_token: TOKEN, api_url: base })),
    ...{ address: () => ({ chatId: '-1001234567890' }), render: (one) => renderTelegram(one, CONTEXT) },
  },
  {
    ...{ name: 'PagerDuty', documented: pagerduty, status: 202 },
    example: {
      payload: {
        summary: 'DISK at 99% on machine prod-datapipe03.example.com',
        timestamp: '2015-07-17T08:42:58.315+0000'.replace('+0000', '+00:00'),
        severity: 'critical',
        source: 'prod-datapipe03.example.com',
        component: 'mysql',
        group: 'prod-datapipe',
        class: 'disk',
        custom_details: { 'free space': '1%', 'ping time': '1500ms', 'load avg': 0.75 },
      },
      routing_key: 'samplekeyhere'.padEnd(32, '0'),
      dedup_key: 'samplekeyhere',
      event_action: 'trigger',
      client: 'Sample Monitoring Service',
      client_url: 'https://monitoring.service.com',
      links: [{ href: 'http://pagerduty.example.com', text: 'An example link.' }],
    },
    provider: (deps, base) => pagerDutyEvents(deps, { api_url: base }),
    ...{ address: () => ({ routingKey: KEY }), render: (one) => renderPagerDuty(one, CONTEXT) },
  },
  {
    ...{ name: 'Twilio', documented: sms, status: 201 },
    example: { To: '+15558675310', From: '+15017122661', Body: 'Hi there' },
    provider: (deps, base) => twilio(deps, TwilioOptions.parse({ ...TWILIO, api_url: base })),
    ...{ address: () => ({ number: '+15558675310' }), render: renderSms },
  },
];

const LONG = 'One line of a long <report> & more.\n'.repeat(1_500);
const TELLINGS: readonly Partial<Telling>[] = [
  {},
  { body: '', actionUrl: null, severity: 'low' },
  { actionUrl: 'mailto:ops@example.org', severity: 'urgent' },
  { actionUrl: '/path', severity: 'medium', metadata: { dedup_key: 'disk-7', event_action: 'resolve' } },
  { subject: 's'.repeat(998), body: LONG, actionUrl: `https://app.example.org/?${'a=b&'.repeat(500)}` },
];

describe.each(WIRES.map((wire) => [wire.name, wire] as const))('%s', (_, { documented, example, status, provider, address, render }) => {
  test('the documentation’s example fits what it says, and a field of our own does not', () => {
    expect(documented.safeParse(example).error).toBeUndefined();
    expect(documented.safeParse({ ...(example as object), of_our_own: 1 }).success).toBe(false);
  });

  test.each(TELLINGS.map((more) => [JSON.stringify(more).slice(0, 60), more] as const))(
    'what is sent fits it, too: %s',
    async (_name, more) => {
      const content = render(telling(more)) as never;
      const { request } = await talk({ provider, address: address as never, content }, { status });
      const isForm = request!.headers['content-type'] === 'application/x-www-form-urlencoded';
      const body: unknown = isForm ? Object.fromEntries(new URLSearchParams(request!.body)) : JSON.parse(request!.body);
      expect(documented.safeParse(body).error).toBeUndefined();
      expect(request!.method).toBe('POST');
    },
  );
});

/** RFC 8030 5 (TTL, Urgency), RFC 8291 4 (aes128gcm), RFC 8292 2 (vapid). */
test('Web Push: the headers that the standards ask for, and a token of less than a day', async () => {
  const vapid = webPush.generateVAPIDKeys();
  const options = WebPushOptions.parse({ subject: 'mailto:ops@example.org', public_key: vapid.publicKey, private_key: vapid.privateKey });
  const { request } = await talk(
    {
      provider: (deps) => webPushProvider(deps, options),
      address: (base: string) => readSubscription(makePushBrowser().subscriptionAt(`${base}/push`)),
      content: renderWebPush(telling()),
    },
    { status: 201 },
  );
  const { headers } = request!;
  expect(headers).toMatchObject({ 'content-encoding': 'aes128gcm', ttl: '86400', urgency: 'high' });
  const token = /^vapid t=([\w.-]+), ?k=[\w-]+$/.exec(headers.authorization!)?.[1] ?? '';
  const [head, claims] = token
    .split('.')
    .slice(0, 2)
    .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, number>);
  expect(head).toMatchObject({ alg: 'ES256' });
  expect(claims!['exp']! - Date.now() / 1_000).toBeLessThanOrEqual(86_400);
});
