/** The catalog: what an event is accepted with, which version it is pinned to, and how types get in, out and changed. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CatalogError } from '../../src/catalog/problem.ts';
import { makeTestCatalog, type TestCatalog } from '../harness/catalog.ts';
import { deliveriesOf, eventually } from '../harness/core.ts';
import { startServer, type TestServer } from '../harness/server.ts';

/** A: what an execution platform tells its users (A3, A11). */
const EXECUTION_FAILED = `
title: Execution failed
category: execution
severity: high
tags: [execution, failed, "entity:execution", "exec:{{ data.execution_id }}"]
recipients: [{ path: $.user_id }]
exclude: [{ path: $.actor_id }]
channels:
  in_app: {}
  email: { severities: [urgent] }
expires_after: 7d
action_url: "https://app.example.org/executions/{{ data.execution_id }}"
data:
  type: object
  required: [execution_id, user_id]
  properties:
    execution_id: { type: string }
    user_id: { type: string }
    actor_id: { type: string }
    error_type: { type: string, default: system_error }
`;

let files: TestCatalog;
let server: TestServer;

beforeAll(async () => {
  files = makeTestCatalog({
    'execution.failed/event.yaml': EXECUTION_FAILED,
    'execution.failed/subject.liquid': 'Execution Failed: {{ data.execution_id }}',
    'session.escalated/event.yaml':
      'recipients: [default]\nlenient: true\naction_url: "/pilot/{{ data.session_id }}"\ndata: { type: object, required: [session_id] }\n',
    'tagged/event.yaml': 'tags_required: true\n',
  });
  server = await startServer({ 'catalog.dir': files.directory, 'catalog.deadline': 3_000 });
});
afterAll(async () => {
  await server.stop();
  files.remove();
});

const send = (body: object) => server.api('POST', '/v1/events', body);
const read = async (body: object) => {
  const { status, body: answer } = await send(body);
  expect(status, JSON.stringify(answer)).toBe(202);
  return (await server.api('GET', `/v1/events/${answer.id}`)).body;
};
const failed = (data: object, more: object = {}) => ({
  type: 'execution.failed',
  data: { execution_id: '7f3', user_id: 'ada', ...data },
  ...more,
});

describe('accepting an event of a known type', () => {
  test('its severity, tags, recipients, link and expiry come from the type (A3)', async () => {
    const event = await read(failed({}));
    expect(event).toMatchObject({ severity: 'high', tags: ['execution', 'failed', 'entity:execution', 'exec:7f3'], warnings: [] });
    expect(Date.parse(event.expires_at) - Date.parse(event.accepted_at)).toBe(7 * 86_400_000);
    await eventually(async () => (await deliveriesOf(server.db, event.id)).map(({ user, channel }) => [user, channel])).toEqual([
      ['ada', 'in_app'],
    ]);
    const [{ id }] = (await server.api('GET', `/v1/events/${event.id}`)).body.notifications;
    const { body } = await server.api('GET', `/v1/notifications/${id}`);
    expect(body.action_url).toBe('https://app.example.org/executions/7f3');
  });

  test('a field that older producers lack gets its default (A11)', async () => {
    expect((await read(failed({}))).data).toMatchObject({ error_type: 'system_error' });
    expect((await read(failed({ error_type: 'out_of_memory' }))).data).toMatchObject({ error_type: 'out_of_memory' });
    expect((await read(failed({ surprise: 1 }))).data).toMatchObject({ surprise: 1 });
  });

  test('the request overrides what the type says', async () => {
    const event = await read(failed({}, { to: ['bob'], severity: 'low', tags: ['mine'], expires_at: '2099-01-01T00:00:00.000Z' }));
    expect(event).toMatchObject({ severity: 'low', tags: ['mine'], expires_at: '2099-01-01T00:00:00.000Z' });
    await eventually(async () => (await deliveriesOf(server.db, event.id)).map(({ user }) => user)).toEqual(['bob']);
  });

  test('a channel that the type keeps for other severities is not considered', async () => {
    const event = await read(failed({}, { severity: 'urgent' }));
    await eventually(async () => (await deliveriesOf(server.db, event.id)).map(({ channel }) => channel)).toEqual(['email', 'in_app']);
  });

  test('whoever caused it is not told, and why is recorded', async () => {
    const event = await read(failed({ actor_id: 'ada' }));
    await eventually(async () =>
      (await deliveriesOf(server.db, event.id)).map(({ user, channel, reason }) => [user, channel, reason]),
    ).toEqual([['ada', '*', 'excluded']]);
  });

  test('data that does not fit is refused with pointers under /data, and nothing is stored', async () => {
    const { status, body } = await send({ type: 'execution.failed', data: { execution_id: 7 } });
    expect([status, body.code]).toEqual([422, 'invalid']);
    expect(body.errors.map(({ pointer, code }: { pointer: string; code: string }) => [pointer, code])).toEqual([
      ['/data/user_id', 'required'],
      ['/data/execution_id', 'type'],
    ]);
  });

  test('a lenient type lets it pass with a warning, and a link that misses a value is left out', async () => {
    const event = await read({ type: 'session.escalated', to: ['ada'] });
    expect(event.warnings).toEqual([
      "data/session_id: must have required property 'session_id'.",
      'action_url: data.session_id has no value',
    ]);
    await eventually(async () => (await server.api('GET', `/v1/events/${event.id}`)).body.notifications).toHaveLength(1);
    const [{ id }] = (await server.api('GET', `/v1/events/${event.id}`)).body.notifications;
    expect((await server.api('GET', `/v1/notifications/${id}`)).body.action_url).toBeNull();
  });

  test('`default` means owners, admins and team admins; an empty list of recipients counts as none', async () => {
    await Promise.all(
      ['owner', 'admin', 'team_admin', 'member'].map((role) => server.api('PUT', `/v1/users/the-${role}`, { roles: [role] })),
    );
    const event = await read({ type: 'session.escalated', data: { session_id: 's1' }, to: [] });
    await eventually(async () => (await deliveriesOf(server.db, event.id)).map(({ user }) => user)).toEqual([
      'the-admin',
      'the-owner',
      'the-team_admin',
    ]);
  });

  test('a type can ask for tags; without recipients nobody would be told', async () => {
    expect((await send({ type: 'tagged', to: ['ada'] })).body.errors).toMatchObject([{ pointer: '/tags', code: 'required' }]);
    expect((await send({ type: 'tagged', to: ['ada'], tags: ['t'] })).status).toBe(202);
    expect((await send({ type: 'tagged', tags: ['t'] })).body.code).toBe('recipients_missing');
    expect((await send(failed({ user_id: '' }))).body.code).toBe('recipients_missing');
  });

  test('in a batch each item has the answer that it would have alone', async () => {
    const { body } = await server.api('POST', '/v1/events/batch', [
      failed({}),
      failed({ execution_id: 1 }),
      { type: 'unheard.of', to: ['ada'] },
    ]);
    expect(body.results).toMatchObject([{ duplicate: false }, { error: { code: 'invalid' } }, { duplicate: false }]);
  });
});

describe('over the API', () => {
  const put = (type: string, given: Record<string, string>) => server.api('PUT', `/v1/event-types/${type}`, { files: given });

  test('what is pushed is current at once, reads back as it was, and the same content is the same version', async () => {
    const given = { 'event.yaml': 'title: One\nrecipients: [{ path: $.who }]\n', 'subject.liquid': 'One' };
    const first = await put('pushed.one', given);
    expect(first.body).toMatchObject({ type: 'pushed.one', title: 'One', severity: 'medium', source: 'api', warnings: [] });
    const event = await read({ type: 'pushed.one', data: { who: 'ada' } });
    expect(event.version).toBe(first.body.version);

    const second = await put('pushed.one', { ...given, 'event.yaml': 'title: Two\nrecipients: [{ path: $.who }]\n' });
    expect(second.body.version).not.toBe(first.body.version);
    expect((await put('pushed.one', given)).body.version).toBe(first.body.version);
    const { body } = await server.api('GET', '/v1/event-types/pushed.one');
    expect(body.files).toEqual(given);
    expect(body.versions).toHaveLength(2);
    const old = await server.api('GET', `/v1/event-types/pushed.one/versions/${second.body.version}`);
    expect(old.body.files['event.yaml']).toContain('Two');
  });

  test('an event keeps the version of its acceptance', async () => {
    const version = (await put('pinned', { 'event.yaml': 'title: Before\n' })).body.version;
    const event = await read({ type: 'pinned', to: ['ada'], scheduled_for: new Date(Date.now() + 3_600_000).toISOString() });
    await put('pinned', { 'event.yaml': 'title: After\n' });
    expect((await server.api('GET', `/v1/events/${event.id}`)).body.version).toBe(version);
  });

  test('a tenant hides a type of the installation with its own, and retires either', async () => {
    expect((await put('execution.failed', { 'event.yaml': 'title: Mine\n' })).body.source).toBe('api');
    expect((await send(failed({ user_id: 1 }, { to: ['ada'] }))).status).toBe(202);
    expect((await server.api('DELETE', '/v1/event-types/execution.failed')).status).toBe(204);
    expect((await server.api('GET', '/v1/event-types/execution.failed')).status).toBe(404);
    expect((await read(failed({}, { to: ['ada'] }))).version).toBeNull();
    expect((await server.api('DELETE', '/v1/event-types/execution.failed')).status).toBe(404);
    const original = { 'event.yaml': EXECUTION_FAILED, 'subject.liquid': 'Execution Failed: {{ data.execution_id }}' };
    expect((await put('execution.failed', original)).status).toBe(200);
  });

  test('every problem of a push is named; what only looks wrong is a warning', async () => {
    const { status, body } = await put('broken', {
      'event.yaml': 'title: Broken\nseverty: high\nchannels:\n  emial: {}\n',
      'subject.liquid': 'line one\n{% if data.x %}',
      'foo.liquid': '',
    });
    expect([status, body.code]).toEqual([422, 'invalid']);
    expect(body.errors.map(({ pointer, detail }: { pointer: string; detail: string }) => [pointer, detail])).toEqual([
      ['/files/foo.liquid', expect.stringContaining('foo.liquid: is not a file of an event type')],
      ['/files/event.yaml', 'event.yaml:2: severty is not known; the nearest known name is severity'],
      ['/files/event.yaml', 'event.yaml:4: channels.emial is not known; the nearest known name is email'],
      ['/files/subject.liquid', expect.stringContaining('subject.liquid:2: tag {% if data.x %} not closed')],
    ]);
    const doubtful = await put('doubtful', {
      'event.yaml': 'data: { type: object, properties: { a: { type: string } } }\n',
      'subject.liquid': '{{ data.b }} {{ nobody }}',
    });
    expect(doubtful.body.warnings).toEqual([
      "subject.liquid: data.b is not in the data's schema; there are a",
      expect.stringContaining('subject.liquid: nobody is not known'),
    ]);
    expect((await put('inline', { 'event.yaml': '' })).status).toBe(422);
  });

  test('a schema that takes for ever costs its sender an answer and nobody else anything', async () => {
    const pattern = 'recipients: [{ path: $.who }]\ndata: { type: object, properties: { a: { type: string, pattern: "^(a+)+$" } } }\n';
    expect((await put('hostile', { 'event.yaml': pattern })).status).toBe(200);
    expect((await send({ type: 'hostile', data: { who: 'ada', a: 'aaaa' } })).status).toBe(202);
    const [slow, other] = await Promise.all([
      send({ type: 'hostile', data: { who: 'ada', a: `${'a'.repeat(60)}b` } }),
      send({ type: 'pinned', to: ['ada'] }),
    ]);
    expect(slow.body).toMatchObject({ code: 'invalid', errors: [{ pointer: '/data', code: 'schema_failed' }] });
    expect(other.status).toBe(202);
    expect(server.logs.map(({ event }) => event)).toContain('catalog.template-stopped');
  });
});

describe('what people read', () => {
  const push = (type: string, given: Record<string, string>) => server.api('PUT', `/v1/event-types/${type}`, { files: given });
  const told = async (eventId: string) => {
    await eventually(async () => (await server.api('GET', `/v1/events/${eventId}`)).body.notifications.length).toBe(1);
    const [{ id }] = (await server.api('GET', `/v1/events/${eventId}`)).body.notifications;
    return (await server.api('GET', `/v1/notifications/${id}`)).body;
  };
  const mailOf = async (address: string) => {
    const page = () => server.api('GET', '/dev/outbox');
    await eventually(async () => String((await page()).body)).toContain(address);
  };

  test('the texts of its type; a missing value is empty and a warning in the timeline', async () => {
    const event = await read(failed({}, { type: 'execution.failed' }));
    expect(await told(event.id)).toMatchObject({ subject: 'Execution Failed: 7f3', body: '' });
    await push('greeting', {
      'event.yaml': '',
      'subject.liquid': 'Hello {{ data.name }}',
      'in_app.liquid': 'You have {{ data.count }} items.',
    });
    const missing = await told((await read({ type: 'greeting', to: ['ada'], data: { count: 2 } })).id);
    expect(missing).toMatchObject({ subject: 'Hello', body: 'You have 2 items.' });
    expect(missing.timeline).toContainEqual(expect.objectContaining({ what: 'warning', detail: 'subject.liquid: data.name has no value' }));
  });

  test('a type that nobody has described: `Notification: <event>`, `Event: <event>`, no link (B7)', async () => {
    const event = await read({ type: 'nobody.knows', to: ['ada'] });
    expect(await told(event.id)).toMatchObject({ subject: 'Notification: nobody.knows', body: 'Event: nobody.knows', action_url: null });
  });

  test('in the language of the reader: pt-BR, then pt, then the default', async () => {
    await push('localized', {
      'event.yaml': '',
      'subject.liquid': '{{ "title" | t }}: {{ "who" | t: name: user.attributes.name }}',
      'locales/default.json': '{"title":"New order","who":"for {name}"}',
      'locales/pt.json': '{"title":"Novo pedido","who":"para {name}"}',
      'locales/pt-BR.json': '{"title":"Pedido novo"}',
    });
    const subjects = [];
    for (const [id, locale] of [
      ['joao', 'pt-BR'],
      ['ines', 'pt-PT'],
      ['kim', 'ko'],
    ]) {
      await server.api('PUT', `/v1/users/${id}`, { locale, attributes: { name: id } });
      subjects.push((await told((await read({ type: 'localized', to: [id] })).id)).subject);
    }
    expect(subjects).toEqual(['Pedido novo: para joao', 'Novo pedido: para ines', 'New order: for kim']);
  });

  test('a scheduled event says what its type said when it was accepted', async () => {
    await push('pinned.text', { 'event.yaml': '', 'subject.liquid': 'Before', 'email.html.liquid': '<b>Before</b>' });
    const event = await read({
      type: 'pinned.text',
      to: [{ user_id: 'ada', email: 'pinned@example.org' }],
      scheduled_for: new Date(Date.now() + 60_000).toISOString(),
    });
    await push('pinned.text', { 'event.yaml': '', 'subject.liquid': 'After', 'email.html.liquid': '<b>After</b>' });
    await server.moveClock(61_000);
    expect((await told(event.id)).subject).toBe('Before');
    await mailOf('pinned@example.org');
  });

  test('a template that runs away fails its own notification, with a reason, and nobody else’s', async () => {
    const loop = '{% for a in (1..3000) %}{% for b in (1..3000) %}{% for c in (1..3000) %}{% endfor %}{% endfor %}{% endfor %}';
    expect((await push('runaway', { 'event.yaml': '', 'in_app.liquid': loop })).status).toBe(200);
    const [runaway, other] = await Promise.all([
      read({ type: 'runaway', to: ['ada'] }),
      read({ type: 'greeting', to: ['bob'], data: { name: 'Bob' } }),
    ]);
    await eventually(async () => (await deliveriesOf(server.db, runaway.id)).map(({ state, reason }) => [state, reason])).toEqual([
      ['skipped', 'template_failed'],
    ]);
    expect((await told(other.id)).subject).toBe('Hello Bob');
    expect((await server.api('GET', '/health/ready')).status).toBe(200);
  });

  test('a mail is its own template, and one that fails when sent ends as template_failed', async () => {
    await push('mailed', { 'event.yaml': '', 'subject.liquid': 'Mail', 'email.html.liquid': '<p>{{ data.name }}</p>' });
    const good = await read({ type: 'mailed', to: [{ user_id: 'ada', email: 'good@example.org' }], data: { name: '<b>' } });
    await eventually(async () => (await deliveriesOf(server.db, good.id)).map(({ channel, state }) => [channel, state])).toEqual([
      ['email', 'delivered'],
      ['in_app', 'delivered'],
    ]);
    const long = '{% for a in (1..2000) %}{% for b in (1..2000) %}{{ data.name }}{% endfor %}{% endfor %}';
    await push('mailed.long', { 'event.yaml': '', 'subject.liquid': 'Mail', 'email.html.liquid': long });
    const bad = await read({ type: 'mailed.long', to: [{ user_id: 'ada', email: 'bad@example.org' }], data: { name: 'x' } });
    await eventually(async () =>
      (await deliveriesOf(server.db, bad.id)).map(({ channel, state, reason }) => [channel, state, reason]),
    ).toEqual([
      ['email', 'failed', 'template_failed'],
      ['in_app', 'delivered', 'sent'],
    ]);
  });
});

describe('files', () => {
  test('in development a change is seen without a restart; a broken file is reported, and what was current stays', async () => {
    const version = async () => (await server.api('GET', '/v1/event-types/tagged')).body.version as string;
    const before = await version();
    files.write({ 'tagged/event.yaml': 'tags_required: true\ntitle: Changed\n' });
    await eventually(version).not.toBe(before);
    const changed = await version();
    files.write({ 'tagged/event.yaml': 'tags_requird: true\n' });
    await eventually(() => server.logs.find(({ event }) => event === 'catalog.broken')?.fields['problems']).toEqual([
      'tagged/event.yaml:1: tags_requird is not known; the nearest known name is tags_required',
    ]);
    expect(await version()).toBe(changed);
    files.write({ 'tagged/event.yaml': null });
    files.write({ 'tagged/event.yaml': 'tags_required: true\n' });
    await eventually(version).toBe(before);
  });

  test('a broken catalog is no start, and all that is wrong is said at once', async () => {
    const broken = makeTestCatalog({
      'a/event.yaml': 'severity: extreme\ntags: ["{{ data.x | nope }}"]\n',
      'b/event.yaml': 'title: [unclosed\n',
      'c/subject.liquid': 'no event.yaml',
      'd/event.yaml': 'recipients: [{ path: user_id }]\n',
      'd/locales/de.json': '{"a": 1}',
      'd/email.html.liquid': '{% partial "missing" %}',
      'e/event.yaml': 'data: { type: nothing }\n',
      'stray.txt': '',
    });
    const error = await startServer({ 'catalog.dir': broken.directory }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    broken.remove();
    if (!(error instanceof CatalogError)) throw new Error('it started');
    const said = error.problems.map(({ file, line }) => (line === undefined ? file : `${file}:${line}`));
    expect([...new Set(said)].sort()).toEqual([
      'a/event.yaml:1',
      'b/event.yaml:2',
      'c/event.yaml',
      'd/email.html.liquid:1',
      'd/event.yaml:1',
      'd/locales/de.json',
      'e/event.yaml',
      'stray.txt',
    ]);
    expect(error.message).toContain('severity');
  });
});

test('a tenant sees the types of the installation, and never those of another tenant', async () => {
  const made = await server.api('POST', '/v1/tenants', { id: 'catalog-b' });
  const headers = { authorization: `Bearer ${made.body.api_key.key}` };
  await server.api('PUT', '/v1/event-types/only.ours', { files: { 'event.yaml': '' } });
  const { body } = await server.api('GET', '/v1/event-types', undefined, headers);
  const types = body.data.map(({ type, source }: { type: string; source: string }) => [type, source]);
  expect(types).toEqual([
    ['execution.failed', 'files'],
    ['session.escalated', 'files'],
    ['tagged', 'files'],
  ]);
  expect((await server.api('GET', '/v1/event-types/only.ours', undefined, headers)).status).toBe(404);
});
