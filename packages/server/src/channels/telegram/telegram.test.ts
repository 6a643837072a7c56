import { describe, expect, test } from 'vitest';
import { httpContract, talk } from '../../../test/conformance/http-provider.ts';
import { CONTEXT, telling } from '../../../test/harness/telling.ts';
import { telegramBot, TelegramOptions } from './bot.ts';
import { renderTelegram } from './render.ts';

const TOKEN = '123456:planted-secret-ABCDEFGHIJKLMNOP';
const subject = {
  name: 'telegram.bot',
  provider: (deps: Parameters<typeof telegramBot>[0], base: string) => telegramBot(deps, { bot_token: TOKEN, api_url: base }),
  address: () => ({ chatId: '-1001234' }),
  content: renderTelegram(telling(), CONTEXT),
};
const refusal = (status: number, description: string, parameters?: object) => ({
  status,
  body: JSON.stringify({ ok: false, error_code: status, description, ...(parameters && { parameters }) }),
});

httpContract({
  ...subject,
  body: (status) => (status === 200 ? '{"ok":true,"result":{"message_id":42}}' : refusal(status, 'said so').body),
  accepts: [200],
  refuses: [
    [400, 'permanent', 'content_rejected'],
    [401, 'transient', 'unauthorized'],
    [403, 'permanent', 'address_gone'],
    [404, 'transient', 'provider_error'],
    [429, 'transient', 'rate_limited'],
    [502, 'transient', 'provider_error'],
  ],
  secrets: [TOKEN],
});

test('the request is that of the Bot API, and its answer gives the id', async () => {
  const { request, result } = await talk(subject, { status: 200, body: '{"ok":true,"result":{"message_id":42,"chat":{"id":-1001234}}}' });
  expect(request).toMatchObject({ method: 'POST', path: `/bot${TOKEN}/sendMessage`, headers: { 'content-type': 'application/json' } });
  expect(JSON.parse(request!.body)).toEqual({
    chat_id: '-1001234',
    text: '<b>Disk almost full</b>\n\n92 % used',
    parse_mode: 'HTML',
    link_preview_options: { is_disabled: true },
    reply_markup: { inline_keyboard: [[{ text: 'Open in Carillon', url: 'https://app.example.org/disks/7' }]] },
  });
  expect(result).toMatchObject({ kind: 'accepted', providerId: '42' });
});

describe('what Telegram answers', () => {
  test.each([
    [refusal(400, 'Bad Request: chat not found'), { kind: 'permanent', reason: 'address_rejected' }],
    [refusal(400, "Bad Request: can't parse entities"), { kind: 'permanent', reason: 'content_rejected' }],
    [refusal(403, 'Forbidden: bot was blocked by the user'), { kind: 'permanent', reason: 'address_gone' }],
    [
      refusal(429, 'Too Many Requests: retry after 35', { retry_after: 35 }),
      { kind: 'transient', reason: 'rate_limited', retryAfterMs: 35_000 },
    ],
    [
      { status: 200, body: '<html>' },
      { kind: 'transient', reason: 'provider_error' },
    ],
  ])('%j', async (answer, want) => {
    expect((await talk(subject, answer)).result).toMatchObject(want);
  });
});

test('nothing in the text is markup', () => {
  const { text } = renderTelegram(telling({ subject: '<a href="x">&', body: '</b><script>' }), CONTEXT);
  expect(text).toBe('<b>&lt;a href="x"&gt;&amp;</b>\n\n&lt;/b&gt;&lt;script&gt;');
});

test.each([['x'], ['<'], ['😀']])('however long, of %j: 4,096', (unit) => {
  const { text } = renderTelegram(telling({ subject: unit.repeat(9_000), body: unit.repeat(9_000) }), CONTEXT);
  expect(text.length).toBeLessThanOrEqual(4_096);
  expect(text.isWellFormed()).toBe(true);
  expect(text.replace(/<\/?b>/g, '')).not.toMatch(/&(?!amp;|lt;|gt;)|[<>]/);
});

test('a mail link stands in the text, since a button takes pages only', () => {
  expect(renderTelegram(telling({ actionUrl: 'mailto:ops@example.org' }), CONTEXT)).toMatchObject({
    text: expect.stringContaining('\n\nmailto:ops@example.org'),
  });
});

test('a token that is none is refused', () => {
  expect(TelegramOptions.safeParse({ bot_token: 'x' }).success).toBe(false);
  expect(TelegramOptions.parse({ bot_token: TOKEN, api_url: 'https://bots.example.org/' }).api_url).toBe('https://bots.example.org');
});
