/** CloudEvents 1.0 over HTTP, sent by the reference package. */
import { CloudEvent, HTTP, type CloudEventV1, type Message } from 'cloudevents';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { count, eventually, nowOf, uuidOf } from '../harness/core.ts';
import { startServer, type TestServer } from '../harness/server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

const BATCH = 'application/cloudevents-batch+json';
const STRUCTURED = 'application/cloudevents+json';

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: any; // eslint-disable-line @typescript-eslint/no-explicit-any -- whatever JSON came
}

async function post(headers: Record<string, string>, body?: unknown, path = '/v1/events'): Promise<Answer> {
  const response = await fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key}`, ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

const send = ({ headers, body }: Message) => post(headers as Record<string, string>, body);

let made = 0;
function cloudEvent(more: Partial<CloudEventV1<unknown>> = {}): CloudEvent<unknown> {
  return new CloudEvent({
    id: `ce-${(made += 1)}`,
    source: '/machines/7',
    type: 'disk.full',
    subject: 'disk sda',
    time: '2026-02-03T04:05:06.789Z',
    dataschema: 'https://example.org/disk.json',
    datacontenttype: 'application/json',
    to: 'ada',
    partitionkey: 'rack-4',
    data: { used: 92, path: ['/', 'größe'] },
    ...more,
  });
}

/** The event as the reference package sees it, put together from what the user's inbox and the event's own page say. */
async function readBack(id: string): Promise<CloudEvent<unknown>> {
  const { body } = await server.api('GET', `/v1/events/${id}`);
  await eventually(() => count(server.db, 'notifications where event_id = $1', [uuidOf(id)])).toBe(1);
  const [row] = await server.db.query<{ metadata: { cloudevent: CloudEventV1<unknown> } }>(
    'select metadata from carillon.notifications where event_id = $1',
    [uuidOf(id)],
  );
  return new CloudEvent({ ...row!.metadata.cloudevent, data: body.data });
}

describe('what the reference package sends is what it can read back', () => {
  test('structured', async () => {
    const sent = cloudEvent();
    const { status, headers, body } = await send(HTTP.structured(sent));
    expect({ status, body }).toEqual({ status: 202, body: { id: expect.stringMatching(/^evt_/), duplicate: false } });
    expect(headers.get('location')).toBe(`/v1/events/${body.id}`);
    expect((await readBack(body.id)).toJSON()).toEqual(sent.toJSON());
  });

  test('binary', async () => {
    const sent = cloudEvent();
    const { status, body } = await send(HTTP.binary(sent));
    expect(status).toBe(202);
    const received = await readBack(body.id);
    expect({ ...received.toJSON(), datacontenttype: undefined }).toEqual({ ...sent.toJSON(), datacontenttype: undefined });
  });

  test('batch, each item for itself', async () => {
    const sent = [cloudEvent(), cloudEvent({ severity: 'unheard of' }), cloudEvent()];
    const { status, body } = await post({ 'content-type': BATCH }, JSON.stringify(sent));
    expect(status).toBe(202);
    expect(body.results).toEqual([
      { id: expect.stringMatching(/^evt_/), duplicate: false },
      { error: expect.objectContaining({ code: 'invalid', errors: [expect.objectContaining({ pointer: '/severity' })] }) },
      { id: expect.stringMatching(/^evt_/), duplicate: false },
    ]);
    expect((await readBack(body.results[2].id)).toJSON()).toEqual(sent[2]!.toJSON());
    expect((await post({ 'content-type': `${BATCH}; charset=utf-8` }, '[]')).body).toEqual({ results: [] });
  });

  test('a whole batch of 5 MiB, compressed', async () => {
    const scheduledfor = await inHours(1);
    const sent = Array.from({ length: 400 }, () => cloudEvent({ data: { text: 'x'.repeat(10_000) }, scheduledfor }));
    const response = await fetch(`${server.url}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${server.key}`, 'content-type': BATCH, 'content-encoding': 'gzip' },
      body: gzipSync(JSON.stringify(sent)),
    });
    const { results } = (await response.json()) as { results: { id?: string }[] };
    expect(results.filter(({ id }) => id !== undefined)).toHaveLength(400);
  });
});

/** By the database's clock, which these tests move. */
const inHours = async (hours: number) => new Date((await nowOf(server.db)).getTime() + hours * 3_600_000).toISOString();

describe('source and id are the key', () => {
  test('for seven days, in any mode, whatever else the event says', async () => {
    const first = cloudEvent();
    const again = new CloudEvent({ ...first.toJSON(), data: { used: 93 } });
    const { body } = await send(HTTP.structured(first));
    const repeat = { id: body.id, duplicate: true };
    expect((await send(HTTP.structured(again))).body).toEqual(repeat);
    expect((await send(HTTP.binary(again))).body).toEqual(repeat);
    expect((await post({ 'content-type': BATCH }, [again, again])).body).toEqual({ results: [repeat, repeat] });
    await server.moveClock(6 * 86_400_000);
    expect((await send(HTTP.structured(again))).body).toEqual(repeat);
    await server.moveClock(2 * 86_400_000);
    expect((await send(HTTP.structured(again))).body.duplicate).toBe(false);
  });

  test('another source with the same id is another event, and so is the same text cut elsewhere', async () => {
    const ids = await Promise.all(
      [
        ['a', 'bc'],
        ['ab', 'c'],
        ['a","b', 'c'],
      ].map(async ([source, id]) => (await send(HTTP.structured(cloudEvent({ id: id!, source: source! })))).body.id),
    );
    expect(new Set(ids).size).toBe(3);
  });

  test('names of 1,024 bytes are kept apart', async () => {
    const source = `/${'x'.repeat(1_023)}`;
    const [one, other] = [`${'y'.repeat(1_023)}1`, `${'y'.repeat(1_023)}2`].map((id) => cloudEvent({ source, id }));
    const first = await send(HTTP.structured(one!));
    expect((await send(HTTP.structured(other!))).body.duplicate).toBe(false);
    expect((await send(HTTP.structured(one!))).body).toEqual({ id: first.body.id, duplicate: true });
  });

  test('an Idempotency-Key covers the request as always', async () => {
    const body = JSON.stringify(cloudEvent());
    const headers = { 'content-type': STRUCTURED, 'idempotency-key': 'of-a-cloudevent' };
    const first = await post(headers, body);
    const second = await post(headers, body);
    expect([second.headers.get('idempotent-replayed'), second.body.id]).toEqual(['true', first.body.id]);
    expect((await post(headers, JSON.stringify(cloudEvent()))).body.code).toBe('idempotency_mismatch');
  });
});

test("Carillon's own fields are extensions, as text where headers carry them", async () => {
  const own = {
    to: '["ada", {"user_id": "bob", "email": "bob@example.org"}]',
    channels: 'in_app, email',
    tags: 'disk,rack:4',
    severity: 'high',
    critical: 'true',
    maxretries: '3',
    actionurl: 'https://example.org/disks',
    correlationid: 'c-9',
    scheduledfor: await inHours(1),
    expirytime: await inHours(2),
    traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  };
  for (const message of [HTTP.structured(cloudEvent(own)), HTTP.binary(cloudEvent(own))]) {
    const { body, status } = await send(message);
    expect(status, JSON.stringify(body)).toBe(202);
    expect((await server.api('GET', `/v1/events/${body.id}`)).body).toMatchObject({
      type: 'disk.full',
      severity: 'high',
      tags: ['disk', 'rack:4'],
      correlation_id: 'c-9',
      scheduled_for: own.scheduledfor,
      expires_at: own.expirytime,
      traceparent: own.traceparent,
    });
    const [row] = await server.db.query('select request from carillon.events where id = $1', [uuidOf(body.id)]);
    expect(row!.request).toMatchObject({
      to: ['ada', { user_id: 'bob', email: 'bob@example.org' }],
      channels: ['in_app', 'email'],
      critical: true,
      max_retries: 3,
      action_url: own.actionurl,
    });
  }
});

test('data that came as base64 is JSON all the same', async () => {
  const encoded = { ...cloudEvent().toJSON(), data: undefined, data_base64: Buffer.from('{"used":94}').toString('base64') };
  const { body } = await post({ 'content-type': STRUCTURED }, encoded);
  expect((await server.api('GET', `/v1/events/${body.id}`)).body.data).toEqual({ used: 94 });
});

test('an event without data, and one whose attributes are null, as if they were absent', async () => {
  const bare = { 'ce-specversion': '1.0', 'ce-id': 'bare-1', 'ce-source': '/x', 'ce-type': 't', 'ce-to': 'ada' };
  expect((await post(bare)).status).toBe(202);
  const nulls = { specversion: '1.0', id: 'bare-2', source: '/x', type: 't', to: 'ada', subject: null, time: null };
  expect((await post({ 'content-type': STRUCTURED }, nulls)).status).toBe(202);
});

test('headers in percent-encoding or in quotes mean the same', async () => {
  const headers = {
    'ce-specversion': '1.0',
    'ce-id': 'enc-1',
    'ce-source': '/x',
    'ce-type': 't',
    'content-type': 'application/vnd.disk+json',
  };
  const { body } = await post({ ...headers, 'ce-to': 'Zo%C3%AB', 'ce-tags': '"a \\"b\\""' }, { used: 1 });
  expect((await server.api('GET', `/v1/events/${body.id}`)).body).toMatchObject({ tags: ['a "b"'], data: { used: 1 } });
  expect(await count(server.db, "users where id = 'Zoë'")).toBe(1);
});

const whole = { specversion: '1.0', id: 'refused', source: '/x', type: 't', to: 'ada' };
const refused: [name: string, event: unknown, pointer: string, code: string][] = [
  ['another version', { ...whole, specversion: '0.3' }, '/specversion', 'invalid_value'],
  ['no id', { ...whole, id: undefined }, '/id', 'required'],
  ['an empty source', { ...whole, source: '' }, '/source', 'too_small'],
  ['an id that is too long', { ...whole, id: 'x'.repeat(1_025) }, '/id', 'too_big'],
  ['a type that is no text', { ...whole, type: 7 }, '/type', 'invalid_type'],
  ['our reserved type', { ...whole, type: 'inline' }, '/type', 'reserved'],
  ['a time that is none', { ...whole, time: 'yesterday' }, '/time', 'invalid_format'],
  ['data that is not JSON', { ...whole, datacontenttype: 'text/xml', data: '<x/>' }, '/datacontenttype', 'invalid_format'],
  ['data that is no object', { ...whole, data: [1] }, '/data', 'invalid_type'],
  ['data twice', { ...whole, data: {}, data_base64: 'e30=' }, '/data_base64', 'conflict'],
  ['base64 that is none', { ...whole, data_base64: '%%%' }, '/data_base64', 'invalid_format'],
  ['base64 of no JSON', { ...whole, data_base64: 'AAAA' }, '/data_base64', 'malformed_json'],
  ['base64 of NUL', { ...whole, data_base64: Buffer.from('{"x":"\\u0000"}').toString('base64') }, '/data_base64', 'nul'],
  ['an attribute in capitals', { ...whole, partitionKey: 'x' }, '/partitionKey', 'invalid_name'],
  ['an attribute that is an object', { ...whole, partition: {} }, '/partition', 'invalid_union'],
  ['a field of ours, misspelt value', { ...whole, critical: 'perhaps' }, '/critical', 'invalid_type'],
  ['a schedule that has passed', { ...whole, scheduledfor: '2020-01-01T00:00:00Z' }, '/scheduled_for', 'schedule_invalid'],
  ['nobody to tell', { ...whole, to: '' }, '/to', 'required'],
  ['no object', [], '', 'invalid_type'],
];
test.each(refused)('422: %s', async (_name, event, pointer, code) => {
  const { status, body } = await post({ 'content-type': STRUCTURED }, event);
  expect({ status, errors: body.errors }, JSON.stringify(body)).toEqual({
    status: 422,
    errors: [{ pointer, code, detail: expect.any(String) }],
  });
});

test('415: other formats, other data in binary mode, and CloudEvents on other paths', async () => {
  const binary = { 'ce-specversion': '1.0', 'ce-id': 'x', 'ce-source': '/x', 'ce-type': 't', 'ce-to': 'ada' };
  for (const [headers, path] of [
    [{ 'content-type': 'application/cloudevents+avro' }, '/v1/events'],
    [{ ...binary, 'content-type': 'text/plain' }, '/v1/events'],
    [{ 'content-type': 'application/problem+json' }, '/v1/events'],
    [{ 'content-type': STRUCTURED }, '/v1/notifications'],
    [{ 'content-type': BATCH }, '/v1/events/batch'],
  ] as const)
    expect((await post(headers, '{}', path)).status, JSON.stringify(headers)).toBe(415);
});
