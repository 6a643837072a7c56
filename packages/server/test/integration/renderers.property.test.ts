/** What channels make of any text: valid, within the far end's limits, and never a mention, a link or a command of the text's own. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileContent } from '../../src/catalog/content.ts';
import { escapeFor } from '../../src/catalog/escape.ts';
import { NOTHING_SAID } from '../../src/catalog/definition-fields.ts';
import { renderDiscord } from '../../src/channels/discord/render.ts';
import { renderEmail } from '../../src/channels/email/render.ts';
import { renderPagerDuty } from '../../src/channels/pagerduty/render.ts';
import { renderSlack } from '../../src/channels/slack/render.ts';
import { renderSms } from '../../src/channels/sms/render.ts';
import { renderTeams } from '../../src/channels/teams/render.ts';
import { renderTelegram } from '../../src/channels/telegram/render.ts';
import { renderWebPush } from '../../src/channels/web_push/render.ts';
import { renderWebhook } from '../../src/channels/webhook/render.ts';
import type { Telling } from '../../src/domain/channel.ts';
import { htmlToText } from '../../src/lib/html-text.ts';
import { CONTEXT, telling as sample } from '../harness/telling.ts';

/** A failure says which seed to set here. */
const seed = Number(process.env.CARILLON_TEST_SEED ?? Math.trunc(performance.timeOrigin + performance.now()) % 2 ** 31);
const RUNS = { seed, numRuns: 150, endOnFailure: true };

const HOSTILE = [
  ...['<!channel>', '<!here>', '<@U1>', '<#C1>', '<https://evil.example|here>', '<at>all</at>', '@everyone', '<@&1>', '<script>x</script>'],
  ...['&amp;', '&lt;', '[x](javascript:alert(1))', '![i](https://evil.example/p)', '**b**', '`c`', '- ', '1. ', '# ', '|', '\\', '"', "'"],
  ...[
    '\r\n',
    '\n',
    '\u0000',
    '\u2028',
    '\u202e',
    '\u2066',
    '\ud800',
    '\udc00',
    '😀',
    '€',
    '=?UTF-8?Q?x?=',
    '{{ x }}',
    '${x}',
    '</b>',
    '<b>',
  ],
];
const piece = fc.oneof(fc.constantFrom(...HOSTILE), fc.string({ unit: 'binary', maxLength: 12 }), fc.string({ maxLength: 12 }));
const short = fc.array(piece, { maxLength: 20 }).map((parts) => parts.join(''));
/** Some are far over every limit. */
const text = fc.oneof(
  short,
  fc.tuple(short, fc.integer({ min: 1, max: 4_000 })).map(([part, times]) => part.repeat(times).slice(0, 65_536)),
);
const link = fc.oneof(
  fc.constantFrom(null, '/disks/7', '//evil.example', 'javascript:alert(1)', 'JaVaScRiPt:alert(1)', 'data:text/html,x', 'vbscript:x'),
  fc.constantFrom(
    'https://user@evil.example/',
    'https://a.example/"onclick=x',
    'https://a.example/>x',
    'ftp://a.example',
    'mailto:a@example.org',
  ),
  fc
    .tuple(fc.constantFrom('a', '€', '😀', '&', ')', '|', '*'), fc.nat(2_000))
    .map(([unit, n]) => `https://a.example/${unit.repeat(n)}`.slice(0, 2_048)),
  short,
);
const tellings: fc.Arbitrary<Telling> = fc.record({
  eventId: fc.constant('evt_1'),
  notificationId: fc.constantFrom('ntf_1', null),
  userId: fc.constantFrom('ada', null),
  type: short.map((value) => value.slice(0, 256)),
  acceptedAt: fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true }),
  subject: text,
  body: text,
  severity: fc.constantFrom('low', 'medium', 'high', 'urgent'),
  tags: fc.array(short, { maxLength: 5 }),
  actionUrl: link,
  metadata: fc.dictionary(fc.constantFrom('dedup_key', 'event_action', 'x'), text, { maxKeys: 3 }),
  data: fc.dictionary(short, fc.jsonValue(), { maxKeys: 3 }),
});

/** The counterexample may be of 64 KiB: the seed finds it again. */
function assertFor<T>(arbitrary: fc.Arbitrary<T>, predicate: (value: T) => void): void {
  const { failed, errorInstance, counterexamplePath } = fc.check(fc.property(arbitrary, predicate), RUNS);
  if (failed) throw new Error(`CARILLON_TEST_SEED=${seed}, path ${counterexamplePath ?? ''}`, { cause: errorInstance });
}

const holds = (property: (telling: Telling) => void) => {
  assertFor(tellings, property);
};

/** As the far end reads it: every character that could not be written is U+FFFD by then. */
function sent<T>(message: T): { bytes: number; message: T } {
  const json = JSON.stringify(message);
  const bytes = Buffer.from(json);
  return { bytes: bytes.length, message: JSON.parse(bytes.toString()) as T };
}

function every(value: unknown, key: string): unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => [...(name === key ? [inner] : []), ...every(inner, key)]);
}

const SAFE = /^(?:https?:\/\/[^/?#@]+(?:[/?#]|$)|mailto:[^/])/i;

describe('any text', () => {
  test('Slack: 50 blocks, 3,000 characters a section, 13,000 in all; no mention; links to pages only', () => {
    holds((telling) => {
      const { message } = sent(renderSlack(telling, CONTEXT));
      const texts = message.blocks.flatMap(({ text: one }) => (one ? [one.text] : []));
      expect(message.blocks.length).toBeLessThanOrEqual(50);
      expect(Math.max(...texts.map((one) => one.length))).toBeLessThanOrEqual(3_000);
      expect(texts[0]!.length).toBeLessThanOrEqual(150);
      expect(texts.join('').length).toBeLessThanOrEqual(13_000);
      for (const one of [...every(message, 'text'), ...every(message, 'fallback')].filter((found) => typeof found === 'string')) {
        const links = [...one.matchAll(/<([^|>]*)\|[^<>]*>/g)].map(([, url]) => url!.replaceAll('&amp;', '&'));
        for (const url of links) expect(url).toMatch(SAFE);
        expect(one.replace(/<[^|>]*\|[^<>]*>/g, '')).not.toMatch(/[<>]|&(?!amp;|lt;|gt;)/);
      }
      for (const url of every(message, 'url')) expect(url).toMatch(SAFE);
      expect(every(message.blocks, 'text')).not.toContain('');
    });
  });

  test('Teams: 28,000 bytes; nothing of its Markdown; links to pages and mailboxes only', () => {
    holds((telling) => {
      const { bytes, message } = sent(renderTeams(telling, CONTEXT));
      expect(bytes).toBeLessThanOrEqual(28_000);
      const { body, actions = [] } = message.attachments[0]!.content;
      for (const block of body) {
        const unescaped = block.text.replace(/\\[\\`*_[\]()~<>|\-+#.)]/g, 'x');
        expect(unescaped).not.toMatch(/[\\`*_[\]()~<>|]/);
        expect(unescaped).not.toMatch(/^[^\S\n\r]*(?:[-+#]|\d+[.)])/m);
      }
      for (const { url } of actions) expect(url).toMatch(SAFE);
    });
  });

  test('Discord: titles of 256, 4,096 characters, 6,000 in all; mentions nobody', () => {
    holds((telling) => {
      const { message } = sent(renderDiscord(telling, CONTEXT));
      const [embed] = message.embeds;
      expect(message.allowed_mentions).toEqual({ parse: [] });
      expect(embed.title.length).toBeLessThanOrEqual(256);
      expect(embed.description?.length ?? 1).toBeLessThanOrEqual(4_096);
      expect(embed.title.length + (embed.description?.length ?? 0) + embed.footer.text.length).toBeLessThanOrEqual(6_000);
      if (embed.url !== undefined) expect(embed.url).toMatch(/^https?:/i);
      const own = /\[Open in Carillon\]\(<([^>]*)>\)$/.exec(embed.description ?? '');
      if (own) expect(own[1]).toMatch(SAFE);
      const said = (embed.description ?? '').slice(0, own?.index);
      expect(said.replace(/\\[\\`*_~|[\]()<>@#\-+]/g, '')).not.toMatch(/[`*_~|[\]()<>@#]/);
    });
  });

  test('Telegram: 4,096 characters once its markup is read, and no markup but the title’s', () => {
    holds((telling) => {
      const { message } = sent(renderTelegram(telling, CONTEXT));
      const title = /^<b>([^<>]*)<\/b>/.exec(message.text);
      expect(title).not.toBeNull();
      const rest = message.text.slice(title![0].length);
      expect(title![1]! + rest).not.toMatch(/[<>]|&(?!amp;|lt;|gt;)/);
      expect((title![1]! + rest).replace(/&(?:amp|lt|gt);/g, '.').length).toBeLessThanOrEqual(4_096);
      for (const url of every(message, 'url')) expect(url).toMatch(/^https?:/i);
    });
  });

  test('PagerDuty: a summary of 1,024, a key of 255, under 512 kB', () => {
    holds((telling) => {
      const { bytes, message } = sent(renderPagerDuty(telling, CONTEXT));
      expect(bytes).toBeLessThanOrEqual(512_000);
      expect(message.payload.summary.length).toBeLessThanOrEqual(1_024);
      expect(message.dedup_key.length).toBeLessThanOrEqual(255);
      expect(['trigger', 'acknowledge', 'resolve']).toContain(message.event_action);
      for (const url of [...every(message, 'client_url'), ...every(message, 'href')]) expect(url).toMatch(SAFE);
    });
  });

  test('text messages: 1,600 characters', () => {
    holds((telling) => {
      expect(renderSms(telling).text.length).toBeLessThanOrEqual(1_600);
    });
  });

  test('Web Push: 3,900 bytes before they are encrypted; a page’s own path, or a link that is safe', () => {
    holds((telling) => {
      const { payload } = renderWebPush(telling);
      expect(Buffer.byteLength(payload)).toBeLessThanOrEqual(3_900);
      const { url } = JSON.parse(payload) as { url: string | null };
      if (url !== null) expect(url).toMatch(/^(?:\/(?!\/)|https?:\/\/|mailto:)/i);
    });
  });

  test('webhooks: what was said, as JSON', () => {
    holds((telling) => {
      const { data } = JSON.parse(Buffer.from(renderWebhook(telling)).toString()) as { data: Record<string, unknown> };
      expect([data['subject'], data['body'], data['tags']]).toEqual([telling.subject, telling.body, telling.tags]);
    });
  });

  test('mail: no element but our own, and one link at most', () => {
    const ours = /^(?:!doctype|html|\/?(?:html|head|title|body|main|h1|p|a)|meta|br)$/i;
    holds((telling) => {
      const { html } = renderEmail({ ...telling, productName: 'Carillon' });
      const names = [...html.matchAll(/<([^\s>]*)[^>]*>/g)].map(([, name]) => name);
      for (const name of names) expect(name).toMatch(ours);
      expect(names.filter((name) => name === 'a').length).toBeLessThanOrEqual(1);
      for (const [, href] of html.matchAll(/href="([^"]*)"/g)) expect(href).toMatch(SAFE);
    });
  });
});

/** A pattern that looks past its line costs the square of these: minutes, in the thread that serves everybody. */
test.each([['\n'], ['\r'], ['\u2028'], [' '], ['\n '], ['1\n'], ['-\n'], ['1']])('64 KiB of %j are written at once, everywhere', (unit) => {
  const telling = { ...sample(), body: `a${unit.repeat(65_000 / unit.length)}b` };
  for (const render of [renderSlack, renderTeams, renderDiscord, renderTelegram, renderPagerDuty])
    expect(sent(render(telling, CONTEXT)).bytes).toBeGreaterThan(0);
  expect(renderSms(telling).text).toContain('a');
  expect(renderWebPush(telling).payload).toContain('a');
  expect(htmlToText(renderEmail({ ...telling, productName: 'Carillon' }).html)).toContain('a');
  for (const target of ['html', 'slack', 'markdown'] as const) expect(escapeFor(target, telling.body)).toContain('a');
});

test('templates of JSON stay JSON, and nothing in the data mentions, links or marks up, whatever it is', () => {
  const payload = '{"text":"{{ data.a }}","blocks":[{"text":"x {{ data.b | upcase }} {{ data.c | join: \', \' }}"},{"n":"{{ data.n }}"}]}';
  const files = {
    'event.yaml': '',
    'slack.json.liquid': payload,
    'teams.json.liquid': payload,
    'email.html.liquid': '<p title="{{ data.a }}">{{ data.b }}</p>',
  };
  const compiled = compileContent('any', files, NOTHING_SAID);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  const data = fc.record({ a: text, b: short, c: fc.array(short, { maxLength: 5 }), n: fc.jsonValue() });
  assertFor(data, (given) => {
    const scope = { values: { data: given }, locale: null, baseUrl: null };
    const [slack, teams, email] = ['slack', 'teams', 'email'].map((channel) => compiled.content.channel(channel, scope));
    const written = [slack, teams, email].map((made) => (made?.ok ? made.value : undefined));
    for (const [at, made] of [slack, teams, email].entries())
      if (!written[at]) expect(made).toMatchObject({ detail: expect.stringContaining('256 KiB') });
    for (const one of every(written[0]?.payload, 'text').filter((found) => typeof found === 'string')) expect(one).not.toMatch(/[<>]/);
    for (const one of every(written[1]?.payload, 'text').filter((found) => typeof found === 'string'))
      expect(one.replace(/\\[\\`*_~|[\]()#<>\-+]/g, '')).not.toMatch(/[`*_~|[\]()#<>]/);
    if (written[2]) expect(written[2].html).toMatch(/^<p title="[^"<>]*">[^<>]*<\/p>$/);
  });
});
