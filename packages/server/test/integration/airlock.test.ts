/** Source system D, to the letter: what other tests do not say already. docs/guides/source-systems.md lists all of it. */
import { createHmac } from 'node:crypto';
import PostalMime from 'postal-mime';
import { afterEach, expect, test } from 'vitest';
import type { Config } from '../../src/config.ts';
import { deliveriesOf, eventually } from '../harness/core.ts';
import { startMailServer, type MailServer } from '../harness/mail-server.ts';
import { startReceiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function started(settings: Partial<Config> = {}): Promise<TestServer> {
  const server = await startServer(settings);
  closing.push(server.stop);
  return server;
}

async function mailing(mail: Pick<MailServer, 'port'>, more: Partial<Config> = {}): Promise<TestServer> {
  return started({
    'email.smtp.host': '127.0.0.1',
    'email.smtp.port': mail.port,
    'email.smtp.security': 'none',
    'email.smtp.from': 'trevor@karectl.example',
    ...more,
  });
}

async function report(server: TestServer, item: Record<string, unknown> = {}): Promise<string> {
  const to = [{ user_id: 'ada', email: 'ada@example.org' }];
  const { status, body } = await server.api('POST', '/v1/events', { type: 'request.approved', to, ...item });
  expect(status, JSON.stringify(body)).toBe(202);
  return body.id;
}

const reasonsOf = async (server: TestServer, id: string) =>
  (await deliveriesOf(server.db, id)).map(({ channel, state, reason }) => `${channel} ${state} ${reason}`);

test('D2 mail is the primary way: HTML with a plain-text twin, beside the inbox', async () => {
  const mail = await startMailServer();
  closing.push(mail.close);
  const server = await mailing(mail);
  const files = { 'event.yaml': '', 'subject.liquid': 'Approved', 'email.html.liquid': '<h1>Approved</h1><p>Request {{ data.id }}</p>' };
  expect((await server.api('PUT', '/v1/event-types/request.approved', { files })).status).toBe(200);
  const id = await report(server, { data: { id: 'R-7' } });
  await eventually(() => reasonsOf(server, id)).toEqual(['email delivered sent', 'in_app delivered sent']);
  const { html, text } = await PostalMime.parse(mail.mails[0]!.raw);
  expect(html).toContain('<p>Request R-7</p>');
  expect(text).toContain('Request R-7');
  expect(text).not.toContain('<');
});

test('D2 with SMTP down the inbox is told all the same', async () => {
  const mail = await startMailServer();
  await mail.close();
  const server = await mailing(mail);
  const id = await report(server);
  await eventually(() => reasonsOf(server, id)).toEqual(['email pending retrying', 'in_app delivered sent']);
});

test('D2 inapp.enabled: false is obeyed, with a warning at the start', async () => {
  const server = await started({ 'inapp.enabled': false });
  expect(server.logs.map(({ event }) => event)).toContain('inapp.disabled');
  const id = await report(server);
  await eventually(() => reasonsOf(server, id)).toEqual(['email delivered sent', 'in_app skipped channel_disabled']);
  const { token } = (await server.api('POST', '/v1/users/ada/token', {})).body;
  expect((await server.api('GET', '/v1/inbox', undefined, { authorization: `Bearer ${token}` })).body).toMatchObject({
    total: 0,
    data: [],
  });
});

test('D2 a webhook is posted as JSON to every configured URL, signed in the header that secret_header gives', async () => {
  const receiver = await startReceiver((response) => response.end());
  closing.push(receiver.close);
  const secret = 'a secret of the operator';
  const server = await started({ 'webhook.secret_header': 'X-Trevor-Signature', 'webhook.secret': secret });
  for (const path of ['one', 'two'])
    await server.api('POST', '/v1/destinations', {
      ...{ name: path, channel: 'webhook', events: { '*': true } },
      config: { webhook_url: `http://127.0.0.1:${receiver.port}/${path}` },
    });
  await report(server);
  await eventually(() => receiver.requests.map(({ path }) => path).sort()).toEqual(['/one', '/two']);
  for (const { headers, body } of receiver.requests) {
    expect(headers['content-type']).toMatch(/^application\/json/);
    expect(JSON.parse(body)).toMatchObject({ type: 'request.approved' });
    expect(String(headers['x-trevor-signature'])).toContain(createHmac('sha256', secret).update(body).digest('hex'));
  }
});

test('D8 the operator switches a channel off for the whole installation', async () => {
  const off = { enabled: false, options: undefined };
  const server = await started({ 'email.enabled': false, 'webhook.enabled': false, channels: { slack: off } });
  const id = await report(server, { channels: ['in_app', 'email', 'webhook', 'slack'] });
  await eventually(() => reasonsOf(server, id)).toEqual([
    'email skipped channel_disabled',
    'in_app delivered sent',
    'slack skipped channel_disabled',
    'webhook skipped channel_disabled',
  ]);
});

test('D8 users choose per channel what reaches them, so that one event does not reach them twice', async () => {
  const server = await started();
  await server.api('PUT', '/v1/users/ada/preferences', {
    channels: { in_app: { enabled: false } },
    event_types: { 'request.approved': { email: { enabled: false }, in_app: { enabled: true } } },
  });
  const [approved, rejected] = [await report(server), await report(server, { type: 'request.rejected' })];
  await eventually(() => reasonsOf(server, approved)).toEqual(['email skipped opted_out', 'in_app delivered sent']);
  await eventually(() => reasonsOf(server, rejected)).toEqual(['email delivered sent', 'in_app skipped opted_out']);
});
