/** Source system B, to the letter: what other tests do not say already. docs/guides/source-systems.md lists all of it. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { deliveriesOf, eventually } from '../harness/core.ts';
import { startMailServer, type MailServer } from '../harness/mail-server.ts';
import { startReceiver, type Answer, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const MINUTE = 60_000;

let server: TestServer;
let receiver: Receiver;
let mail: MailServer;
let names = 0;
let type: string;
/** At the path of each test's own, and of the one that fails. */
const answers = new Map<string, Answer>();
/** Mailboxes that are refused for now. */
const refused = new Set<string>();

const ok: Answer = (response) => response.end('ok');
const saying =
  (status: number, text: string): Answer =>
  (response) =>
    response.writeHead(status).end(text);

beforeAll(async () => {
  receiver = await startReceiver((response, request) => (answers.get(request.path) ?? ok)(response, request));
  mail = await startMailServer({ rcptTo: (address) => (refused.has(address) ? { status: 451, text: 'try later' } : undefined) });
  server = await startServer({
    'email.smtp.host': '127.0.0.1',
    'email.smtp.port': mail.port,
    'email.smtp.security': 'none',
    'email.smtp.from': 'alerts@example.org',
  });
});
afterAll(async () => {
  await server.stop();
  await mail.close();
  await receiver.close();
});
beforeEach(() => {
  type = `session.escalated-${++names}`;
  refused.clear();
});

const hook = (end = '') => `http://127.0.0.1:${receiver.port}/${type}${end}`;
const requests = (end = '') => receiver.requests.filter(({ path }) => path === `/${type}${end}`);

async function create(more: Record<string, unknown> = {}): Promise<string> {
  const body = { name: 'Ops', channel: 'webhook', config: { webhook_url: hook() }, events: { [type]: true }, ...more };
  const { status, body: made } = await server.api('POST', '/v1/destinations', body);
  expect(status, JSON.stringify(made)).toBe(201);
  return made.id;
}

async function report(more: Record<string, unknown> = {}): Promise<string> {
  const { status, body } = await server.api('POST', '/v1/events', { type, to: ['ada'], ...more });
  expect(status).toBe(202);
  return body.id;
}

const logOf = async (destination: string) => (await server.api('GET', `/v1/deliveries?destination_id=${destination}`)).body.data;
const told = async (eventId: string) =>
  (await deliveriesOf(server.db, eventId)).map(({ user, channel, state, reason }) => `${user ?? 'account'} ${channel} ${state} ${reason}`);

test('B2 one notification per recipient and one delivery per channel of the account; one that fails stops neither', async () => {
  answers.set(`/${type}/broken`, saying(500, 'no'));
  await create({ config: { webhook_url: hook('/broken') }, retry: { max_retries: 0 } });
  await create();
  await create({ events: {} });
  const id = await report({ to: ['ada', 'bob'] });
  await eventually(async () => (await told(id)).sort()).toEqual([
    'account webhook delivered sent',
    'account webhook failed retries_exhausted',
    'ada in_app delivered sent',
    'bob in_app delivered sent',
  ]);
  expect(server.logs.filter(({ event, fields }) => event === 'delivery.attempted' && fields.state === 'failed')).not.toEqual([]);
  const { token } = (await server.api('POST', '/v1/users/ada/token', {})).body;
  const inbox = await server.api('GET', '/v1/inbox?limit=1', undefined, { authorization: `Bearer ${token}` });
  expect(inbox.body.data[0]).toMatchObject({
    type,
    subject: expect.any(String),
    body: expect.any(String),
    action_url: null,
    read_at: null,
  });
});

describe('B3 recipients', () => {
  test('B3 of the named ones only active users are told, and when none is left nobody takes their place', async () => {
    await server.api('PUT', '/v1/users/gone', { active: false });
    await server.api('PUT', '/v1/users/the-owner', { roles: ['owner'] });
    const files = { 'event.yaml': 'recipients: [default]\n' };
    expect((await server.api('PUT', `/v1/event-types/${type}`, { files })).status).toBe(200);
    const named = await report({ to: ['gone'] });
    await eventually(() => told(named)).toEqual(['gone * skipped user_inactive']);
    const empty = await report({ to: [] });
    await eventually(async () => (await told(empty)).filter((line) => line.startsWith('the-owner'))).toEqual([
      'the-owner in_app delivered sent',
    ]);
    await server.api('DELETE', `/v1/event-types/${type}`);
  });
});

describe('B4 the configuration', () => {
  test('B4 an event that does not exist is no switch, once the account has event types', async () => {
    await create({ events: { 'any.event': true } });
    const catalog = await startServer();
    try {
      const post = (events: Record<string, unknown>) =>
        catalog.api('POST', '/v1/destinations', { name: 'Ops', channel: 'webhook', config: { webhook_url: hook() }, events });
      expect((await post({ 'proposal.pending': true })).status).toBe(201); // nothing is known yet
      await catalog.api('PUT', '/v1/event-types/proposal.approved', { files: { 'event.yaml': '' } });
      const { status, body } = await post({ 'proposal.approved': true, 'proposal.pendnig': false, 'a/b': null });
      expect([status, body.errors.map(({ pointer, code }: Record<string, string>) => `${pointer} ${code}`).sort()]).toEqual([
        422,
        ['/events/a~1b unknown_type', '/events/proposal.pendnig unknown_type'],
      ]);
      const made = await post({ 'proposal.approved': true, '*': false, inline: null });
      expect(made.status).toBe(201);
      await catalog.api('DELETE', '/v1/event-types/proposal.approved');
      await catalog.api('PUT', '/v1/event-types/another', { files: { 'event.yaml': '' } });
      const patch = (events: Record<string, unknown>) => catalog.api('PATCH', `/v1/destinations/${made.body.id}`, { events });
      expect((await patch({ 'proposal.approved': false })).status).toBe(200); // as it stands there
      expect((await patch({ 'proposal.pending': true })).body.errors).toMatchObject([{ pointer: '/events/proposal.pending' }]);
    } finally {
      await catalog.stop();
    }
  });

  test.each([
    ['slack', 'webhook_url', 'Slack needs webhook_url.'],
    ['teams', 'webhook_url', 'Microsoft Teams needs webhook_url.'],
    ['email', 'email_addresses', 'E-mail needs at least one address in email_addresses.'],
  ])('B4 %s without its %s is refused when saved, and can’t lose it later', async (channel, field, detail) => {
    const config = field === 'webhook_url' ? { webhook_url: hook() } : { email_addresses: ['a@example.org'] };
    const refusal = { status: 422, body: { errors: [{ pointer: `/config/${field}`, code: 'required', detail }] } };
    expect(await server.api('POST', '/v1/destinations', { name: 'Ops', channel, config: {} })).toMatchObject(refusal);
    const id = await create({ channel, config });
    for (const empty of [{}, { [field]: null }, { [field]: field === 'webhook_url' ? '' : [] }])
      expect(await server.api('PATCH', `/v1/destinations/${id}`, { config: empty })).toMatchObject(refusal);
  });
});

describe('B5 the log of what left', () => {
  test('B5 has configuration, event, status, retries, the next time, the last error and the time of delivery', async () => {
    answers.set(`/${type}`, saying(500, 'x'.repeat(2_000)));
    const id = await create({ channel: 'slack' });
    const event = await report({ data: { engineer_name: 'Ada' } });
    await eventually(async () => (await logOf(id))[0]?.attempt_count).toBe(1);
    const [waiting] = await logOf(id);
    expect(waiting).toMatchObject({
      destination_id: id,
      event_id: event,
      channel: 'slack',
      status: 'pending',
      reason: 'retrying',
      retry_count: 0,
      next_attempt_at: expect.any(String),
      error_message: `HTTP 500: ${'x'.repeat(200)}`, // the status and 200 characters of the body (B9)
      delivered_at: null,
    });
    expect((await server.api('GET', `/v1/events/${event}`)).body.data).toEqual({ engineer_name: 'Ada' });
    expect((await server.api('GET', `/v1/destinations/${id}`)).body).toMatchObject({
      retry: { max_retries: 3 },
      last_error: expect.any(String),
    });
    answers.delete(`/${type}`);
    await server.moveClock(MINUTE);
    await eventually(async () => (await logOf(id))[0].status).toBe('delivered');
    expect((await logOf(id))[0]).toMatchObject({
      retry_count: 1,
      next_attempt_at: null,
      error_message: null,
      delivered_at: expect.any(String),
    });
  });

  test('B5 a person’s recovery reports its count, 0 included', async () => {
    expect((await server.api('POST', `/v1/destinations/${await create()}/recover`)).body).toEqual({ released: 0, retried: 0 });
  });
});

describe('B8 mail to several addresses', () => {
  test('B8 is one mail each, all tried; the error names those that failed, and a retry goes only to them', async () => {
    const boxes = ['a', 'b', 'c'].map((name) => `${name}-${names}@example.org`);
    const [a = '', b = '', c = ''] = boxes;
    refused.add(a).add(b);
    const id = await create({ channel: 'email', config: { email_addresses: boxes } });
    const mailed = () => mail.mails.map(({ to }) => to).filter(([box]) => boxes.includes(box!));
    const lastError = async () => (await server.api('GET', `/v1/destinations/${id}`)).body.last_error;
    await report();
    await eventually(lastError).toBe(`Failed to send notification email to: ${a}, ${b}`);
    await eventually(mailed).toEqual([[c]]);
    refused.delete(b);
    await server.moveClock(MINUTE);
    await eventually(lastError).toBe(`Failed to send notification email to: ${a}`);
    expect(mailed()).toEqual([[c], [b]]);
    refused.clear();
    await server.moveClock(5 * MINUTE);
    await eventually(lastError).toBeNull();
    expect(mailed()).toEqual([[c], [b], [a]]);
  });

  test('B8 and a test of it says the same', async () => {
    refused.add('y@example.org').add('z@example.org');
    const id = await create({ channel: 'email', config: { email_addresses: ['x@example.org', 'y@example.org', 'z@example.org'] } });
    const { body } = await server.api('POST', `/v1/destinations/${id}/test`);
    expect(body).toMatchObject({
      outcome: 'failed',
      message: 'Delivery failed: Failed to send notification email to: y@example.org, z@example.org',
    });
  });
});

test('B10 nine endpoints, all with the account admin’s own token', async () => {
  await server.api('PUT', '/v1/users/the-admin', { roles: ['admin'] });
  const { token } = (await server.api('POST', '/v1/users/the-admin/token', {})).body;
  const own = { authorization: `Bearer ${token}` };
  const call = async (method: string, path: string, body?: unknown) => {
    const answer = await server.api(method, path, body, own);
    expect([method, path, answer.status]).toEqual([
      method,
      path,
      { POST: path.endsWith('/destinations') ? 201 : 200, DELETE: 204 }[method] ?? 200,
    ]);
    return answer.body;
  };
  const made = await call('POST', '/v1/destinations', { name: 'Ops', channel: 'webhook', config: { webhook_url: hook() } });
  expect((await call('GET', '/v1/destinations')).data[0].id).toBe(made.id);
  await call('PATCH', `/v1/destinations/${made.id}`, { active: false });
  expect(await call('POST', `/v1/destinations/${made.id}/test`)).toMatchObject({ message: 'Test notification sent successfully' });
  expect(requests()).toHaveLength(1);
  await call('DELETE', `/v1/destinations/${made.id}`);
  await report({ to: ['the-admin'] });
  await report({ to: ['the-admin'] });
  const { data } = await call('GET', '/v1/inbox');
  expect(await call('GET', '/v1/inbox/unread-count')).toMatchObject({ unread_count: 2 });
  await call('POST', `/v1/inbox/${data[0].id}/read`);
  await call('POST', '/v1/inbox/read-all');
  expect(await call('GET', '/v1/inbox/unread-count')).toMatchObject({ unread_count: 0 });
});
