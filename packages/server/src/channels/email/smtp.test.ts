import { createServer, type Socket } from 'node:net';
import PostalMime from 'postal-mime';
import { afterEach, expect, test } from 'vitest';
import type { Behaviour, Subject } from '../../../test/conformance/contract.ts';
import { providerContract } from '../../../test/conformance/provider.ts';
import { makeCertificate } from '../../../test/harness/certificate.ts';
import { type MailBehaviour, startMailServer } from '../../../test/harness/mail-server.ts';
import type { Message } from '../../domain/channel.ts';
import type { EmailAddress } from './channel.ts';
import type { RenderedEmail } from './render.ts';
import { type SmtpOptions, smtpProvider } from './smtp.ts';

const tls = makeCertificate('DNS:localhost', 'IP:127.0.0.1');
const password = 'hunter2-planted';
const idle = new AbortController().signal;
const message: Message<EmailAddress, RenderedEmail> = {
  deliveryId: 'dlv_01',
  address: { mailbox: 'ada@example.com' },
  content: { subject: 'Grüße 😀', html: '<p>Hällo</p>', text: 'Hällo\n.\n..dots\nFrom here' },
};
const options: Omit<SmtpOptions, 'port'> = {
  host: '127.0.0.1',
  security: 'starttls',
  user: 'carillon',
  password,
  from: { name: 'Carillon, the "bell"', address: 'bell@carillon.example' },
  maxConnections: 2,
  productHost: 'carillon.example',
  connectTimeoutMs: 5_000,
  totalTimeoutMs: 10_000,
  ca: tls.cert,
};

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
async function serve(behaviour: MailBehaviour = {}, changes: Partial<SmtpOptions> = {}) {
  const server = await startMailServer({ tls, auth: () => undefined, ...behaviour });
  const provider = smtpProvider({ ...options, port: server.port, ...changes });
  cleanups.push(server.close, provider.close);
  return { server, provider };
}

const behaviours: Readonly<Record<string, MailBehaviour>> = {
  hang: { data: () => 'hang' },
  drop: { data: () => 'drop' },
  huge: { rcptTo: () => ({ status: 451, text: 'x'.repeat(30_000) }) },
  echo: { auth: (given) => ({ status: 535, text: `bad login ${given.username ?? ''} ${given.password ?? ''}` }) },
};

async function subject(behaviour: Behaviour): Promise<Subject<EmailAddress, RenderedEmail>> {
  const limits = { connectTimeoutMs: 100, totalTimeoutMs: 150 };
  if (behaviour === 'silent') return silent({ ...options, ...limits });
  const status = typeof behaviour === 'number' && behaviour >= 400 ? behaviour : undefined;
  const refusal = status === undefined ? {} : { rcptTo: () => ({ status, text: 'said so' }) };
  const server = await startMailServer({ tls, auth: () => undefined, ...refusal, ...behaviours[String(behaviour)] });
  if (behaviour === 'closed') await server.close();
  return {
    // A handshake on a busy machine takes longer than the silence that some cases wait for.
    provider: smtpProvider({
      ...options,
      port: server.port,
      ...(behaviour === 'hang' ? { ...limits, totalTimeoutMs: 1_000, connectTimeoutMs: 900 } : {}),
    }),
    message,
    arrived: () => server.mails.length,
    openSockets: server.openSockets,
    stop: behaviour === 'closed' ? () => Promise.resolve() : server.close,
  };
}

async function silent(silentOptions: Omit<SmtpOptions, 'port'>): Promise<Subject<EmailAddress, RenderedEmail>> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    provider: smtpProvider({ ...silentOptions, port: (server.address() as { port: number }).port }),
    message,
    arrived: () => 0,
    openSockets: () => sockets.size,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

providerContract<EmailAddress, RenderedEmail>({
  name: 'email.smtp',
  make: subject,
  accepts: [250],
  refuses: [
    [450, 'transient', 'provider_error'],
    [451, 'transient', 'provider_error'],
    [452, 'transient', 'provider_error'],
    [550, 'permanent', 'address_rejected'],
    [551, 'permanent', 'address_rejected'],
    [552, 'permanent', 'content_rejected'],
    [553, 'permanent', 'address_rejected'],
    [554, 'permanent', 'content_rejected'],
    [530, 'transient', 'unauthorized'],
  ],
  secrets: [password, Buffer.from(password).toString('base64'), Buffer.from(`\0carillon\0${password}`).toString('base64')],
});

test('the mail arrives as it was written, encrypted and authenticated', async () => {
  const { server, provider } = await serve();
  expect(await provider.send(message, idle)).toMatchObject({ kind: 'accepted', status: 250 });
  const [mail] = server.mails;
  expect(mail).toMatchObject({ from: 'bell@carillon.example', to: ['ada@example.com'], user: 'carillon', secure: true });
  const parsed = await PostalMime.parse(mail?.raw ?? '');
  expect(parsed).toMatchObject({
    subject: 'Grüße 😀',
    from: { name: 'Carillon, the "bell"', address: 'bell@carillon.example' },
    to: [{ address: 'ada@example.com' }],
    messageId: '<dlv_01@carillon.example>',
    html: '<p>Hällo</p>\n',
  });
  expect(parsed.text?.trimEnd()).toBe(message.content.text);
  expect(parsed.headers.find(({ key }) => key === 'auto-submitted')?.value).toBe('auto-generated');
  expect(parsed.headers.map(({ key }) => key)).not.toContain('x-mailer');
  expect(mail?.raw.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
});

test('the Message-ID is the same on every attempt, over one pooled connection', async () => {
  const refusals = [{ status: 451, text: 'later' }, undefined, undefined];
  const { server, provider } = await serve({ data: () => refusals.shift() }, { maxConnections: 1 });
  expect(await provider.send(message, idle)).toMatchObject({ kind: 'transient', status: 451 });
  expect(await provider.send(message, idle)).toMatchObject({ kind: 'accepted' });
  expect(await provider.send({ ...message, deliveryId: 'dlv_02' }, idle)).toMatchObject({ kind: 'accepted' });
  const ids = server.mails.map(({ raw }) => /^Message-ID: (.*)\r$/im.exec(raw)?.[1]);
  expect(ids).toEqual(['<dlv_01@carillon.example>', '<dlv_01@carillon.example>', '<dlv_02@carillon.example>']);
  expect(server.connections()).toBe(1);
});

test('no more connections than allowed', async () => {
  const { server, provider } = await serve({}, { maxConnections: 2 });
  const results = await Promise.all(Array.from({ length: 8 }, (_, n) => provider.send({ ...message, deliveryId: `dlv_${n}` }, idle)));
  expect(results.map(({ kind }) => kind)).toEqual(Array<string>(8).fill('accepted'));
  expect(new Set(server.mails.map(({ raw }) => /^Message-ID: (.*)\r$/im.exec(raw)?.[1])).size).toBe(8);
  expect(server.connections()).toBe(2);
});

test('a kept connection that died meanwhile does not cost an attempt', async () => {
  const { server, provider } = await serve();
  await provider.send(message, idle);
  server.drop();
  expect(await provider.send(message, idle)).toMatchObject({ kind: 'accepted' });
  expect(server.mails).toHaveLength(2);
});

test('a server that drops the connection after the message gets it once', async () => {
  const { server, provider } = await serve({ data: () => 'drop' });
  expect(await provider.send(message, idle)).toMatchObject({ kind: 'unknown', reason: 'unreachable' });
  expect(server.mails).toHaveLength(1);
});

const injections = [
  'eve@example.com\r\nRCPT TO:<victim@example.com>',
  'ada@example.com, eve@example.com',
  'Ada <ada@example.com>',
  'ada@example.com>\r\nDATA',
  'ada@localhost',
  '',
];
test.each(injections)('the address %j is refused before anything is connected', async (mailbox) => {
  const { server, provider } = await serve();
  expect(await provider.send({ ...message, address: { mailbox } }, idle)).toMatchObject({ kind: 'permanent', reason: 'address_rejected' });
  expect(server.connections()).toBe(0);
});

test.each(['a\r\nBcc: eve@example.com', 'a\nb', 'a\0'])('the subject %j is refused before anything is connected', async (text) => {
  const { server, provider } = await serve();
  const result = await provider.send({ ...message, content: { ...message.content, subject: text } }, idle);
  expect(result).toMatchObject({ kind: 'permanent', reason: 'content_rejected' });
  expect(server.connections()).toBe(0);
});

test('odd but legal addresses arrive unchanged, and IDN domains in ASCII', async () => {
  const { server, provider } = await serve();
  for (const mailbox of ["o'brien+x=y@example.com", '{a}|b@example.com', 'ada@bücher.example']) {
    expect(await provider.send({ ...message, address: { mailbox } }, idle)).toMatchObject({ kind: 'accepted' });
  }
  // The test server shows IDNs decoded; the header has what was said.
  expect(server.mails.flatMap(({ to }) => to)).toEqual(["o'brien+x=y@example.com", '{a}|b@example.com', 'ada@bücher.example']);
  expect(server.mails[2]?.raw).toContain('To: ada@xn--bcher-kva.example\r\n');
});

test('neither files nor URLs are read for a mail', async () => {
  const { server, provider } = await serve();
  const html = { path: '/etc/hostname' } as unknown as string;
  await expect(provider.send({ ...message, content: { ...message.content, html } }, idle)).rejects.toThrow(/File access rejected/);
  expect(server.mails).toHaveLength(0);
});

test("without STARTTLS, with a stranger's certificate or one for another name, nothing is said", async () => {
  const other = makeCertificate('DNS:other.example.com');
  const cases: [MailBehaviour, Partial<SmtpOptions>][] = [
    [{ tls: undefined }, {}],
    [{}, { ca: undefined }],
    [{ tls: other }, { ca: other.cert }],
    [{ implicitTls: true }, { security: 'tls', ca: undefined }],
  ];
  for (const [behaviour, changes] of cases) {
    let logins = 0;
    const auth = () => {
      logins += 1;
      return undefined;
    };
    const { server, provider } = await serve({ ...behaviour, auth }, changes);
    expect(await provider.send(message, idle), JSON.stringify(changes)).toMatchObject({ kind: 'transient', reason: 'unreachable' });
    expect([logins, server.mails.length]).toEqual([0, 0]);
  }
});

test('TLS from the first byte, and no TLS at all where that was asked for', async () => {
  const implicit = await serve({ implicitTls: true }, { security: 'tls' });
  expect(await implicit.provider.send(message, idle)).toMatchObject({ kind: 'accepted' });
  expect(implicit.server.mails).toMatchObject([{ secure: true }]);
  const plain = await serve({ auth: undefined }, { security: 'none', user: undefined, password: undefined });
  expect(await plain.provider.send(message, idle)).toMatchObject({ kind: 'accepted' });
  expect(plain.server.mails).toMatchObject([{ secure: false, user: undefined }]);
});

test('wrong credentials, a refused sender and a closed door', async () => {
  const login = await serve({ auth: () => ({ status: 535, text: '5.7.8 no' }) });
  expect(await login.provider.send(message, idle)).toMatchObject({ kind: 'transient', reason: 'unauthorized', status: 535 });
  const sender = await serve({ mailFrom: () => ({ status: 550, text: '5.1.8 unknown sender' }) });
  expect(await sender.provider.send(message, idle)).toMatchObject({ kind: 'permanent', reason: 'provider_error', status: 550 });
  const door = await serve({ greet: () => ({ status: 554, text: 'no service' }) });
  expect(await door.provider.send(message, idle)).toMatchObject({ kind: 'transient', reason: 'provider_error' });
});

test('an unusable sender is refused at once', () => {
  expect(() => smtpProvider({ ...options, port: 25, from: { address: 'Bell <bell@example.com>' } })).toThrow(/sender's address/);
  expect(() => smtpProvider({ ...options, port: 25, from: { name: 'a\r\nb', address: 'bell@example.com' } })).toThrow(/sender's name/);
});

test('a reply without end is cut, and the attempt with it', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    const pour = () => {
      while (!socket.destroyed && socket.write('220-and so on\r\n'.repeat(1_000)));
      if (!socket.destroyed) socket.once('drain', pour);
    };
    pour();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const provider = smtpProvider({ ...options, port: (server.address() as { port: number }).port });
  expect(await provider.send(message, idle)).toMatchObject({ kind: 'transient', reason: 'provider_error' });
  await provider.close();
  await new Promise((resolve) => server.close(resolve));
});
