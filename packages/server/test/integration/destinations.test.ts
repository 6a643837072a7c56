/** An account's own addresses: which events reach them, what becomes of them, and who may edit them. */
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { parseId } from '../../src/lib/id.ts';
import { deliveriesOf, deliveryOf, entriesOf, eventually } from '../harness/core.ts';
import { startReceiver, type Answer, type Received, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

let server: TestServer;
let receiver: Receiver;
let answer: Answer;
let names = 0;
/** An event type, and a path at the receiver, of each test's own. */
let type: string;

const ok: Answer = (response) => response.end('thanks');
const failing =
  (status: number): Answer =>
  (response) =>
    response.writeHead(status).end('not now');

beforeAll(async () => {
  receiver = await startReceiver((response, request) => answer(response, request));
  server = await startServer();
});
afterAll(async () => {
  await server.stop();
  await receiver.close();
});
beforeEach(() => {
  type = `event-${++names}`;
  answer = ok;
});

const hook = () => `http://127.0.0.1:${receiver.port}/${type}`;
const requests = () => receiver.requests.filter(({ path }) => path === `/${type}`);
const path = (id: string, verb = '') => `/v1/destinations/${id}${verb && `/${verb}`}`;

async function create(more: Record<string, unknown> = {}): Promise<string> {
  const body = { name: 'Ops', channel: 'webhook', config: { webhook_url: hook() }, events: { [type]: true }, ...more };
  const reply = await server.api('POST', '/v1/destinations', body);
  expect(reply.body).toMatchObject({ id: expect.stringMatching(/^dst_/) });
  return reply.body.id;
}

async function report(more: Record<string, unknown> = {}): Promise<string> {
  const reply = await server.api('POST', '/v1/events', { type, to: ['ada'], ...more });
  expect(reply.status).toBe(202);
  return reply.body.id;
}

/** The clock of these tests runs ahead: a verifier would find the message too new. */
function signedBy(secret: string, { headers, body }: Received): boolean {
  const at = new Date(Number(headers['webhook-timestamp']) * 1_000);
  const signature = new Webhook(secret.slice('whsec_'.length)).sign(String(headers['webhook-id']), at, body);
  return String(headers['webhook-signature']).split(' ').includes(signature);
}

/** Of its destinations. */
async function rows(eventId: string) {
  return (await deliveriesOf(server.db, eventId)).filter(({ user }) => user === null);
}

async function settled(eventId: string, state: string, attempts: number) {
  await eventually(async () => (await rows(eventId)).map((row) => [row.state, row.attempts])).toEqual([[state, attempts]]);
  return (await rows(eventId))[0]!;
}

describe('an event reaches a destination', () => {
  test('that has it switched on, signed with its own secret, and stands at the top of the event', async () => {
    const id = await create({ config: { webhook_url: hook(), headers: { 'X-Team': 'ops' } } });
    const event = await report();
    await settled(event, 'delivered', 1);
    const [request] = requests();
    const { secret } = (await server.api('GET', path(id, 'secret'))).body;
    expect(signedBy(secret, request!)).toBe(true);
    expect(JSON.parse(request!.body)).toMatchObject({
      type,
      data: { event_id: event, notification_id: null, user_id: null, subject: `Notification: ${type}`, body: `Event: ${type}` },
    });
    expect(request!.headers['x-team']).toBe('ops');
    const { body } = await server.api('GET', `/v1/events/${event}`);
    expect(body.counts).toMatchObject({ recipients: 1, delivered: 2 });
    expect(body.deliveries).toMatchObject([
      { destination_id: id, user_id: null, notification_id: null, channel: 'webhook', status: 'delivered', reason: 'sent' },
    ]);
    expect(body.deliveries[0].address).toBe(`http://127.0.0.1:${receiver.port}/…`);
    const listed = await server.api('GET', `/v1/deliveries?destination_id=${id}`);
    expect(listed.body.data.map((one: { event_id: string }) => one.event_id)).toEqual([event]);
  });

  test('also when nobody is told', async () => {
    await create();
    await settled(await report({ to: [{ role: 'a-role-of-nobody' }] }), 'delivered', 1);
    expect(requests()).toHaveLength(1);
  });

  test('once, however many chunks the audience has', async () => {
    await create();
    await server.db.query(
      "insert into carillon.users (tenant_id, id, roles) select 'default', 'crowd-' || n, '{crowd}' from generate_series(1, 2100) n",
    );
    const event = await report({ to: [{ role: 'crowd' }] });
    await eventually(async () => (await server.api('GET', `/v1/events/${event}`)).body.counts.recipients).toBe(2_100);
    await settled(event, 'delivered', 1);
    expect(requests()).toHaveLength(1);
  });

  test.each<[string, Record<string, boolean | null>, boolean]>([
    ['nothing is listed', {}, false],
    ['only * is on', { '*': true }, true],
    ['it is off and * is on', { own: false, '*': true }, false],
    ['it is null and * is on', { own: null, '*': true }, true],
    ['it is null', { own: null }, false],
    ['it is on and * is off', { own: true, '*': false }, true],
  ])('or not: %s', async (_, switches, reached) => {
    const events = Object.fromEntries(Object.entries(switches).map(([name, on]) => [name === 'own' ? type : name, on]));
    const id = await create({ events });
    const event = await report();
    const mine = (await server.api('GET', `/v1/events/${event}`)).body.deliveries.filter(
      (one: { destination_id: string }) => one.destination_id === id,
    );
    expect(mine).toHaveLength(reached ? 1 : 0);
    expect((await server.api('DELETE', path(id))).status).toBe(204); // `*` would hear of the other tests
  });

  test('what is said to named people is not meant by *', async () => {
    const id = await create({ events: { '*': true } });
    const { body } = await server.api('POST', '/v1/notifications', { to: ['ada'], subject: 'Your new password' });
    expect(await rows(body.id)).toEqual([]);
    await server.api('DELETE', path(id));
  });

  test.each([
    ['severity_filtered', { severities: ['urgent'] }],
    ['tag_excluded', { exclude_tags: ['noise'], include_tags: ['noise'] }],
    ['tag_not_included', { include_tags: ['other'] }],
    ['destination_disabled', { active: false }],
  ])('and one that it does not reach says why: %s', async (reason, settings) => {
    const id = await create(settings);
    const event = await report({ severity: 'high', tags: ['noise'] });
    expect(await rows(event)).toMatchObject([{ state: 'skipped', reason, attempts: 0 }]);
    const { body } = await server.api('GET', `/v1/events/${event}`);
    expect(body.skipped).toMatchObject([{ destination_id: id, user_id: null, reason }]);
    expect(requests()).toEqual([]);
  });

  test('of a mailing list each mailbox is a delivery of its own', async () => {
    await create({ channel: 'email', config: { email_addresses: ['a@example.org', 'b@example.org'] } });
    const event = await report();
    await eventually(async () => (await rows(event)).map(({ address, state }) => [address, state])).toEqual([
      ['a@example.org', 'delivered'],
      ['b@example.org', 'delivered'],
    ]);
    const { body } = await server.api('GET', `/v1/events/${event}`);
    expect(body.deliveries.map((one: { address: string }) => one.address).sort()).toEqual(['a…@example.org', 'b…@example.org']);
  });

  test('of a mailing list a suppressed mailbox gets nothing', async () => {
    expect((await server.api('POST', '/v1/suppressions', { channel: 'email', address: 'struck@example.org' })).status).toBeLessThan(300);
    await create({ channel: 'email', config: { email_addresses: ['a@example.org', 'struck@example.org'] } });
    const event = await report();
    await eventually(async () => (await rows(event)).map(({ state, reason }) => [state, reason]).sort()).toEqual([
      ['delivered', 'sent'],
      ['skipped', 'suppressed'],
    ]);
  });
});

describe('a destination that fails', () => {
  test('is tried again after 30 s, 2 min and 10 min, and more retries repeat the last', async () => {
    answer = failing(503);
    await create({ retry: { max_retries: 4 } });
    const event = await report();
    for (const [index, waitMs] of [30_000, 2 * MINUTE, 10 * MINUTE, 10 * MINUTE].entries()) {
      const { dueAt } = await settled(event, 'pending', index + 1);
      const [{ now }] = (await server.db.query<{ now: Date }>('select carillon.now() as now')) as [{ now: Date }];
      expect(dueAt!.getTime() - now.getTime()).toBeGreaterThan(waitMs * 0.8 - 10_000);
      expect(dueAt!.getTime() - now.getTime()).toBeLessThanOrEqual(waitMs * 1.2);
      await server.moveClock(waitMs * 1.2);
    }
    const { id } = await settled(event, 'failed', 5);
    expect((await server.api('GET', `/v1/events/${event}`)).body.deliveries[0]).toMatchObject({
      reason: 'retries_exhausted',
      error_message: 'HTTP 503',
    });
    expect((await entriesOf(server.db, id)).map(({ status }) => status)).toEqual([503, 503, 503, 503, 503]);
  });

  test('has the configuration of now on its next attempt', async () => {
    answer = failing(503);
    const id = await create();
    const event = await report();
    await settled(event, 'pending', 1);
    answer = ok;
    expect((await server.api('PATCH', path(id), { config: { webhook_url: `${hook()}/moved` } })).status).toBe(200);
    await server.moveClock(MINUTE);
    await settled(event, 'delivered', 2);
    expect(requests()).toHaveLength(1);
    expect(receiver.requests.at(-1)!.path).toBe(`/${type}/moved`);
  });

  test.each([
    ['deleted', (id: string) => server.api('DELETE', path(id))],
    ['switched off', (id: string) => server.api('PATCH', path(id), { active: false })],
  ])('and is %s ends what waits for it, which says so', async (_, end) => {
    answer = failing(503);
    const id = await create();
    const event = await report();
    await settled(event, 'pending', 1);
    expect((await end(id)).status).toBeLessThan(300);
    await settled(event, 'failed', 1);
    expect((await server.api('GET', `/v1/events/${event}`)).body.deliveries[0]).toMatchObject({
      reason: 'destination_disabled',
      error_message: 'Config disabled or deleted',
      next_attempt_at: null,
    });
    await server.moveClock(HOUR);
    expect(requests()).toHaveLength(1);
  });

  test.each([
    ['event_not_enabled', { events: {} }],
    ['severity_filtered', { severities: ['urgent'] }],
  ])('is not tried again when it no longer wants the event: %s', async (reason, change) => {
    answer = failing(503);
    const id = await create();
    const event = await report();
    await settled(event, 'pending', 1);
    await server.api('PATCH', path(id), change);
    await server.moveClock(MINUTE);
    await settled(event, 'failed', 1);
    expect((await rows(event))[0]).toMatchObject({ reason });
  });

  test('a mailbox that was taken off the list gets no more', async () => {
    const config = { email_addresses: ['a@example.org', 'b@example.org'] };
    const id = await create({ channel: 'email', config, events: {} });
    await server.db.query("update carillon.destinations set disabled_at = carillon.now() where name = 'Ops' and channel = 'email'");
    await server.api('PATCH', path(id), { events: { [type]: true } });
    const event = await report();
    expect((await rows(event)).map(({ state }) => state)).toEqual(['held', 'held']);
    await server.api('PATCH', path(id), { config: { email_addresses: ['b@example.org'] } });
    expect((await server.api('POST', path(id, 'recover'))).body).toEqual({ released: 2, retried: 0 });
    await eventually(async () => (await rows(event)).map(({ address, state, reason }) => [address, state, reason])).toEqual([
      ['a@example.org', 'skipped', 'address_removed'],
      ['b@example.org', 'delivered', 'sent'],
    ]);
  });
});

describe('Carillon disables a destination', () => {
  const state = async (id: string) => (await server.api('GET', path(id))).body;

  test('at once after 410, holds what waits and what comes, and lets it go when recovered', async () => {
    answer = failing(503);
    const id = await create();
    const waiting = await report();
    await settled(waiting, 'pending', 1);
    answer = failing(410);
    const gone = await report();
    await settled(gone, 'failed', 1);
    await settled(waiting, 'held', 1);
    expect(await state(id)).toMatchObject({ active: true, disabled_reason: 'gone', disabled_at: expect.any(String) });
    expect((await entriesOf(server.db, (await deliveryOf(server.db, waiting, 'webhook')).id)).map(({ kind }) => kind)).toEqual([
      'attempt',
      'held',
    ]);
    expect(server.logs.filter(({ event }) => event === 'destination.disabled').map(({ fields }) => fields.destinationId)).toContain(
      parseId('dst', id),
    );
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toMatch(/carillon_destinations_disabled_total\{reason="gone"\} \d/);

    const later = await report();
    expect(await rows(later)).toMatchObject([{ state: 'held', reason: 'destination_disabled', attempts: 0 }]);
    answer = ok;
    const since = new Date((await server.api('GET', `/v1/events/${gone}`)).body.accepted_at);
    expect((await server.api('POST', path(id, 'recover'), { since: since.toISOString() })).body).toEqual({ released: 1, retried: 1 });
    await settled(later, 'delivered', 1);
    await settled(gone, 'delivered', 2);
    expect(await state(id)).toMatchObject({ disabled_at: null, disabled_reason: null, failing_since: null, last_error: null });
    expect((await rows(waiting))[0]).toMatchObject({ state: 'held' }); // of an event before `since`
    expect((await server.api('POST', path(id, 'recover'))).body).toEqual({ released: 1, retried: 0 });
    await settled(waiting, 'delivered', 2);
  });

  test('after five days and ten attempts of nothing but failure, not before', async () => {
    answer = failing(503);
    const id = await create({ retry: { max_retries: 0 } });
    for (let attempt = 1; attempt <= 10; attempt++) await settled(await report(), 'failed', 1);
    await eventually(async () => (await state(id)).last_error).toBe('HTTP 503');
    expect((await state(id)).disabled_at).toBeNull();
    await server.moveClock(5 * DAY);
    await settled(await report(), 'failed', 1);
    await eventually(async () => (await state(id)).disabled_reason).toBe('failing');
  });

  test('and a success begins the count anew', async () => {
    answer = failing(503);
    const id = await create({ retry: { max_retries: 0 } });
    for (let attempt = 1; attempt <= 10; attempt++) await settled(await report(), 'failed', 1);
    await server.moveClock(5 * DAY);
    answer = ok;
    await settled(await report(), 'delivered', 1);
    await eventually(async () => (await state(id)).failing_since).toBeNull();
    answer = failing(503);
    await settled(await report(), 'failed', 1);
    await eventually(async () => (await state(id)).last_error).toBe('HTTP 503');
    expect((await state(id)).disabled_at).toBeNull();
  });

  test('and what is held expires with its event', async () => {
    answer = failing(410);
    const id = await create();
    await settled(await report(), 'failed', 1);
    await eventually(async () => (await state(id)).disabled_reason).toBe('gone');
    const [{ now }] = (await server.db.query<{ now: Date }>('select carillon.now() as now')) as [{ now: Date }];
    const event = await report({ expires_at: new Date(now.getTime() + HOUR).toISOString() });
    await settled(event, 'held', 0);
    await server.moveClock(2 * HOUR);
    await settled(event, 'expired', 0);
  });
});

describe('send test', () => {
  const count = async () => (await server.db.query('select from carillon.deliveries')).length;

  test('tells what the far end answered, whatever the switches say, and writes nothing', async () => {
    const id = await create({ active: false, events: {}, severities: ['urgent'] });
    const before = await count();
    const { status, body } = await server.api('POST', path(id, 'test'));
    expect({ status, body }).toMatchObject({
      status: 200,
      body: { outcome: 'delivered', status: 200, response: 'thanks', reason: 'sent', message: 'Test notification sent successfully' },
    });
    expect(JSON.parse(requests()[0]!.body).data).toMatchObject({ subject: 'Test notification', action_url: null });
    expect(await count()).toBe(before);
  });

  test('is one attempt when it fails', async () => {
    answer = failing(503);
    const { body } = await server.api('POST', path(await create(), 'test'));
    expect(body).toMatchObject({
      outcome: 'failed',
      status: 503,
      response: 'not now',
      reason: 'provider_error',
      message: 'Delivery failed: HTTP 503',
    });
    await server.moveClock(HOUR);
    expect(requests()).toHaveLength(1);
  });
});

test('while a secret rotates both sign, the new one first', async () => {
  const id = await create();
  const before = (await server.api('GET', path(id, 'secret'))).body.secret as string;
  const headers = { 'idempotency-key': `rotate-${id}` };
  const rotated = await server.api('POST', path(id, 'rotate-secret'), { overlap: '1h' }, headers);
  expect(rotated.body).toMatchObject({ id, secret: expect.stringMatching(/^whsec_/), secret_rotates_until: expect.any(String) });
  expect(rotated.body.secret).not.toBe(before);
  expect((await server.api('POST', path(id, 'rotate-secret'), { overlap: '1h' }, headers)).body.secret).toBeUndefined();
  expect((await server.api('GET', path(id, 'secret'))).body.secret).toBe(rotated.body.secret);

  await settled(await report(), 'delivered', 1);
  const verifies = (secret: string) => signedBy(secret, requests().at(-1)!);
  expect([verifies(rotated.body.secret), verifies(before)]).toEqual([true, true]);
  expect(requests().at(-1)!.headers['webhook-signature']).toMatch(/^v1,\S+ v1,\S+$/);
  await server.moveClock(2 * HOUR);
  await server.api('PATCH', path(id), { name: 'Ops again' });
  await settled(await report(), 'delivered', 1);
  expect(requests().at(-1)!.headers['webhook-signature']).toMatch(/^v1,\S+$/);
});
