/** What comes back of a mail: reports as mail servers write them, and as JSON. */
import { randomBytes } from 'node:crypto';
import PostalMime from 'postal-mime';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { publicId } from '../../src/lib/id.ts';
import { deliveryOf, eventually } from '../harness/core.ts';
import { startMailServer, type MailServer } from '../harness/mail-server.ts';
import { startServer, type Reply, type TestServer } from '../harness/server.ts';

let server: TestServer;
let mails: MailServer;

beforeAll(async () => {
  mails = await startMailServer();
  const smtp = { 'email.smtp.host': '127.0.0.1', 'email.smtp.port': mails.port, 'email.smtp.security': 'none' } as const;
  server = await startServer({ ...smtp, 'email.smtp.from': 'bell@carillon.example' });
});
afterAll(async () => {
  await server.stop();
  await mails.close();
});

/** A mail that has left, with its ids. */
async function sent(user: string): Promise<{ delivery: string; messageId: string; raw: string }> {
  const to = [{ user_id: user, email: `${user}@example.org` }];
  const { body } = await server.api('POST', '/v1/notifications', { to, subject: 's', body: 'b', channels: ['email'] });
  await eventually(() => deliveryOf(server.db, body.id)).toMatchObject({ state: 'delivered' });
  const raw = mails.mails.find((mail) => mail.to.includes(`${user}@example.org`))?.raw ?? '';
  const { messageId = '' } = await PostalMime.parse(raw);
  return { delivery: publicId('dlv', (await deliveryOf(server.db, body.id)).id), messageId, raw };
}

async function report(type: string, body: string, key = server.key): Promise<Pick<Reply, 'status' | 'body'>> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': type };
  const answer = await fetch(`${server.url}/v1/bounces`, { method: 'POST', headers, body: body.replaceAll('\n', '\r\n') });
  return { status: answer.status, body: await answer.json() };
}

const json = (body: unknown) => server.api('POST', '/v1/bounces', body);
const suppressed = async (user: string) =>
  (await server.api('GET', `/v1/suppressions?channel=email&address=${user}@example.org`)).body.data as Record<string, unknown>[];
const timelineOf = async (delivery: string) =>
  ((await server.api('GET', `/v1/deliveries/${delivery}`)).body.timeline as { what: string; reason: string; detail?: string }[]).filter(
    ({ what }) => what === 'report',
  );

/** As Postfix writes it, but for its prose. */
function statusReport({ fields, original = '' }: { fields: string; original?: string }): string {
  return `Return-Path: <>
From: MAILER-DAEMON@mx.example (Mail Delivery System)
To: bell@carillon.example
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="4XYZ.1700000000/mx.example"

--4XYZ.1700000000/mx.example
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not be delivered.

--4XYZ.1700000000/mx.example
Content-Description: Delivery report
Content-Type: message/delivery-status

${fields}
--4XYZ.1700000000/mx.example
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers

${original}
--4XYZ.1700000000/mx.example--
`;
}

const FIELDS = (status: string, said: string, action = 'failed') => `Reporting-MTA: dns; mx.example
X-Postfix-Sender: rfc822; bell@carillon.example
Arrival-Date: Sat, 21 Nov 2026 10:00:00 +0000 (UTC)

Final-Recipient: rfc822; forwarded@elsewhere.example
Original-Recipient: rfc822;somebody@example.org
Action: ${action}
Status: ${status}
Diagnostic-Code: smtp; ${said}
`;
const headersOf = (raw: string) => raw.slice(0, raw.indexOf('\r\n\r\n')).replaceAll('\r\n', '\n');

test('a report of a mailbox that does not exist suppresses it and stands in the timeline, once, however often it comes', async () => {
  const { delivery, raw } = await sent('hard');
  const mail = statusReport({
    fields: FIELDS('5.1.1', '550 5.1.1 <forwarded@elsewhere.example>:\n    no such user'),
    original: headersOf(raw),
  });
  for (let times = 0; times < 2; times += 1)
    expect(await report('message/rfc822', mail)).toEqual({
      status: 200,
      body: { delivery_id: delivery, type: 'hard', outcome: 'suppressed' },
    });
  expect(await suppressed('hard')).toMatchObject([{ reason: 'bounce', source: 'report', delivery_id: delivery }]);
  expect(await suppressed('forwarded@elsewhere.example')).toEqual([]);
  expect(await timelineOf(delivery)).toMatchObject([
    { reason: 'bounced', detail: '5.1.1 smtp; 550 5.1.1 <forwarded@elsewhere.example>: no such user' },
  ]);
  const again = await server.api('POST', '/v1/notifications', {
    to: [{ user_id: 'hard', email: 'hard@example.org' }],
    subject: 's',
    channels: ['email'],
  });
  await eventually(() => deliveryOf(server.db, again.body.id)).toMatchObject({ state: 'skipped', reason: 'suppressed' });
});

test('what may pass is noted only', async () => {
  const { delivery, raw } = await sent('soft');
  for (const fields of [FIELDS('4.4.1', '450 4.4.1 busy', 'delayed'), FIELDS('5.2.2', '552 5.2.2 full')])
    expect(await report('message/rfc822', statusReport({ fields, original: headersOf(raw) }))).toMatchObject({
      body: { delivery_id: delivery, type: 'soft', outcome: 'noted' },
    });
  expect(await timelineOf(delivery)).toMatchObject([{ reason: 'bounced_soft' }, { reason: 'bounced_soft' }]);
  expect(await suppressed('soft')).toEqual([]);
});

test('a complaint (RFC 5965) suppresses', async () => {
  const { delivery, raw } = await sent('complains');
  const mail = `From: abuse@provider.example
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

This is an abuse report.
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Provider/1
Version: 1

--b
Content-Type: message/rfc822

${raw.replaceAll('\r\n', '\n')}
--b--
`;
  expect(await report('message/rfc822', mail)).toEqual({
    status: 200,
    body: { delivery_id: delivery, type: 'complaint', outcome: 'suppressed' },
  });
  expect(await suppressed('complains')).toMatchObject([{ reason: 'complaint' }]);
  expect(await timelineOf(delivery)).toMatchObject([{ reason: 'complained' }]);
});

test('a delivery status alone is about what its envelope id names', async () => {
  const { delivery } = await sent('envelope');
  const fields = FIELDS('5.1.1', '550 no').replace('Arrival-Date', `Original-Envelope-Id: ${delivery}\nArrival-Date`);
  expect(await report('message/delivery-status', fields)).toMatchObject({
    status: 200,
    body: { delivery_id: delivery, outcome: 'suppressed' },
  });
});

test('as JSON, by delivery or by Message-ID, with a key that may', async () => {
  const { delivery, messageId } = await sent('json');
  expect(await json({ type: 'soft', delivery_id: delivery, detail: 'full' })).toMatchObject({ status: 200, body: { outcome: 'noted' } });
  expect(await json({ type: 'hard', message_id: messageId })).toMatchObject({
    status: 200,
    body: { delivery_id: delivery, outcome: 'suppressed' },
  });
  const made = await server.api('POST', '/v1/api-keys', { name: 'mailbox', scopes: ['bounces:write'] });
  expect(await report('application/json', JSON.stringify({ type: 'soft', delivery_id: delivery }), made.body.key)).toMatchObject({
    status: 200,
  });
  const other = await server.api('POST', '/v1/api-keys', { name: 'sender', scopes: ['events:write'] });
  expect(await report('application/json', JSON.stringify({ type: 'soft', delivery_id: delivery }), other.body.key)).toMatchObject({
    status: 403,
  });
});

test("another tenant's mail is unknown to a tenant's key, and known to an operator's", async () => {
  const id = `bounced-${randomBytes(4).toString('hex')}`;
  const { key } = (await server.api('POST', '/v1/tenants', { id })).body.api_key as { key: string };
  const { delivery } = await sent('ours');
  const wanted = JSON.stringify({ type: 'hard', delivery_id: delivery });
  expect(await report('application/json', wanted, key)).toMatchObject({ status: 404 });
  expect(await suppressed('ours')).toEqual([]);
  const theirs = await fetch(`${server.url}/v1/notifications`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ to: [{ user_id: 'bob', email: 'bob@example.org' }], subject: 's', channels: ['email'] }),
  });
  const event = ((await theirs.json()) as { id: string }).id;
  await eventually(() => deliveryOf(server.db, event)).toMatchObject({ state: 'delivered' });
  const named = publicId('dlv', (await deliveryOf(server.db, event)).id);
  expect(await json({ type: 'hard', delivery_id: named })).toMatchObject({ status: 200, body: { outcome: 'suppressed' } });
  expect(await server.db.query("select tenant_id from carillon.suppressions where address = 'bob@example.org'")).toEqual([
    { tenant_id: id },
  ]);
});

const nobody = 'dlv_01h2xcejqtf2nbrexx3vqjhp41';
const refused: [what: string, type: string, body: string, answer: [status: number, code: string]][] = [
  ['an unknown delivery', 'application/json', JSON.stringify({ type: 'hard', delivery_id: nobody }), [404, 'not_found']],
  ["somebody else's Message-ID", 'application/json', JSON.stringify({ type: 'hard', message_id: '<x@example.org>' }), [404, 'not_found']],
  ['nothing that names a mail', 'application/json', JSON.stringify({ type: 'hard' }), [422, 'invalid']],
  ['an unknown kind', 'application/json', JSON.stringify({ type: 'odd', delivery_id: nobody }), [422, 'invalid']],
  ['a mail that reports nothing', 'message/rfc822', 'From: a@example.org\nSubject: away\n\nI am on holiday.\n', [422, 'invalid']],
  ['a report of success', 'message/rfc822', statusReport({ fields: FIELDS('2.0.0', '250 ok', 'delivered') }), [422, 'invalid']],
  ['a report that does not say which mail', 'message/rfc822', statusReport({ fields: FIELDS('5.1.1', '550 no') }), [422, 'invalid']],
  [
    'a report of a mail that is not ours',
    'message/rfc822',
    statusReport({ fields: FIELDS('5.1.1', '550 no'), original: 'Message-ID: <x@y.example>' }),
    [404, 'not_found'],
  ],
  ['nothing at all', 'message/rfc822', '', [422, 'invalid']],
  ['noise', 'message/delivery-status', '\0\u0001\n\n\n::::\n', [422, 'invalid']],
  ['a text', 'text/plain', 'it came back', [415, 'unsupported_media_type']],
];
test.each(refused)('%s is answered clearly', async (_, type, body, [status, code]) => {
  expect(await report(type, body)).toMatchObject({ status, body: { code } });
});

test('a webhook does not bounce', async () => {
  const to = [{ user_id: 'hooked', webhook_url: `${server.url}/dev/receiver` }];
  const { body } = await server.api('POST', '/v1/notifications', { to, subject: 's', channels: ['webhook'] });
  await eventually(() => deliveryOf(server.db, body.id)).toMatchObject({ state: 'delivered' });
  const id = publicId('dlv', (await deliveryOf(server.db, body.id)).id);
  expect(await json({ type: 'hard', delivery_id: id })).toMatchObject({ status: 422, body: { errors: [{ code: 'wrong_channel' }] } });
});
