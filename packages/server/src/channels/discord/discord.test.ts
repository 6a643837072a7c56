import { describe, expect, test } from 'vitest';
import { httpContract, talk } from '../../../test/conformance/http-provider.ts';
import { CONTEXT, telling } from '../../../test/harness/telling.ts';
import { escapeDiscord, renderDiscord } from './render.ts';
import { discordWebhook } from './webhook.ts';

const PATH = '/api/webhooks/223704706495545344/planted-secret';
const subject = {
  name: 'discord.webhook',
  provider: discordWebhook,
  address: (base: string) => ({ url: base + PATH }),
  content: renderDiscord(telling(), CONTEXT),
};

httpContract({
  ...subject,
  body: (status) => (status === 200 ? '{"id":"1234"}' : '{"message":"said so","code":0}'),
  accepts: [200, 204],
  refuses: [
    [302, 'transient', 'provider_error'],
    [400, 'permanent', 'content_rejected'],
    [401, 'transient', 'unauthorized'],
    [404, 'transient', 'provider_error'],
    [429, 'transient', 'rate_limited'],
    [500, 'transient', 'provider_error'],
  ],
  secrets: [PATH, 'planted-secret'],
});

describe('what Discord answers', () => {
  test('the stored message gives its id', async () => {
    expect((await talk(subject, { status: 200, body: '{"id":"99","type":0}' })).result).toMatchObject({
      kind: 'accepted',
      providerId: '99',
    });
  });

  test('a webhook that was deleted is gone', async () => {
    const { result } = await talk(subject, { status: 404, body: '{"message":"Unknown Webhook","code":10015}' });
    expect(result).toMatchObject({ kind: 'permanent', reason: 'address_gone', status: 404 });
  });

  test('its own wish in seconds counts', async () => {
    const { result } = await talk(subject, { status: 429, body: '{"message":"slow down","retry_after":1.337,"global":false}' });
    expect(result).toMatchObject({ kind: 'transient', reason: 'rate_limited', retryAfterMs: 1_337 });
  });
});

test('the message is an embed, mentions nobody, and is waited for', async () => {
  const { request } = await talk(subject, { status: 204 });
  expect(request).toMatchObject({ method: 'POST', path: `${PATH}?wait=true` });
  expect(JSON.parse(request!.body)).toEqual({
    embeds: [
      {
        title: 'Disk almost full',
        description: '92 % used\n\n[Open in Carillon](<https://app.example.org/disks/7>)',
        url: 'https://app.example.org/disks/7',
        color: 0xe8912d,
        footer: { text: 'Carillon' },
      },
    ],
    allowed_mentions: { parse: [] },
  });
});

test('a thread of the URL is kept', async () => {
  const address = (base: string) => ({ url: `${base}${PATH}?thread_id=7` });
  expect((await talk({ ...subject, address }, { status: 204 })).request?.path).toBe(`${PATH}?thread_id=7&wait=true`);
});

test.each([
  ['@everyone', String.raw`\@everyone`],
  ['[a](https://evil.example)', String.raw`\[a\]\(https://evil.example\)`],
  ['**b** `c` > q', '\\*\\*b\\*\\* \\`c\\` \\> q'],
  ['- item', String.raw`\- item`],
])('%j is escaped', (text, want) => {
  expect(escapeDiscord(text)).toBe(want);
});

test.each([['x'], ['*'], ['😀']])('however long, of %j: title 256, description 4,096', (unit) => {
  const [embed] = renderDiscord(telling({ subject: unit.repeat(5_000), body: unit.repeat(50_000) }), CONTEXT).embeds;
  expect(embed.title.length).toBeLessThanOrEqual(256);
  expect(embed.description!.length).toBeLessThanOrEqual(4_096);
  expect(embed.description!.length).toBeGreaterThan(4_000);
  expect(embed.description!.isWellFormed() && embed.title.isWellFormed()).toBe(true);
});
