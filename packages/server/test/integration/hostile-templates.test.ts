/** Templates that mean harm, pushed by somebody who may: refused with file and line, or only their own delivery fails. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deliveriesOf, eventually } from '../harness/core.ts';
import { startServer, type TestServer } from '../harness/server.ts';
import { HARMLESS, HOSTILE_DATA, REFUSED, RUNAWAY } from './fixtures/hostile-templates.ts';

let server: TestServer;
/** Who is slow again and again is not tried for a while: each part has a tenant of its own. */
let attacker: Record<string, string>;
let curious: Record<string, string>;
let bomber: Record<string, string>;
let flood: Record<string, string>;
let bystander: Record<string, string>;
beforeAll(async () => {
  server = await startServer({ 'catalog.deadline': 3_000 });
  const keyOf = async (id: string) => {
    const { body } = await server.api('POST', '/v1/tenants', { id });
    return { authorization: `Bearer ${body.api_key.key}` };
  };
  [attacker, curious, bomber, flood, bystander] = [
    await keyOf('attacker'),
    await keyOf('curious'),
    await keyOf('bomber'),
    await keyOf('flood'),
    await keyOf('bystander'),
  ];
  await push('greeting', { 'subject.liquid': 'Hello {{ data.name }}', 'email.html.liquid': '<p>{{ data.name }}</p>' }, bystander);
});
afterAll(() => server.stop());

const push = async (type: string, files: Readonly<Record<string, string>>, by = attacker) =>
  server.api('PUT', `/v1/event-types/${type}`, { files: 'event.yaml' in files ? files : { 'event.yaml': '', ...files } }, by);
const report = async (type: string, data: object, by = attacker) => {
  const { status, body } = await server.api('POST', '/v1/events', { type, data, to: ['ada'] }, by);
  expect(status, JSON.stringify(body)).toBe(202);
  return body.id as string;
};
const outcomeOf = async (id: string) => (await deliveriesOf(server.db, id)).map(({ channel, state, reason }) => [channel, state, reason]);
const told = async (id: string, by: Record<string, string>) => {
  await eventually(async () => (await server.api('GET', `/v1/events/${id}`, undefined, by)).body.notifications.length).toBe(1);
  const [notification] = (await server.api('GET', `/v1/events/${id}`, undefined, by)).body.notifications;
  return (await server.api('GET', `/v1/notifications/${notification.id}`, undefined, by)).body;
};

describe('refused when it is pushed', () => {
  test.each(REFUSED.map((one) => [one.name, one] as const))('%s', async (_, { files, where }) => {
    const { status, body } = await push('hostile', files);
    expect([status, body.code]).toEqual([422, 'invalid']);
    expect(body.errors.map(({ detail }: { detail: string }) => detail)).toContainEqual(expect.stringMatching(where));
    expect((await server.api('GET', '/v1/event-types/hostile', undefined, attacker)).status).toBe(404);
  });

  test('1 MiB, before it is read', async () => {
    expect((await push('hostile', { 'in_app.liquid': 'x'.repeat(1_100_000) })).status).toBe(413);
  });
});

describe('pushed, and failing what it would have said', () => {
  test.each(RUNAWAY.map((one, at) => [one.name, at, one.files] as const))('%s', async (_, at, files) => {
    const type = `runaway.${at}`;
    expect((await push(type, files)).body).toMatchObject({ type });
    const [runaway, other] = [await report(type, HOSTILE_DATA), await report('greeting', { name: 'Bob' }, bystander)];
    await eventually(() => outcomeOf(runaway)).toEqual([['in_app', 'skipped', 'template_failed']]);
    expect(await told(other, bystander)).toMatchObject({ subject: 'Hello Bob' });
  });
});

test.each(HARMLESS)('nothing of the process is in %s', async (template, made) => {
  expect((await push('harmless', { 'subject.liquid': 'x', 'in_app.liquid': template }, curious)).status).toBe(200);
  expect((await told(await report('harmless', HOSTILE_DATA, curious), curious)).body).toBe(made);
});

/** 2²⁶ ways to the same mistake. */
const LEVELS = 26;
const bomb = JSON.stringify({
  $defs: Object.fromEntries(
    Array.from({ length: LEVELS }, (_, at) => [
      `d${at}`,
      at === LEVELS - 1
        ? { type: 'object', required: ['missing'] }
        : { allOf: [{ $ref: `#/$defs/d${at + 1}` }, { $ref: `#/$defs/d${at + 1}` }] },
    ]),
  ),
  $ref: '#/$defs/d0',
});

test('a thread that is taken for good is killed and replaced, and its memory is given back', async () => {
  expect((await push('bomb', { 'event.yaml': `data: ${bomb}\n` }, bomber)).status).toBe(200);
  const before = process.memoryUsage().rss;
  for (let time = 0; time < 2; time++) {
    const { status, body } = await server.api('POST', '/v1/events', { type: 'bomb', data: {}, to: ['ada'] }, bomber);
    expect([status, body.errors]).toMatchObject([422, [{ pointer: '/data', code: 'schema_failed' }]]);
  }
  const stops = server.logs.filter(({ event }) => event === 'catalog.template-stopped');
  expect(stops.filter(({ fields }) => fields['tenantId'] === 'bomber').length).toBe(2);
  expect((await told(await report('greeting', { name: 'Bob' }, bystander), bystander)).subject).toBe('Hello Bob');
  // Each thread may take 80 MiB; without a bound this takes gigabytes.
  expect(process.memoryUsage().rss - before).toBeLessThan(1_000_000_000);
});

test('thirty types that take all the time there is are in nobody else’s way', async () => {
  const slow = '{% for a in (1..3000) %}{% for b in (1..3000) %}{% for c in (1..3000) %}{% endfor %}{% endfor %}{% endfor %}';
  const types = Array.from({ length: 30 }, (_, at) => `slow.${at}`);
  for (const type of types) {
    expect((await push(type, { 'in_app.liquid': `${slow}${type}` }, flood)).status).toBe(200);
  }
  const events: string[] = [];
  for (const type of types) events.push(await report(type, {}, flood));
  const others = await Promise.all(Array.from({ length: 5 }, () => report('greeting', { name: 'Bob' }, bystander)));
  for (const other of others) expect((await told(other, bystander)).subject).toBe('Hello Bob');
  for (const id of events) await eventually(() => outcomeOf(id)).toEqual([['in_app', 'skipped', 'template_failed']]);
  expect((await server.api('GET', '/health/ready')).status).toBe(200);
});

test('data that means harm is only data, in whichever template', async () => {
  const hostile = {
    name: '{{ data.secret }}{% for a in (1..9) %}<script>"\'&',
    ['constructor']: 'own',
    list: Array.from({ length: 5_000 }, (_, at) => at),
    deep: JSON.parse(`${'{"a":'.repeat(60)}1${'}'.repeat(60)}`) as unknown,
    long: 'x '.repeat(100_000),
  };
  await push(
    'data',
    {
      'subject.liquid': '{{ data.name }}',
      'in_app.liquid':
        '{{ data.constructor }} {{ data.list | size }} {{ data.deep }} {{ data.long | truncate: 5 }} {{ data.long | truncatewords: 2 }}',
    },
    bystander,
  );
  const { subject, body } = await told(await report('data', hostile, bystander), bystander);
  expect(subject).toBe(hostile.name);
  expect(body).toBe(`own 5000 ${JSON.stringify(hostile.deep)} x ... x x...`);
});
