/** The suppression list: kept over the API, learnt from refusals, and asked before anything leaves. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deliveriesOf, deliveryOf, eventState, eventually } from '../harness/core.ts';
import { startMailServer, type MailServer } from '../harness/mail-server.ts';
import { startServer, type TestServer } from '../harness/server.ts';

let server: TestServer;
let mails: MailServer;
/** What the mail server says of the next mail to this mailbox. */
const refusals = new Map<string, { status: number; text: string }>();

beforeAll(async () => {
  mails = await startMailServer({
    rcptTo: (address) => {
      const refusal = refusals.get(address);
      refusals.delete(address);
      return refusal;
    },
  });
  server = await startServer({
    'email.smtp.host': '127.0.0.1',
    'email.smtp.port': mails.port,
    'email.smtp.security': 'none',
    'email.smtp.from': 'bell@carillon.example',
  });
});
afterAll(async () => {
  await server.stop();
  await mails.close();
});

const list = async (query = '') => (await server.api('GET', `/v1/suppressions${query}`)).body;
const add = (address: string, more: Record<string, unknown> = {}) =>
  server.api('POST', '/v1/suppressions', { channel: 'email', address, ...more });

async function tell(to: unknown[], more: Record<string, unknown> = {}): Promise<string> {
  const { status, body } = await server.api('POST', '/v1/notifications', { to, subject: 's', body: 'b', channels: ['email'], ...more });
  expect(status).toBe(202);
  return body.id;
}

async function outcomes(eventId: string): Promise<string[]> {
  await eventually(() => eventState(server.db, eventId)).toBe('routed');
  await eventually(async () => (await deliveriesOf(server.db, eventId)).filter(({ state }) => /pending|sending/.test(state))).toEqual([]);
  return (await deliveriesOf(server.db, eventId)).map(({ user, channel, state, reason }) => `${user} ${channel} ${state} ${reason}`);
}

const sentTo = (mailbox: string) => mails.mails.filter(({ to }) => to.includes(mailbox));

test('an address is put on the list, found there by its filters, page by page, and taken off', async () => {
  const { status, body } = await add('Listed@Bücher.example', { detail: 'asked by phone' });
  expect([status, body]).toMatchObject([
    201,
    {
      id: 'email:listed@xn--bcher-kva.example',
      address: 'listed@xn--bcher-kva.example',
      reason: 'manual',
      source: 'api',
      detail: 'asked by phone',
    },
  ]);
  for (const n of [1, 2, 3]) await add(`page-${n}@example.org`, { reason: 'bounce' });

  expect((await list('?channel=email&address=LISTED@bücher.example')).data).toHaveLength(1);
  expect((await list('?reason=complaint')).data).toEqual([]);
  const first = await list('?reason=bounce&limit=2');
  expect(first).toMatchObject({ has_more: true, data: [{ address: 'page-1@example.org' }, { address: 'page-2@example.org' }] });
  expect(await list(`?reason=bounce&limit=2&after=${first.next_cursor}`)).toMatchObject({
    has_more: false,
    data: [{ address: 'page-3@example.org' }],
  });

  const path = `/v1/suppressions/${encodeURIComponent('email:listed@bücher.example')}`;
  expect((await server.api('DELETE', path)).status).toBe(204);
  expect((await server.api('DELETE', path)).status).toBe(404);
  expect((await list('?channel=email&address=listed@bücher.example')).data).toEqual([]);
});

test('given again it keeps its time, and the weightier reason', async () => {
  const { body: first } = await add('twice@example.org', { reason: 'complaint' });
  const { status, body } = await add('twice@example.org', { reason: 'bounce', detail: 'later' });
  expect([status, body]).toEqual([200, first]);
  expect((await add('TWICE@example.org')).body).toMatchObject({ reason: 'manual', created_at: first.created_at });
});

const refused: [what: string, body: unknown, pointer: string][] = [
  ['a channel without mailboxes', { channel: 'webhook', address: 'https://example.org' }, '/channel'],
  ['no channel', { address: 'a@example.org' }, '/channel'],
  ['what is no mailbox', { channel: 'email', address: 'a@example.org, b@example.org' }, '/address'],
  ['an unknown reason', { channel: 'email', address: 'a@example.org', reason: 'spam' }, '/reason'],
  ['an unknown field', { channel: 'email', address: 'a@example.org', user_id: 'ada' }, '/user_id'],
];
test.each(refused)('%s is refused', async (_, body, pointer) => {
  expect(await server.api('POST', '/v1/suppressions', body)).toMatchObject({ status: 422, body: { errors: [{ pointer }] } });
});

test('nothing is sent to an address on the list: a profile’s, a preference’s, an inline one, in any spelling, critical or not', async () => {
  await add('off@example.org');
  await server.api('PUT', '/v1/users/profile', { email: 'OFF@Example.org' });
  await server.api('PUT', '/v1/users/own', { email: 'fine@example.org' });
  const preferences = { channels: { email: { enabled: true, email: 'off@example.org' } } };
  await server.db.query("update carillon.users set preferences = $1 where id = 'own'", [JSON.stringify(preferences)]);
  await server.api('PUT', '/v1/users/fine', { email: 'fine@example.org' });
  const to = ['profile', 'own', { user_id: 'inline', email: 'off@EXAMPLE.org' }, 'fine'];
  for (const critical of [false, true]) {
    expect(await outcomes(await tell(to, { critical }))).toEqual([
      'fine email delivered sent',
      'inline email skipped suppressed',
      'own email skipped suppressed',
      'profile email skipped suppressed',
    ]);
  }
  const everybody = await tell([{ all: true }, { user_id: 'inline', email: 'off@EXAMPLE.org' }]);
  await eventually(() => outcomes(everybody)).toContain('inline email skipped suppressed');
  expect(mails.mails.flatMap((mail) => mail.to).filter((mailbox) => mailbox.toLowerCase() === 'off@example.org')).toEqual([]);
});

test('what waits for another attempt is stopped at the gate', async () => {
  refusals.set('waits@example.org', { status: 451, text: '4.3.0 later' });
  const id = await tell([{ user_id: 'waits', email: 'waits@example.org' }], { critical: true });
  await eventually(() => deliveryOf(server.db, id)).toMatchObject({ state: 'pending', reason: 'retrying' });
  await add('waits@example.org');
  await server.moveClock(3_600_000);
  expect(await outcomes(id)).toEqual(['waits email skipped suppressed']);
  expect(sentTo('waits@example.org')).toEqual([]);
});

test('a mailbox that does not exist puts itself on the list, with the delivery that was refused', async () => {
  refusals.set('nobody@example.org', { status: 550, text: '5.1.1 no such user' });
  const id = await tell([{ user_id: 'nobody', email: 'nobody@example.org' }]);
  expect(await outcomes(id)).toEqual(['nobody email failed address_gone']);
  const { data } = await list('?channel=email&address=nobody@example.org');
  expect(data).toMatchObject([{ reason: 'bounce', source: 'provider', delivery_id: expect.stringMatching(/^dlv_/) }]);
  expect(await outcomes(await tell([{ user_id: 'nobody', email: 'nobody@example.org' }]))).toEqual(['nobody email skipped suppressed']);
});
