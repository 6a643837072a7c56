import { describe, expect, test } from 'vitest';
import { httpContract, talk } from '../../../test/conformance/http-provider.ts';
import { CONTEXT, telling } from '../../../test/harness/telling.ts';
import { escapeSlack, renderSlack, SLACK_COLOURS } from './render.ts';
import { slackWebhook } from './webhook.ts';

const PATH = '/services/T00000000/B00000000/planted-secret';
const subject = {
  name: 'slack.webhook',
  provider: slackWebhook,
  address: (base: string) => ({ url: base + PATH }),
  content: renderSlack(telling(), CONTEXT),
};

httpContract({
  ...subject,
  body: (status) => (status === 200 ? 'ok\n' : 'some_error'),
  accepts: [200],
  refuses: [
    [201, 'transient', 'provider_error'],
    [302, 'transient', 'provider_error'],
    [400, 'transient', 'provider_error'],
    [403, 'transient', 'unauthorized'],
    [404, 'transient', 'provider_error'],
    [410, 'permanent', 'address_gone'],
    [413, 'permanent', 'content_rejected'],
    [429, 'transient', 'rate_limited'],
    [500, 'transient', 'provider_error'],
  ],
  secrets: [PATH, 'planted-secret'],
});

describe('what Slack answers', () => {
  test.each([
    [404, 'no_service', 'permanent', 'address_gone'],
    [410, 'channel_is_archived', 'permanent', 'address_gone'],
    [400, 'invalid_payload', 'permanent', 'content_rejected'],
    [403, 'action_prohibited', 'transient', 'unauthorized'],
    [500, 'rollup_error', 'transient', 'provider_error'],
    [200, 'not ok', 'transient', 'provider_error'],
    [200, '', 'transient', 'provider_error'],
  ])('%i %s is %s: %s', async (status, body, kind, reason) => {
    const { result } = await talk(subject, { status, body });
    expect(result).toMatchObject({ kind, reason, status });
    expect(result).toHaveProperty('detail', body === '' ? `HTTP ${status}` : `HTTP ${status}: ${body}`);
  });

  test('with 429 it says when to come back', async () => {
    const { result } = await talk(subject, { status: 429, headers: { 'retry-after': '30' } });
    expect(result).toMatchObject({ kind: 'transient', reason: 'rate_limited', retryAfterMs: 30_000 });
  });

  test('of a refusal the status and 200 characters are kept', async () => {
    const { result } = await talk(subject, { status: 500, body: 'x'.repeat(1_000) });
    expect(result).toHaveProperty('detail', `HTTP 500: ${'x'.repeat(200)}`);
  });
});

describe('the message', () => {
  test('arrives as JSON: header, section, button, and the colour of its severity', async () => {
    const { request } = await talk(subject, { status: 200, body: 'ok' });
    expect(request).toMatchObject({ method: 'POST', path: PATH, headers: { 'content-type': 'application/json' } });
    expect(JSON.parse(request!.body)).toEqual({
      text: '🔔 Disk almost full',
      blocks: [
        { type: 'header', text: { type: 'plain_text', text: '🔔 Disk almost full' } },
        { type: 'section', text: { type: 'mrkdwn', text: '92 % used', verbatim: true } },
        {
          type: 'actions',
          elements: [{ type: 'button', text: { type: 'plain_text', text: 'Open in Carillon' }, url: 'https://app.example.org/disks/7' }],
        },
      ],
      attachments: [
        {
          color: SLACK_COLOURS.high,
          fallback: 'Severity: high · disk.full',
          blocks: [{ type: 'context', elements: [{ type: 'mrkdwn', text: 'Severity: high · disk.full', verbatim: true }] }],
        },
      ],
      unfurl_links: false,
      unfurl_media: false,
    });
  });

  test('each severity has a colour of its own', () => {
    expect(new Set(Object.values(SLACK_COLOURS)).size).toBe(4);
  });

  test('nothing in it can mention or link', () => {
    const hostile = '<!channel> <@U1> <https://evil.example|here> & co';
    const text = JSON.stringify(renderSlack(telling({ subject: hostile, body: hostile, type: '<!here>' }), { productName: '<!everyone>' }));
    expect(text).not.toMatch(/<[!@#h]/);
    expect(text).toContain('&lt;!channel&gt; &lt;@U1&gt; &lt;https://evil.example|here&gt; &amp; co');
  });

  test.each([[null], ['/disks/7'], ['javascript:alert(1)']])('an action URL %s makes no button', (actionUrl) => {
    expect(renderSlack(telling({ actionUrl }), CONTEXT).blocks.map(({ type }) => type)).toEqual(['header', 'section']);
  });

  test('a mail link is a link, since a button takes pages only', () => {
    expect(renderSlack(telling({ actionUrl: 'mailto:ops@example.org' }), CONTEXT).blocks.at(-1)?.text?.text).toBe(
      '<mailto:ops@example.org|Open in Carillon>',
    );
  });

  test('without a body there is no empty section', () => {
    expect(renderSlack(telling({ body: ' \n' }), CONTEXT).blocks.map(({ type }) => type)).toEqual(['header', 'actions']);
  });
});

describe('its limits', () => {
  const long: [string, string][] = [
    ['letters', 'a'.repeat(100_000)],
    ['what is escaped', '<&>'.repeat(30_000)],
    ['lines', 'one line of a log\n'.repeat(5_000)],
    ['characters of two units', '😀'.repeat(40_000)],
  ];
  test.each(long)('%s: sections of 3,000, 13,000 in all, 50 blocks, and a link to the rest', (_, body) => {
    const message = renderSlack(telling({ subject: body, body, actionUrl: `https://app.example.org/${'p'.repeat(2_000)}` }), CONTEXT);
    const texts = message.blocks.flatMap(({ text }) => (text ? [text.text] : []));
    expect(message.blocks.length).toBeLessThanOrEqual(50);
    expect(texts[0]!.length).toBeLessThanOrEqual(150);
    for (const text of texts) expect(text.length).toBeLessThanOrEqual(3_000);
    expect(texts.join('').length).toBeLessThanOrEqual(13_000);
    expect(texts.join('').length).toBeGreaterThan(7_000);
    expect(texts.at(-1)).toContain('|Read the rest>');
    for (const text of texts) {
      expect(text.isWellFormed()).toBe(true);
      expect(text.replace(/<https[^>]*>/, '')).not.toMatch(/&(?!amp;|lt;|gt;)|[<>]/);
    }
  });

  test('what fits is whole', () => {
    const body = '<'.repeat(2_500) + 'x';
    const message = renderSlack(telling({ body }), CONTEXT);
    const sections = message.blocks.filter(({ type }) => type === 'section').map(({ text }) => text?.text);
    expect(sections.join('')).toBe(escapeSlack(body));
  });
});
