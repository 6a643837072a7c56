/** RFC 8058, from the mail's header to the preference: as a mail program and a person do it. */
import PostalMime from 'postal-mime';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deliveriesOf, eventState, eventually } from '../harness/core.ts';
import { startMailServer, type MailServer } from '../harness/mail-server.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const PUBLIC_URL = 'https://notify.example.org/carillon';
let server: TestServer;
let mails: MailServer;
const smtp = () => ({
  'email.smtp.host': '127.0.0.1',
  'email.smtp.port': mails.port,
  'email.smtp.security': 'none' as const,
  'email.smtp.from': 'bell@carillon.example',
});

beforeAll(async () => {
  mails = await startMailServer();
  server = await startServer({ ...smtp(), public_url: `${PUBLIC_URL}/`, 'email.unsubscribe_mailbox': 'leave+us@carillon.example' });
});
afterAll(async () => {
  await server.stop();
  await mails.close();
});

async function tell(to: unknown[], more: Record<string, unknown> = {}, by = server): Promise<string[]> {
  const { body } = await by.api('POST', '/v1/notifications', { to, subject: 's', body: 'b', channels: ['email'], ...more });
  await eventually(() => eventState(by.db, body.id)).toBe('routed');
  await eventually(async () => (await deliveriesOf(by.db, body.id)).filter(({ state }) => /pending|sending/.test(state))).toEqual([]);
  return (await deliveriesOf(by.db, body.id)).map(({ user, state, reason }) => `${user} ${state} ${reason}`);
}

/** Of the last mail to this mailbox. */
async function headersTo(mailbox: string): Promise<Record<string, string>> {
  const mail = mails.mails.findLast(({ to }) => to.includes(mailbox));
  const { headers } = await PostalMime.parse(mail?.raw ?? '');
  return Object.fromEntries(headers.map(({ key, value }) => [key, value]));
}

/** The path of the link, as this server has it. */
async function linkTo(mailbox: string): Promise<string> {
  const [, path = ''] = new RegExp(`<${PUBLIC_URL}(/[^>]+)>`).exec((await headersTo(mailbox))['list-unsubscribe'] ?? '') ?? [];
  expect(path).toMatch(/^\/unsubscribe\/[\w.-]+$/);
  return path;
}

/** As a mail program does: no credentials, a form. */
const post = (path: string, type = 'application/x-www-form-urlencoded', body = 'List-Unsubscribe=One-Click') =>
  fetch(`${server.url}${path}`, { method: 'POST', headers: { 'content-type': type }, body });
const preferencesOf = async (id: string) => (await server.api('GET', `/v1/users/${id}/preferences`)).body;

test('a mail says where to unsubscribe, with one click and by mail; a critical one does not', async () => {
  await tell([{ user_id: 'reads', email: 'reads@example.org' }]);
  const headers = await headersTo('reads@example.org');
  expect(headers['list-unsubscribe']).toMatch(
    /^<https:\/\/notify\.example\.org\/carillon\/unsubscribe\/([\w.-]+)>, <mailto:leave%2Bus@carillon\.example\?subject=\1>$/,
  );
  expect(headers['list-unsubscribe-post']).toBe('List-Unsubscribe=One-Click');
  await tell([{ user_id: 'reads', email: 'critical@example.org' }], { critical: true });
  expect(Object.keys(await headersTo('critical@example.org')).filter((name) => name.startsWith('list-'))).toEqual([]);
});

test('following the link shows a page with a button, however often, and changes nothing', async () => {
  await tell([{ user_id: 'looks', email: 'looks@example.org' }]);
  const path = await linkTo('looks@example.org');
  const before = await server.db.query('select * from carillon.users order by id');
  for (let times = 0; times < 3; times += 1) {
    const answer = await fetch(`${server.url}${path}`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(answer.headers.get('content-security-policy')).not.toContain('unsafe-inline');
    expect(answer.headers.get('referrer-policy')).toBe('no-referrer');
    const page = await answer.text();
    expect(page).toMatch(/<form method="post">.*<button>Unsubscribe<\/button>/s);
    expect(page).not.toMatch(/<script|https?:/);
  }
  expect(await server.db.query('select * from carillon.users order by id')).toEqual(before);
});

test('one click ends the mails, also to an address that comes inline, and nothing else', async () => {
  await server.api('PUT', '/v1/users/leaves', { email: 'leaves@example.org' });
  await tell(['leaves']);
  const path = await linkTo('leaves@example.org');
  for (let times = 0; times < 2; times += 1) {
    const answer = await post(path);
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
  }
  expect(await preferencesOf('leaves')).toMatchObject({ channels: { email: { enabled: false } } });
  expect(await tell(['leaves', { user_id: 'stays', email: 'stays@example.org' }])).toEqual([
    'leaves skipped opted_out',
    'stays delivered sent',
  ]);
  expect(await tell([{ user_id: 'leaves', email: 'other@example.org' }])).toEqual(['leaves skipped opted_out']);
  expect(await tell(['leaves'], { channels: ['in_app'] })).toEqual(['leaves delivered sent']);
  expect(await tell(['leaves'], { critical: true })).toEqual(['leaves delivered sent']);
});

test('what else the user wants stays as it was', async () => {
  const before = { channels: { webhook: { enabled: false }, email: { enabled: true, email: 'own@example.org' } }, kept: 1 };
  await tell([{ user_id: 'picky', email: 'picky@example.org' }]);
  await server.db.query("update carillon.users set preferences = $1 where id = 'picky'", [JSON.stringify(before)]);
  await post(await linkTo('picky@example.org'));
  expect(await server.db.query("select preferences from carillon.users where id = 'picky'")).toEqual([
    { preferences: { ...before, channels: { ...before.channels, email: { enabled: false, email: 'own@example.org' } } } },
  ]);
});

test('a type or a category for which mail was switched on is off too', async () => {
  const on = { email: { enabled: true, exclude_tags: ['a'] }, webhook: { severities: ['high'] } };
  await server.api('PUT', '/v1/users/types', { email: 'types@example.org' });
  await server.api('PUT', '/v1/users/types/preferences', {
    categories: { billing: on },
    event_types: { inline: on, quiet: { webhook: on.webhook } },
  });
  await tell(['types']);
  await post(await linkTo('types@example.org'));
  const off = { ...on, email: { enabled: false, exclude_tags: ['a'] } };
  expect(await preferencesOf('types')).toEqual({
    channels: { email: { enabled: false } },
    categories: { billing: off },
    event_types: { inline: off, quiet: { webhook: on.webhook } },
  });
  expect(await tell(['types'])).toEqual(['types skipped opted_out']);
});

const bodies: [type: string, body: string][] = [
  ['multipart/form-data; boundary=x', '--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'],
  ['application/json', '{"anything": [1,2'],
  ['text/plain', ''],
];
test.each(bodies)('the post may be %s', async (type, body) => {
  const user = `form-${type.length}`;
  await tell([{ user_id: user, email: `${user}@example.org` }]);
  expect((await post(await linkTo(`${user}@example.org`), type, body)).status).toBe(200);
  expect(await preferencesOf(user)).toMatchObject({ channels: { email: { enabled: false } } });
});

test('an edited, cut, foreign or invented token is the 404 of anything that is not there', async () => {
  await tell([{ user_id: 'target', email: 'target@example.org' }]);
  const path = await linkTo('target@example.org');
  const other = await startServer({ ...smtp(), public_url: PUBLIC_URL });
  await tell([{ user_id: 'target', email: 'elsewhere@example.org' }], {}, other);
  const foreign = await linkTo('elsewhere@example.org');
  await other.stop();
  const edited = path.replace(/[^/]+\./, `${Buffer.from('default\0email\0u\0victim').toString('base64url')}.`);
  const unknown = (await (
    await fetch(`${server.url}/v1/events/evt_nothing`, { headers: { authorization: `Bearer ${server.key}` } })
  ).json()) as object;
  for (const wrong of [
    edited,
    foreign,
    path.slice(0, -1),
    `${path}A`,
    '/unsubscribe/x',
    '/unsubscribe/%00',
    `/unsubscribe/${'x'.repeat(5_000)}`,
  ]) {
    for (const method of ['GET', 'POST']) {
      const answer = await fetch(`${server.url}${wrong}`, { method });
      expect([wrong.slice(0, 60), method, answer.status]).toEqual([wrong.slice(0, 60), method, 404]);
      expect(await answer.json()).toMatchObject({ code: 'not_found', type: (unknown as { type: string }).type });
    }
  }
  expect(await server.db.query("select from carillon.users where id = 'victim'")).toEqual([]);
  expect(await preferencesOf('target')).toMatchObject({ channels: {} });
});

test('a body that is no form of that size is refused', async () => {
  await tell([{ user_id: 'big', email: 'big@example.org' }]);
  expect((await post(await linkTo('big@example.org'), 'text/plain', 'x'.repeat(10_000))).status).toBe(413);
});

test('without a public address there is no link, and the start warns of that', async () => {
  const silent = await startServer(smtp());
  expect(silent.logs).toContainEqual({
    event: 'email.no-unsubscribe-link',
    fields: expect.objectContaining({ reason: 'public_url is not set' }),
  });
  await tell([{ user_id: 'silent', email: 'silent@example.org' }], {}, silent);
  expect(Object.keys(await headersTo('silent@example.org')).filter((name) => name.startsWith('list-'))).toEqual([]);
  await silent.stop();
  expect(server.logs.filter(({ event }) => event === 'email.no-unsubscribe-link')).toEqual([]);
});
