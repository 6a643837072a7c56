/** What a tenant says of its events: unknown types, where paths lead, its language, whom `default` means (B3, B7). */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deliveriesOf, deliveryOf, eventually } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startMailServer, type MailServer } from '../harness/mail-server.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type Reply, type TestServer } from '../harness/server.ts';

let db: TestDatabase;
let server: TestServer;
/** Another process on the same database. */
let other: TestServer;
let receiver: Receiver;
let mails: MailServer;
let names = 0;

beforeAll(async () => {
  db = await freshDatabase();
  receiver = await startReceiver((response, { path }) => response.writeHead(path.startsWith('/busy') ? 503 : 200).end('ok'));
  mails = await startMailServer();
  const smtp = { 'email.smtp.host': '127.0.0.1', 'email.smtp.port': mails.port, 'email.smtp.security': 'none' } as const;
  const settings = { ...smtp, 'email.smtp.from': 'bell@carillon.example', 'catalog.deadline': 3_000 };
  server = await startServer(settings, { on: db });
  other = await startServer(settings, { on: db });
});
afterAll(async () => {
  await Promise.all([server.stop(), other.stop()]);
  await Promise.all([receiver.close(), mails.close(), db.drop()]);
});

type Api = (method: string, path: string, body?: unknown) => Promise<Reply>;

interface Tenant {
  readonly id: string;
  readonly api: Api;
  /** Asked of the other process. */
  readonly there: Api;
  readonly set: (settings: object) => Promise<Reply>;
}

async function tenantWith(settings: object): Promise<Tenant> {
  const id = `tenant-${++names}`;
  const { status, body } = await server.api('POST', '/v1/tenants', { id, settings });
  expect(status, JSON.stringify(body)).toBe(201);
  const by =
    (one: TestServer): Api =>
    (method, path, content) =>
      one.api(method, path, content, { authorization: `Bearer ${body.api_key.key}` });
  return { id, api: by(server), there: by(other), set: (more) => server.api('PATCH', `/v1/tenants/${id}`, { settings: more }) };
}

async function push({ api }: Tenant, type: string, files: Record<string, string>): Promise<void> {
  const { status, body } = await api('PUT', `/v1/event-types/${type}`, { files: { 'event.yaml': '', ...files } });
  expect([status, body.errors]).toEqual([200, undefined]);
}

async function accepted(api: Api, body: object): Promise<string> {
  const answer = await api('POST', '/v1/events', body);
  expect(answer.status, JSON.stringify(answer.body)).toBe(202);
  return answer.body.id;
}

const destination = (channel: string, path: string, events: object) => ({
  ...{ name: 'Ops', channel, events },
  config: { webhook_url: `http://127.0.0.1:${receiver.port}${path}` },
});

/** What came at this path; once there is as much as `count`. */
async function receivedAt(path: string, count = 1) {
  const come = () => receiver.requests.filter((request) => request.path === path);
  await eventually(() => come().length).toBe(count);
  return come().map(({ body }) => JSON.parse(body));
}

describe('unknown_type', () => {
  test('refuse: events without a type in the catalog are refused by name, in a batch each for itself', async () => {
    const { api } = await tenantWith({ unknown_type: 'refuse' });
    const unknown = { type: 'order.shiped', to: ['ada'] };
    const { status, body } = await api('POST', '/v1/events', unknown);
    expect(status).toBe(422);
    expect(body).toMatchObject({ code: 'event_type_unknown', errors: [{ pointer: '/type', code: 'unknown_type' }] });
    expect((await api('PUT', '/v1/event-types/order.shipped', { files: { 'event.yaml': '' } })).status).toBe(200);
    const batch = await api('POST', '/v1/events/batch', [unknown, { ...unknown, type: 'order.shipped' }]);
    expect(batch.body.results).toMatchObject([{ error: { code: 'event_type_unknown' } }, { duplicate: false }]);
    expect((await api('POST', '/v1/events/preview', unknown)).body.code).toBe('event_type_unknown');
    expect((await api('POST', '/v1/notifications', { to: ['ada'], subject: 'is no event type' })).status).toBe(202);
    await api('DELETE', '/v1/event-types/order.shipped');
    expect((await api('POST', '/v1/events', { ...unknown, type: 'order.shipped' })).body.code).toBe('event_type_unknown');
  });

  test('generic is the default; a change holds at once here, and soon in other processes', async () => {
    const tenant = await tenantWith({});
    const send = (api: Api) => api('POST', '/v1/events', { type: 'whatever', to: ['ada'] });
    for (const api of [tenant.api, tenant.there]) expect((await send(api)).status).toBe(202);
    expect((await tenant.set({ unknown_type: 'refuse' })).body.settings).toEqual({ unknown_type: 'refuse' });
    expect((await send(tenant.api)).status).toBe(422);
    await eventually(async () => (await send(tenant.there)).status).toBe(422);
    await tenant.set({});
    expect((await send(tenant.api)).status).toBe(202);
    await eventually(async () => (await send(tenant.there)).status).toBe(202);
  });

  test('refuse: a switch of a destination names an event of the catalog, or is 422 (B4)', async () => {
    const tenant = await tenantWith({ unknown_type: 'refuse' });
    await push(tenant, 'known', {});
    const create = (events: object) => tenant.api('POST', '/v1/destinations', destination('webhook', '/switches', events));
    const refused = await create({ known: true, unknwon: true });
    expect([refused.status, refused.body.errors]).toEqual([
      422,
      [{ pointer: '/events/unknwon', code: 'unknown_type', detail: 'The catalog has no such type.' }],
    ]);
    const made = await create({ known: true, '*': false, inline: true });
    expect(made.status).toBe(201);
    const change = (events: object) => tenant.api('PATCH', `/v1/destinations/${made.body.id}`, { events });
    expect((await change({ known: false, other: true })).status).toBe(422);
    await tenant.api('DELETE', '/v1/event-types/known');
    expect((await change({ known: false })).status, 'what was there before may stay').toBe(200);
    expect((await create({ '': true })).status).toBe(422);
  });

  test('generic: any name may be switched on that can be one', async () => {
    const { api } = await tenantWith({});
    const create = (events: object) => api('POST', '/v1/destinations', destination('webhook', '/switches', events));
    expect((await create({ 'not.pushed.yet': true })).status).toBe(201);
    for (const name of ['', 'a\u0000b', 'x'.repeat(257)]) expect((await create({ [name]: true })).status, name).toBe(422);
  });
});

describe('base_url', () => {
  const link = '/pilot/s1';
  const told = { to: [{ user_id: 'ada', email: 'ada@example.org' }], subject: 'Escalated', body: 'b', action_url: link };

  async function mailTo(address: string): Promise<string> {
    await eventually(() => mails.mails.some(({ to }) => to.includes(address))).toBe(true);
    return mails.mails
      .find(({ to }) => to.includes(address))!
      .raw.replaceAll('=\r\n', '')
      .replaceAll('=3D', '=');
  }

  test('a path leads below it in mails, chats and at destinations; the inbox keeps the path (B7)', async () => {
    const tenant = await tenantWith({ base_url: 'https://app.example.org/team/' });
    for (const channel of ['slack', 'webhook'])
      await tenant.api('POST', '/v1/destinations', destination(channel, `/based-${channel}`, { inline: true }));
    const to = [{ user_id: 'ada', email: 'based@example.org' }];
    const { body } = await tenant.api('POST', '/v1/notifications', { ...told, to });
    expect(await mailTo('based@example.org')).toContain('href="https://app.example.org/team/pilot/s1"');
    const [slack] = await receivedAt('/based-slack');
    expect(JSON.stringify(slack)).toContain('"url":"https://app.example.org/team/pilot/s1"');
    expect((await receivedAt('/based-webhook'))[0].data.action_url).toBe('https://app.example.org/team/pilot/s1');
    const { notifications } = (await tenant.api('GET', `/v1/events/${body.id}`)).body;
    expect((await tenant.api('GET', `/v1/notifications/${notifications[0].id}`)).body.action_url).toBe(link);
  });

  test('without it they carry no button', async () => {
    const tenant = await tenantWith({});
    await tenant.api('POST', '/v1/destinations', destination('slack', '/unbased-slack', { inline: true }));
    await tenant.api('POST', '/v1/notifications', { ...told, to: [{ user_id: 'ada', email: 'unbased@example.org' }] });
    expect(await mailTo('unbased@example.org')).not.toContain('href');
    expect(JSON.stringify(await receivedAt('/unbased-slack'))).not.toMatch(/"type":"(button|actions)"/);
  });

  test('templates have it as base_url, and their links lead below it', async () => {
    const tenant = await tenantWith({ base_url: 'https://app.example.org' });
    await push(tenant, 'session.escalated', {
      'event.yaml': 'action_url: "/pilot/{{ data.session_id }}"\n',
      'subject.liquid': 'Session escalated',
      'email.html.liquid': '<a href="{{ action_url }}">Open</a> <a href="{{ "/settings" | link }}">{{ base_url }}</a>',
    });
    const to = [{ user_id: 'ada', email: 'templated@example.org' }];
    await accepted(tenant.api, { type: 'session.escalated', to, data: { session_id: 's1' } });
    const mail = await mailTo('templated@example.org');
    expect(mail).toContain('<a href="https://app.example.org/pilot/s1">');
    expect(mail).toContain('<a href="https://app.example.org/settings">https://app.example.org</a>');
  });

  test.each(['ftp://x.example', 'https://a@b.example', '/path', 'https://x.example/?q=1', 'https://x.example/#a', 'x'])(
    'is not %s',
    async (base_url) => {
      const { status, body } = await server.api('PATCH', '/v1/tenants/default', { settings: { base_url } });
      expect([status, body.errors[0].pointer]).toEqual([422, '/settings/base_url']);
    },
  );
});

describe('default_recipients', () => {
  const toWhom = async ({ api }: Tenant) => {
    const id = await accepted(api, { type: 'account.alert' });
    await eventually(async () => (await api('GET', `/v1/events/${id}`)).body.status).toBe('routed');
    return (await deliveriesOf(db, id)).map(({ user }) => user);
  };
  async function account(settings: object): Promise<Tenant> {
    const tenant = await tenantWith(settings);
    await push(tenant, 'account.alert', { 'event.yaml': 'recipients: [default]\n' });
    for (const role of ['owner', 'admin', 'team_admin', 'security']) await tenant.api('PUT', `/v1/users/the-${role}`, { roles: [role] });
    return tenant;
  }

  test('not set: owners, admins and team admins (B3)', async () => {
    expect(await toWhom(await account({}))).toEqual(['the-admin', 'the-owner', 'the-team_admin']);
  });

  test('are whom the tenant says', async () => {
    const tenant = await account({ default_recipients: [{ role: 'security' }, 'olga', { topic: 'alerts' }] });
    await tenant.api('PUT', '/v1/topics/alerts/subscriptions/tom');
    expect(await toWhom(tenant)).toEqual(['olga', 'the-security', 'tom']);
  });
});

describe('what destinations read', () => {
  const files = {
    'subject.liquid': '{{ "title" | t }} {{ data.project }}',
    'in_app.liquid': '{{ "body" | t }}{{ user.id }}',
    'slack.json.liquid': '{"text":"{{ subject }} | {{ data.missing }}"}',
    'locales/default.json': '{"title":"Run failed","body":"In English."}',
    'locales/de.json': '{"title":"Lauf gescheitert","body":"Auf Deutsch."}',
  };

  test.each<[string, object, string, string]>([
    ['the default', {}, 'Run failed p7', 'In English.'],
    ["the tenant's language", { locale: 'de-AT' }, 'Lauf gescheitert p7', 'Auf Deutsch.'],
  ])('are the templates of the event type, in %s', async (_, settings, subject, body) => {
    const tenant = await tenantWith(settings);
    await push(tenant, 'run.failed', files);
    const path = `/reads-${tenant.id}`;
    for (const channel of ['webhook', 'slack'])
      await tenant.api('POST', '/v1/destinations', destination(channel, `${path}-${channel}`, { '*': true }));
    await accepted(tenant.api, { type: 'run.failed', to: ['ada'], data: { project: 'p7' } });
    expect((await receivedAt(`${path}-webhook`))[0].data).toMatchObject({ subject, body });
    expect(await receivedAt(`${path}-slack`)).toEqual([{ text: `${subject} | ` }]);
  });

  test("a user without a language reads the tenant's, one with his own reads that", async () => {
    const tenant = await tenantWith({ locale: 'de' });
    await push(tenant, 'run.failed', files);
    await tenant.api('PUT', '/v1/users/eve', { locale: 'en' });
    const id = await accepted(tenant.api, { type: 'run.failed', to: ['ada', 'eve'], data: { project: 'p7' } });
    await eventually(async () => (await tenant.api('GET', `/v1/notifications?event_id=${id}`)).body.data.length).toBe(2);
    const { data } = (await tenant.api('GET', `/v1/notifications?event_id=${id}`)).body;
    const subjects = Object.fromEntries(data.map((one: { user_id: string; subject: string }) => [one.user_id, one.subject]));
    expect(subjects).toEqual({ ada: 'Lauf gescheitert p7', eve: 'Run failed p7' });
  });

  test('what their templates miss stands in the timeline, once however often it is tried', async () => {
    const tenant = await tenantWith({});
    await push(tenant, 'run.failed', files);
    await tenant.api('POST', '/v1/destinations', destination('slack', '/busy', { '*': true }));
    const id = await accepted(tenant.api, { type: 'run.failed', to: ['ada'] });
    await eventually(async () => (await deliveryOf(db, id, 'slack')).attempts).toBe(1);
    await server.moveClock(120_000);
    await other.running.catchUp();
    await eventually(async () => (await deliveryOf(db, id, 'slack')).attempts).toBe(2);
    const { deliveries } = (await tenant.api('GET', `/v1/events/${id}`)).body;
    const { timeline } = (await tenant.api('GET', `/v1/deliveries/${deliveries[0].id}`)).body;
    const lines = timeline.filter(({ what }: { what: string }) => what === 'warning');
    expect(lines.map(({ detail, channel }: { detail: string; channel: string }) => [channel, detail])).toEqual([
      ['slack', 'subject.liquid: data.project has no value'],
      ['slack', 'slack.json.liquid: data.missing has no value'],
    ]);
  });

  test('what the template of a channel misses for a user stands in the timeline of his notification, once', async () => {
    const tenant = await tenantWith({});
    await push(tenant, 'run.mailed', { 'subject.liquid': 'Run', 'email.html.liquid': '<p>{{ data.reason }}</p>' });
    const id = await accepted(tenant.api, { type: 'run.mailed', to: [{ user_id: 'ada', email: 'missed@example.org' }] });
    await eventually(async () => (await deliveryOf(db, id, 'email')).state).toBe('delivered');
    const [{ id: told }] = (await tenant.api('GET', `/v1/events/${id}`)).body.notifications;
    const { timeline } = (await tenant.api('GET', `/v1/notifications/${told}`)).body;
    expect(timeline.filter(({ what }: { what: string }) => what === 'warning')).toEqual([
      expect.objectContaining({ channel: 'email', detail: 'email.html.liquid: data.reason has no value' }),
    ]);
  });
});

describe('versions, in two processes', () => {
  test('a type that one has pushed holds soon in the other, and an event keeps the version of its acceptance', async () => {
    const tenant = await tenantWith({});
    const version = async (text: string) => {
      await push(tenant, 'shared', { 'subject.liquid': text });
      return (await tenant.api('GET', '/v1/event-types/shared')).body.version as string;
    };
    const versionThere = async () => {
      const id = await accepted(tenant.there, { type: 'shared', to: ['ada'] });
      return (await tenant.there('GET', `/v1/events/${id}`)).body.version as string;
    };
    const first = await version('First');
    await eventually(versionThere).toBe(first);
    const scheduled = await accepted(tenant.there, {
      type: 'shared',
      to: ['bob'],
      scheduled_for: new Date((await db.query<{ at: Date }>("select carillon.now() + interval '1 hour' as at"))[0]!.at).toISOString(),
    });
    const second = await version('Second');
    await eventually(versionThere).toBe(second);
    await server.moveClock(3_601_000);
    await other.running.catchUp();
    await eventually(async () => (await tenant.api('GET', `/v1/notifications?event_id=${scheduled}`)).body.data[0]?.subject).toBe('First');
  });
});
