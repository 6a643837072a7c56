/** Each mail is sent over STARTTLS with AUTH to a real SMTP server, and what came is read by a mail parser. */
import PostalMime, { type Email } from 'postal-mime';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeCertificate } from '../../../test/harness/certificate.ts';
import { startMailServer, type MailServer } from '../../../test/harness/mail-server.ts';
import type { Provider } from '../../domain/channel.ts';
import type { EmailAddress } from './channel.ts';
import type { RenderedEmail } from './render.ts';
import { smtpProvider } from './smtp.ts';

const tls = makeCertificate('DNS:localhost', 'IP:127.0.0.1');
const idle = new AbortController().signal;
let server: MailServer;
let provider: Provider<EmailAddress, RenderedEmail>;
beforeAll(async () => {
  server = await startMailServer({ tls, auth: () => undefined });
  provider = providerFrom({ name: 'Carillon', address: 'bell@carillon.example' });
});
afterAll(async () => {
  await provider.close();
  await server.close();
});

function providerFrom(from: { name: string; address: string }): Provider<EmailAddress, RenderedEmail> {
  const connection = {
    host: '127.0.0.1',
    port: server.port,
    security: 'starttls',
    user: 'carillon',
    password: 'secret',
    ca: tls.cert,
  } as const;
  return smtpProvider({
    ...connection,
    from,
    maxConnections: 2,
    productHost: 'carillon.example',
    connectTimeoutMs: 10_000,
    totalTimeoutMs: 20_000,
  });
}

let sent = 0;

async function arrived(
  content: Partial<RenderedEmail>,
  { mailbox = 'ada@example.com', by = provider }: { mailbox?: string; by?: typeof provider } = {},
): Promise<{ raw: string; parsed: Email; to: readonly string[] }> {
  sent += 1;
  const deliveryId = `dlv_${sent}`;
  const result = await by.send({ deliveryId, address: { mailbox }, content: { subject: 's', html: '<p>h</p>', ...content } }, idle);
  expect(result).toMatchObject({ kind: 'accepted' });
  const mail = server.mails.find(({ raw }) => raw.includes(`<${deliveryId}@`));
  if (!mail) throw new Error('it did not arrive');
  expect(mail).toMatchObject({ secure: true, user: 'carillon' });
  return { raw: mail.raw, parsed: await PostalMime.parse(mail.raw), to: mail.to };
}

const headersOf = (raw: string) => raw.slice(0, raw.indexOf('\r\n\r\n'));

const texts = [
  '.',
  '..',
  '.\n..\n...',
  'a\n.\nb',
  '\n.\n',
  `${'x'.repeat(76)}\n.y`,
  'From here\n>From there',
  '— dash, "quotes" and 日本語',
  'trailing spaces   \nand a tab\t\nend',
  `one word of a thousand: ${'ü'.repeat(1_000)}`,
  `ASCII without an end: ${'x'.repeat(3_000)}`,
];
test.each(texts)('the text %j arrives as it was written', async (text) => {
  const { raw, parsed } = await arrived({ text, html: `<pre>${text}</pre>` });
  expect(parsed.text?.replace(/\n+$/, '')).toBe(text.replace(/\n+$/, ''));
  expect(parsed.html?.trimEnd()).toBe(`<pre>${text}</pre>`);
  expect(raw.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
  expect(Math.max(...raw.split('\r\n').map((line) => Buffer.byteLength(line)))).toBeLessThanOrEqual(998);
});

test.each(['one\rtwo', 'one\r\ntwo', 'one\n\rtwo'])('of the text %j only its line ends change', async (text) => {
  const { raw, parsed } = await arrived({ text });
  expect(parsed.text?.trimEnd().split(/\s+/)).toEqual(['one', 'two']);
  expect(raw.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
});

const subjects = [
  'plain',
  'Grüße aus Köln',
  '😀 👩‍👩‍👧‍👦 🏳️‍🌈',
  '日本語の件名'.repeat(40),
  'word '.repeat(190).trim(),
  'x'.repeat(998),
  `😀${'x'.repeat(990)}`,
  `=?${'ü😀'.repeat(300)}`,
  'ü'.repeat(998),
  '=?utf-8?Q?not_encoded?=',
  'a: b; c=d <e@f>, "g"',
  ' leading and trailing ',
];
test.each(subjects)('the subject %j arrives whole, in lines that every server takes', async (subject) => {
  const { raw, parsed } = await arrived({ subject });
  expect(parsed.subject).toBe(subject.trim());
  const headers = headersOf(raw);
  expect(headers).not.toMatch(/[^\x00-\x7f]/);
  expect(Math.max(...headers.split('\r\n').map((line) => line.length))).toBeLessThanOrEqual(998);
  expect(headers.match(/^Subject:/gim)).toHaveLength(1);
});

test.each(['Müller & Söhne', 'Acme, Inc. <sales>', '"quoted"', '鐘', '🔔 Carillon', 'a@b.example, c'])(
  'the sender %j is one name',
  async (name) => {
    const by = providerFrom({ name, address: 'bell@carillon.example' });
    const { parsed } = await arrived({}, { by });
    expect(parsed.from).toEqual({ name, address: 'bell@carillon.example' });
    await by.close();
  },
);

test('Date, Message-ID and Auto-Submitted stand once; nothing says what wrote it', async () => {
  const { raw, parsed } = await arrived({});
  const names = parsed.headers.map(({ key }) => key);
  for (const name of ['date', 'message-id', 'auto-submitted', 'from', 'to', 'subject', 'mime-version'])
    expect(
      names.filter((one) => one === name),
      name,
    ).toHaveLength(1);
  expect(Number.isNaN(Date.parse(parsed.date ?? ''))).toBe(false);
  expect(raw).not.toMatch(/nodemailer/i);
});

test('an IDN domain is said in ASCII; a local part beyond ASCII is refused, with the reason, before anything is connected', async () => {
  const { raw } = await arrived({}, { mailbox: 'ada@bücher.example' });
  expect(raw).toContain('To: ada@xn--bcher-kva.example\r\n');
  const before = server.connections();
  const refused = await provider.send(
    { deliveryId: 'dlv_x', address: { mailbox: 'grüße@example.com' }, content: { subject: 's', html: 'h' } },
    idle,
  );
  expect(refused).toMatchObject({ kind: 'permanent', reason: 'address_rejected', detail: expect.stringContaining('SMTPUTF8') });
  expect(server.connections()).toBe(before);
});

const twins: [html: string, text: string][] = [
  ['<h1>Paid</h1><p>It is <b>paid</b>.</p>', 'Paid\n\nIt is paid.'],
  ['<p>Go to <a href="https://a.example/x?y=1&amp;z=2">the page</a></p>', 'Go to the page <https://a.example/x?y=1&z=2>'],
  ['<a href="https://a.example">https://a.example</a>', 'https://a.example'],
  ['<table><tr><td><h2>Left</h2></td><td><p>right</p></td></tr></table>', 'Left\n\nright'],
  ['<table role="table"><tr><th>Item</th><th>Price</th></tr><tr><td>Bell</td><td>7</td></tr></table>', 'Item   Price\nBell   7'],
  ['<ul><li>one</li><li>two</li></ul>', ' * one\n * two'],
  ['<img src="cid:x" alt="logo"><p>after</p>', 'after'],
  ['<style>p{color:red}</style><script>alert(1)</script><p>&lt;kept&gt; &amp; 日本</p>', '<kept> & 日本'],
];
test.each(twins)('without a text, %j is also read as one', async (html, text) => {
  const { parsed } = await arrived({ html });
  expect(parsed.text?.trimEnd()).toBe(text);
  expect(parsed.html?.trimEnd()).toBe(html);
});
