/** Texts that mean harm, sent through the whole server on every channel, and read at the far end as its reader's program does. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import PostalMime from 'postal-mime';
import webPush from 'web-push';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../harness/core.ts';
import { startMailServer, type MailServer } from '../harness/mail-server.ts';
import { makePushBrowser } from '../harness/push-browser.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const CHATS = ['slack', 'teams', 'discord'];
const CHANNELS = [...CHATS, 'telegram', 'pagerduty', 'sms', 'web_push', 'webhook', 'email'];
const browser = makePushBrowser();

let farEnd: Server;
let origin: string;
let mails: MailServer;
let server: TestServer;
/** What came, newest last, by channel. */
const arrived = new Map<string, Buffer[]>();

/** The first part of a path says whose far end it is; each answers as its documentation shows success. */
const SUCCESS: Readonly<Record<string, readonly [number, string]>> = {
  slack: [200, 'ok'],
  teams: [202, ''],
  discord: [200, '{"id":"1"}'],
  telegram: [200, '{"ok":true,"result":{"message_id":1}}'],
  pagerduty: [202, '{"status":"success","message":"Event processed","dedup_key":"k"}'],
  sms: [201, '{"sid":"SM1","status":"queued"}'],
  web_push: [201, ''],
  webhook: [200, ''],
};

async function readAll(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

beforeAll(async () => {
  mails = await startMailServer();
  farEnd = createServer((request, response) => {
    void readAll(request).then((body) => {
      const channel = request.url?.split('/')[1] ?? '';
      arrived.set(channel, [...(arrived.get(channel) ?? []), body]);
      const [status, answer] = SUCCESS[channel] ?? [500, ''];
      response.writeHead(status).end(answer);
    });
  }).listen(0, '127.0.0.1');
  await once(farEnd, 'listening');
  origin = `http://127.0.0.1:${(farEnd.address() as AddressInfo).port}`;
  const vapid = webPush.generateVAPIDKeys();
  const push = { subject: 'mailto:ops@example.org', public_key: vapid.publicKey, private_key: vapid.privateKey };
  const twilio = { account_sid: `AC${'0'.repeat(32)}`, auth_token: 'a-token-of-twilio', from: '+15017122661', api_url: `${origin}/sms` };
  const on = (options: object) => ({ enabled: true, options });
  server = await startServer({
    'email.smtp.host': '127.0.0.1',
    'email.smtp.port': mails.port,
    'email.smtp.security': 'none',
    'email.smtp.from': 'bell@carillon.example',
    channels: {
      telegram: on({ bot_token: '123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11', api_url: `${origin}/telegram` }),
      pagerduty: on({ api_url: `${origin}/pagerduty` }),
      sms: on(twilio),
      web_push: on(push),
    },
  });
  await server.api('PUT', '/v1/users/ada', { email: 'ada@example.org', phone: '+15558675310', webhook_url: `${origin}/webhook` });
  const own = {
    ...Object.fromEntries(CHATS.map((name) => [name, { enabled: true, webhook_url: `${origin}/${name}/x` }])),
    telegram: { enabled: true, chat_id: '42' },
    pagerduty: { enabled: true, routing_key: 'k'.repeat(32) },
    web_push: { enabled: true, subscription: browser.subscriptionAt(`${origin}/web_push`) },
  };
  expect((await server.api('PUT', '/v1/users/ada/preferences', { channels: own })).status).toBe(200);
});
afterAll(async () => {
  await server.stop();
  await mails.close();
  farEnd.close();
});

/** Tells Ada on every channel, and gives what came there. */
async function tell(item: object): Promise<Record<string, Buffer>> {
  arrived.clear();
  const before = mails.mails.length;
  const { status, body } = await server.api('POST', '/v1/notifications', { to: ['ada'], channels: CHANNELS, ...item });
  expect(status, JSON.stringify(body)).toBe(202);
  await eventually(async () => (await server.api('GET', `/v1/events/${body.id}`)).body.counts).toMatchObject({
    delivered: CHANNELS.length,
    failed: 0,
  });
  const mail = mails.mails.slice(before).map(({ raw }) => Buffer.from(raw));
  return Object.fromEntries([...arrived, ['email', mail] as const].map(([channel, all]) => [channel, all[0]!]));
}

interface Seen {
  readonly title: string;
  readonly body: string;
  /** Everything that the program would open, run or call by name. */
  readonly active: readonly unknown[];
}

/** Anything deeper that stands under this name. */
function under(value: unknown, name: string): unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [...(key === name ? [inner] : []), ...under(inner, name)]);
}

const ENTITIES: Readonly<Record<string, string>> = { '&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'" };
const decoded = (text: string) => text.replace(/&(?:amp|lt|gt|quot|#39);/g, (entity) => ENTITIES[entity]!);
/** CommonMark: a backslash before punctuation is not shown. */
const unescaped = (text: string) => text.replace(/\\([!-/:-@[-`{-~])/g, '$1');
const json = (body: Buffer) => JSON.parse(body.toString()) as Record<string, any>; // eslint-disable-line @typescript-eslint/no-explicit-any -- as it came

/** How each far end reads what it gets, by its own documentation. */
const READERS: Readonly<Record<string, (body: Buffer) => Seen | Promise<Seen>>> = {
  slack: (body) => {
    const { blocks } = json(body);
    const texts = blocks.map((block: { text: { text: string } }) => block.text.text) as string[];
    return { title: decoded(texts[0]!), body: decoded(texts[1]!), active: texts.flatMap((text) => text.match(/<[^>]*>/g) ?? []) };
  },
  teams: (body) => {
    const [title, text] = json(body)['attachments'][0].content.body.map((block: { text: string }) => block.text) as string[];
    const active = [title!, text!].flatMap((one) => one.match(/(?<!\\)(?:\\\\)*(?:[[<`*_]|^[-+#] |^\d+[.)] )/gm) ?? []);
    return { title: unescaped(title!), body: unescaped(text!), active };
  },
  discord: (body) => {
    const { embeds, allowed_mentions: mentions } = json(body);
    const { title, description } = embeds[0] as { title: string; description: string };
    const active = [title, description].flatMap((one) => one.match(/(?<!\\)(?:\\\\)*[[<`*_@|~]/g) ?? []);
    return { title: unescaped(title), body: unescaped(description), active: [...active, ...(mentions.parse as unknown[])] };
  },
  telegram: (body) => {
    const [, title = '', text = ''] = /^<b>(.*?)<\/b>\n\n(.*)$/s.exec(json(body)['text'] as string) ?? [];
    return { title: decoded(title), body: decoded(text), active: (title + text).match(/<[^>]*>/g) ?? [] };
  },
  pagerduty: (body) => {
    const { payload, links = [] } = json(body);
    return { title: payload.summary as string, body: payload.custom_details.body as string, active: links as unknown[] };
  },
  sms: (body) => {
    const [title = '', ...lines] = (new URLSearchParams(body.toString()).get('Body') ?? '').split('\n');
    return { title, body: lines.join('\n'), active: [] };
  },
  web_push: (body) => {
    const { title, body: text, url } = JSON.parse(browser.decrypt(body)) as { title: string; body: string; url: unknown };
    return { title, body: text, active: url === null ? [] : [url] };
  },
  webhook: (body) => {
    const { subject, body: text, action_url: url } = json(body)['data'];
    return { title: subject as string, body: text as string, active: url === null ? [] : [url] };
  },
  email: async (body) => {
    const { subject = '', html = '', text = '', to = [], cc = [], bcc = [] } = await PostalMime.parse(body);
    const inMain = /<main[^>]*>(.*)<\/main>/s.exec(html)![1]!;
    const shown = decoded(
      inMain
        .replace(/<br>/g, '')
        .replace(/<\/p>\n<p[^>]*>/g, '\n\n')
        .replace(/<[^>]*>/g, ''),
    ).trim();
    expect(shown.startsWith(subject)).toBe(true);
    expect(text.split('\n\n-- \n')[0]).toBe(shown.slice(subject.length, -'Carillon'.length).trim());
    const elements = inMain.match(/<(?!\/|br>|h1 |p )[^>]*>/g) ?? [];
    return { title: subject, body: text.split('\n\n-- \n')[0]!, active: [...elements, ...cc, ...bcc, ...to.slice(1)] };
  },
};

const EVIL: readonly (readonly [name: string, text: string])[] = [
  ['a script', '<script>alert(1)</script><img src=x onerror=alert(1)>'],
  ['mentions', '<!channel> <!here> <@U1> <#C1|x> <at>all</at> @everyone @here <@&1>'],
  ['entities', '&amp; &lt;b&gt; &#x3c; &copy; & &&'],
  ['links of Markdown', '[x](javascript:alert(1)) ![i](https://evil.example/p.png) [a]: https://evil.example'],
  ['links of Slack', '<https://evil.example|here> <mailto:a@evil.example|x> <javascript:x|y>'],
  ['emphasis', '**b** _i_ `c` ~~s~~ ||spoiler|| ```block``` *x*'],
  ['quotes and backslashes', `"\\" '\\'' \\n \\u003cb\\u003e {"a":1} }]}`],
  ['bidi controls', 'invoice\u202egpj.exe\u202c \u2066isolated\u2069 \u200e\u200f'],
  ['templates', '{{ data.secret }} {% for a in b %} ${x} #{x} %s %n'],
  ['an encoded word', '=?UTF-8?Q?=0D=0ABcc:_x@evil.example?= =?utf-8?B?PHNjcmlwdD4=?='],
  ['an address of its own', 'x@evil.example, "y" <z@evil.example>'],
];

describe('is seen as it was written, and nothing else comes of it', () => {
  test.each(EVIL)('%s', async (_, evil) => {
    const came = await tell({ subject: evil, body: `first ${evil}` });
    for (const channel of CHANNELS) {
      const seen = await READERS[channel]!(came[channel]!);
      // Slack cuts a header at 150 characters; a text is as long as it is everywhere else.
      const title = channel === 'slack' ? seen.title.replace(/^🔔 /, '') : seen.title;
      expect(title.endsWith('…') ? evil.startsWith(title.slice(0, -1)) : title === evil, `${channel}: ${title}`).toBe(true);
      expect(seen, channel).toMatchObject({ body: `first ${evil}`, active: [] });
    }
  });

  test('lines that look like headers, lists and titles stay lines of the text', async () => {
    const evil = 'a\nBcc: x@evil.example\n\n# title\n- item\n1. one\n.\nQUIT';
    const came = await tell({ subject: 'Lines', body: evil });
    for (const channel of CHANNELS) {
      const seen = await READERS[channel]!(came[channel]!);
      expect([seen.title.replace('🔔 ', ''), seen.active], channel).toEqual(['Lines', []]);
      expect(seen.body.replace(/\n+/g, '\n'), channel).toBe(evil.replace(/\n+/g, '\n'));
    }
  });

  test('a text of 64 KiB is whole where it may be, and cut with a mark elsewhere', async () => {
    const came = await tell({ subject: 'Long', body: '<b>&"\\*'.repeat(8_000), action_url: 'https://app.example.org/all' });
    expect(json(came['webhook']!)['data'].body).toHaveLength(56_000);
    expect(
      under(json(came['slack']!)['blocks'], 'text')
        .filter((text) => typeof text === 'string')
        .join('').length,
    ).toBeLessThanOrEqual(13_000);
    expect(came['teams']!.length).toBeLessThanOrEqual(28_000);
    expect(json(came['discord']!)['embeds'][0].description.length).toBeLessThanOrEqual(4_096);
    expect(decoded(json(came['telegram']!)['text'] as string).length).toBeLessThanOrEqual(4_096);
    expect(new URLSearchParams(came['sms']!.toString()).get('Body')!.length).toBeLessThanOrEqual(1_600);
    expect(came['web_push']!.length).toBeLessThanOrEqual(4_096);
    for (const channel of ['slack', 'teams', 'discord', 'sms'])
      expect(decodeURIComponent(came[channel]!.toString().replace(/%(?![0-9A-F]{2})/g, '')), channel).toContain('…');
    for (const channel of [...CHATS, 'telegram', 'pagerduty', 'sms', 'email'])
      expect(decodeURIComponent(came[channel]!.toString().replace(/%(?![0-9A-F]{2})/g, '')), channel).toContain('app.example.org/all');
  });
});

describe('never gets in', () => {
  const post = (path: string, body: string) =>
    fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
      body,
    });

  test.each([
    ['a line break in a subject', '{"to":["ada"],"subject":"a\\r\\nBcc: x@evil.example"}', '/subject'],
    ['NUL', '{"to":["ada"],"subject":"x","body":"a\\u0000b"}', '/body'],
    ['half a character', '{"to":["ada"],"subject":"x","body":"a\\ud800b"}', '/body'],
    ['a script as a link', '{"to":["ada"],"subject":"x","action_url":"javascript:alert(1)"}', '/action_url'],
    ['a link of another protocol', '{"to":["ada"],"subject":"x","action_url":"data:text/html,x"}', '/action_url'],
  ])('%s: it is refused where it stands', async (_, body, pointer) => {
    const answer = await post('/v1/notifications', body);
    const { errors } = (await answer.json()) as { errors: { pointer: string }[] };
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.status).toBeLessThan(500);
    expect(errors.map((error) => error.pointer)).toEqual([pointer]);
  });
});

test('a template’s values are escaped for each channel: what its author wrote is markup, what the data says never is', async () => {
  const evil = EVIL.slice(0, 7)
    .map(([, text]) => text)
    .join(' ');
  const files = {
    'event.yaml': 'channels: { slack: {}, teams: {}, email: {}, discord: {} }\n',
    'subject.liquid': 'About {{ data.evil }}',
    'in_app.liquid': '{{ data.evil }}',
    'slack.json.liquid': '{"text":"*{{ data.evil }}*","blocks":[{"type":"section","text":{"type":"mrkdwn","text":"*{{ data.evil }}*"}}]}',
    'teams.json.liquid': '{"type":"message","attachments":[{"content":{"body":[{"text":"T"},{"text":"**{{ data.evil }}**"}]}}]}',
    'email.html.liquid': '<main><p title="{{ data.evil }}"><b>{{ data.evil }}</b></p></main>',
  };
  await server.api('PUT', '/v1/event-types/evil', { files });
  arrived.clear();
  const before = mails.mails.length;
  const { body } = await server.api('POST', '/v1/events', { type: 'evil', to: ['ada'], data: { evil } });
  await eventually(async () => (await server.api('GET', `/v1/events/${body.id}`)).body.counts.delivered).toBe(4);
  expect(decoded(json(arrived.get('slack')![0]!)['blocks'][0].text.text as string)).toBe(`*${evil}*`);
  expect(json(arrived.get('slack')![0]!)['text']).not.toMatch(/[<>]/);
  const teams = json(arrived.get('teams')![0]!)['attachments'][0].content.body[1].text as string;
  expect(unescaped(teams)).toBe(`**${evil}**`);
  expect(teams.slice(2, -2)).not.toMatch(/(?<!\\)(?:\\\\)*[[<`*_]/);
  const mail = await PostalMime.parse(mails.mails.slice(before)[0]!.raw);
  expect(mail.html!.match(/<[^>]*>/g)!.map((tag) => tag.split(' ')[0])).toEqual(['<main>', '<p', '<b>', '</b>', '</p>', '</main>']);
  expect(decoded(/<b>(.*)<\/b>/s.exec(mail.html!)![1]!)).toBe(evil);
});
