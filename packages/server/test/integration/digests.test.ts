/** Several notifications in one message, for real: through accepting, routing, closing, the gate, a webhook and a mail, with the clock moved. */
import PostalMime from 'postal-mime';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { makeTestCatalog, type TestCatalog } from '../harness/catalog.ts';
import { deliveriesOf, deliveryOf, eventually, nowOf } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startMailServer, type MailServer } from '../harness/mail-server.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

let db: TestDatabase;
let server: TestServer;
let receiver: Receiver;
let mail: MailServer;
let catalog: TestCatalog;
let names = 0;
let user: string;
let status = 200;

beforeAll(async () => {
  catalog = makeTestCatalog({
    'build.failed/event.yaml':
      'title: Build failed\nchannels: { in_app: {}, webhook: {} }\ndigest: { key: "{{ data.project }}", every: 1h }\n',
    'build.failed/subject.liquid': 'Build {{ data.id }} failed',
    'build.failed/in_app.liquid': 'On {{ data.project }}.',
    'review.asked/event.yaml': 'channels: { email: {} }\ndigest: { cron: "0 9 * * 1-5", only_if: unread }\n',
    'review.asked/subject.liquid': 'Review {{ data.title }}',
    'review.asked/digest_subject.liquid': '{{ count }} reviews for {{ user.id }}',
    'review.asked/digest.html.liquid': '<ul>{% for item in items %}<li>{{ item.subject }}</li>{% endfor %}</ul>',
  });
  receiver = await startReceiver((response) => response.writeHead(status).end());
  mail = await startMailServer();
  db = await freshDatabase();
  server = await startServer(
    {
      'catalog.dir': catalog.directory,
      'email.smtp.host': '127.0.0.1',
      'email.smtp.port': mail.port,
      'email.smtp.security': 'none',
      'email.smtp.from': 'carillon@example.org',
      'webhook.retry': [MINUTE, HOUR],
    },
    { on: db },
  );
});
afterAll(async () => {
  await server.stop();
  await db.drop();
  await Promise.all([receiver.close(), mail.close()]);
  catalog.remove();
});
beforeEach(async () => {
  status = 200;
  user = `user-${++names}`;
  const profile = { webhook_url: `http://127.0.0.1:${receiver.port}/${user}`, email: `${user}@example.org`, time_zone: 'Europe/Berlin' };
  expect((await server.api('PUT', `/v1/users/${user}`, profile)).status).toBeLessThan(300);
});

async function prefer(preferences: Record<string, unknown>): Promise<void> {
  expect((await server.api('PUT', `/v1/users/${user}/preferences`, preferences)).body).toMatchObject(preferences);
}
async function send(subject: string, more: Record<string, unknown> = {}): Promise<string> {
  const { status: answered, body } = await server.api('POST', '/v1/notifications', {
    ...{ to: [user], subject, body: `about ${subject}`, channels: ['webhook'], action_url: `https://example.org/${subject}` },
    ...more,
  });
  expect(answered).toBe(202);
  return body.id;
}
async function report(type: string, data: Record<string, unknown>, more: Record<string, unknown> = {}): Promise<string> {
  const { status: answered, body } = await server.api('POST', '/v1/events', { type, to: [user], data, ...more });
  expect(answered, JSON.stringify(body)).toBe(202);
  return body.id;
}
const messages = () => receiver.requests.filter(({ path }) => path === `/${user}`).map(({ body }) => JSON.parse(body));
const mails = () => mail.mails.filter(({ to }) => to.includes(`${user}@example.org`));
const stateOf = async (id: string, channel = 'webhook') => {
  const { state, reason } = await deliveryOf(db, id, channel);
  return `${state} ${reason}`;
};
const statesOf = (ids: readonly string[], channel = 'webhook') => Promise.all(ids.map((id) => stateOf(id, channel)));
const subjectsOf = (message: { data: { data: { items: { subject: string }[] } } }) => message.data.data.items.map(({ subject }) => subject);
async function moveTo(time: Date): Promise<void> {
  await server.moveClock(time.getTime() - (await nowOf(db)).getTime());
}

describe('a digest that a user wants', () => {
  test('waits for its time, and is one message with the items in order; they end with it', async () => {
    await prefer({ channels: { webhook: { digest: '15m' } } });
    const ids = [await send('one'), await send('two', { severity: 'high' }), await send('three')];
    expect(await statesOf(ids)).toEqual(ids.map(() => 'held digest_waiting'));
    const before = (await server.api('GET', `/v1/events/${ids[0]!}`)).body;
    expect(before.counts).toMatchObject({ recipients: 1, held: 1, delivered: 0 });
    const [waiting] = before.notifications[0].deliveries;
    expect(waiting).toMatchObject({ digest: { id: expect.stringMatching(/^dgs_/), key: 'channel', closed_at: null, delivery_id: null } });
    expect(waiting.next_attempt_at).toBe(waiting.digest.closes_at);

    await server.moveClock(14 * MINUTE);
    expect(messages()).toEqual([]);
    await server.moveClock(2 * MINUTE);
    await eventually(() => statesOf(ids)).toEqual(ids.map(() => 'delivered digested'));
    const [message, ...more] = messages();
    expect(more).toEqual([]);
    expect(message).toMatchObject({ type: 'digest', data: { subject: '3 notifications', severity: 'high', user_id: user } });
    expect(subjectsOf(message)).toEqual(['one', 'two', 'three']);
    expect(message.data.body).toContain('• one\nabout one\n');
    expect(message.data.body).toContain('https://example.org/three');

    const after = (await server.api('GET', `/v1/notifications/${before.notifications[0].id}`)).body;
    expect(after.timeline.map(({ what, reason }: { what: string; reason?: string }) => [what, reason])).toEqual([
      ['accepted', undefined],
      ['routed', undefined],
      ['held', 'digest_waiting'],
      ['released', 'digest_sending'],
      ['delivered', 'digested'],
    ]);
    expect(after.timeline[2]).toMatchObject({ digest_id: waiting.digest.id, next_attempt_at: waiting.digest.closes_at });
    const { digest } = after.deliveries[0];
    expect(digest).toMatchObject({ status: 'delivered', reason: 'sent', notification_id: message.data.notification_id });
    const sent = (await server.api('GET', `/v1/deliveries/${digest.delivery_id}`)).body;
    expect(sent).toMatchObject({ status: 'delivered', attempt_count: 1, digest: null });
    expect((await server.api('GET', `/v1/events/${sent.event_id}`)).body).toMatchObject({
      type: 'digest',
      counts: { recipients: 1, delivered: 1 },
    });
  });

  test('begins anew with the next item', async () => {
    await prefer({ channels: { webhook: { digest: '15m' } } });
    await send('first');
    await server.moveClock(16 * MINUTE);
    await eventually(() => messages().length).toBe(1);
    await send('second');
    await server.moveClock(16 * MINUTE);
    await eventually(() => messages().map(subjectsOf)).toEqual([['first'], ['second']]);
    expect(messages()[1].data.subject).toBe('second');
  });

  test('is one for what its own preference is about, and none for what is urgent or critical', async () => {
    await prefer({
      channels: { webhook: { digest: '1h' } },
      event_types: { fast: { webhook: { digest: '2m' } }, now: { webhook: { digest: 'off' } } },
    });
    const at = (type: string, more = {}) => report(type, {}, { channels: ['webhook'], ...more });
    const urgent = [await at('any', { severity: 'urgent' }), await at('any', { critical: true }), await at('now')];
    await eventually(() => statesOf(urgent)).toEqual(urgent.map(() => 'delivered sent'));
    const [fast, any, other] = [await at('fast'), await at('any'), await at('other')];
    await server.moveClock(3 * MINUTE);
    await eventually(() => stateOf(fast)).toBe('delivered digested');
    expect(await statesOf([any, other])).toEqual(['held digest_waiting', 'held digest_waiting']);
    await server.moveClock(HOUR);
    await eventually(() => statesOf([any, other])).toEqual(['delivered digested', 'delivered digested']);
    expect(messages()).toHaveLength(5);
  });

  test.each(['15', '30s', '8d', '0m', '-5m', 'weekly'])('of %s is refused', async (digest) => {
    const { status: answered, body } = await server.api('PUT', `/v1/users/${user}/preferences`, { channels: { webhook: { digest } } });
    expect(answered).toBe(422);
    expect(body.errors).toMatchObject([{ pointer: '/channels/webhook/digest', code: 'invalid_interval' }]);
  });

  test('is none for the inbox', async () => {
    const { status: answered } = await server.api('PUT', `/v1/users/${user}/preferences`, { channels: { in_app: { digest: '15m' } } });
    expect(answered).toBe(422);
  });

  test('is explained', async () => {
    await prefer({ channels: { webhook: { digest: '15m' } } });
    const { body } = await server.api('GET', `/v1/users/${user}/preferences/effective`);
    const webhook = body.channels.find(({ channel }: { channel: string }) => channel === 'webhook');
    expect(webhook).toMatchObject({ result: 'hold', reason: 'digest_waiting', said_by: 'channel', held_until: expect.any(String) });
  });
});

describe('a digest that an event type wants', () => {
  test('is one for each user, channel and key; the inbox shows each at once', async () => {
    const other = `${user}-other`;
    await server.api('PUT', `/v1/users/${other}`, { webhook_url: `http://127.0.0.1:${receiver.port}/${other}` });
    const fail = (id: number, project: string) => report('build.failed', { id, project }, { to: [user, other] });
    const ids = [await fail(1, 'red'), await fail(2, 'blue'), await fail(3, 'red')];
    for (const id of ids)
      expect((await deliveriesOf(db, id)).map(({ channel, state }) => `${channel} ${state}`)).toEqual([
        'in_app delivered',
        'webhook held',
        'in_app delivered',
        'webhook held',
      ]);
    await server.moveClock(HOUR + MINUTE);
    await eventually(() => messages().map(subjectsOf).toSorted()).toEqual([['Build 1 failed', 'Build 3 failed'], ['Build 2 failed']]);
    await eventually(() => receiver.requests.filter(({ path }) => path === `/${other}`).length).toBe(2);
    expect(messages().find((one) => subjectsOf(one).length === 2).data.data.digest).toMatchObject({ key: 'key red', count: 2 });
  });

  test('waits as long as the user says, and goes together as the type says', async () => {
    await prefer({ channels: { webhook: { digest: '5m' } } });
    await report('build.failed', { id: 1, project: 'red' });
    await report('build.failed', { id: 2, project: 'blue' });
    await server.moveClock(6 * MINUTE);
    await eventually(() => messages().map(subjectsOf).toSorted()).toEqual([['Build 1 failed'], ['Build 2 failed']]);
  });

  test("comes at its hour in the user's zone, by the type's own templates, without what has been read", async () => {
    const monday = new Date(
      Math.ceil(((await nowOf(db)).getTime() - Date.UTC(1970, 0, 5)) / (7 * 24 * HOUR)) * 7 * 24 * HOUR + Date.UTC(1970, 0, 5),
    );
    await moveTo(monday);
    const more = { channels: ['in_app', 'email'] };
    const ids = [
      await report('review.asked', { title: '<b>' }, more),
      await report('review.asked', { title: 'B' }, more),
      await report('review.asked', { title: 'C' }, more),
    ];
    const { data } = (await server.api('GET', `/v1/users/${user}/notifications?limit=5`)).body;
    const token = (await server.api('POST', `/v1/users/${user}/token`, {})).body.token;
    await server.api(
      'POST',
      `/v1/inbox/${data.find(({ subject }: { subject: string }) => subject === 'Review B').id}/read`,
      {},
      { authorization: `Bearer ${token}` },
    );
    const { digest } = (await server.api('GET', `/v1/deliveries?event_id=${ids[0]!}&channel=email`)).body.data[0];
    const hour = new Intl.DateTimeFormat('en', {
      timeZone: 'Europe/Berlin',
      weekday: 'short',
      hour: 'numeric',
      minute: 'numeric',
      hour12: false,
    });
    expect(hour.format(new Date(digest.closes_at))).toBe('Mon 09:00');
    await moveTo(new Date(Date.parse(digest.closes_at) + 1_000));
    await eventually(() => statesOf(ids, 'email')).toEqual(['delivered digested', 'skipped read_elsewhere', 'delivered digested']);
    expect(mails()).toHaveLength(1);
    const read = await PostalMime.parse(mails()[0]!.raw);
    expect(read.subject).toBe(`2 reviews for ${user}`);
    expect(read.html).toContain('<li>Review &lt;b&gt;</li><li>Review C</li>');
    expect(read.text).toContain('Review C');
  });
});

describe('when it closes', () => {
  beforeEach(() => prefer({ channels: { webhook: { digest: '15m' } } }));

  test('what was cancelled or has expired is left out; without an item there is no message', async () => {
    const soon = new Date((await nowOf(db)).getTime() + 5 * MINUTE).toISOString();
    const [kept, cancelled, expired] = [await send('kept'), await send('cancelled'), await send('expired', { expires_at: soon })];
    expect((await server.api('POST', `/v1/events/${cancelled}/cancel`)).body).toMatchObject({ outcome: 'cancelled', cancelled: 1 });
    await server.moveClock(16 * MINUTE);
    await eventually(() => statesOf([kept, cancelled, expired])).toEqual(['delivered digested', 'cancelled cancelled', 'expired expired']);
    expect(messages().map(subjectsOf)).toEqual([['kept']]);

    const alone = await send('alone');
    await server.api('POST', `/v1/events/${alone}/cancel`);
    await server.moveClock(16 * MINUTE);
    const [row] = await db.query(
      'select closed_at, settled_at, delivery_id from carillon.digests where user_id = $1 order by opened_at desc limit 1',
      [user],
    );
    expect(row).toMatchObject({ closed_at: expect.any(Date), settled_at: expect.any(Date), delivery_id: null });
    expect(messages()).toHaveLength(1);
  });

  test('what the user does not want any more is left out', async () => {
    const [kept, unwanted] = [await send('kept'), await report('noise', {}, { channels: ['webhook'] })];
    await prefer({ channels: { webhook: { digest: '15m' } }, event_types: { noise: { webhook: { enabled: false } } } });
    await server.moveClock(16 * MINUTE);
    await eventually(() => statesOf([kept, unwanted])).toEqual(['delivered digested', 'skipped opted_out']);

    const off = await send('off');
    await prefer({ channels: { webhook: { enabled: false } } });
    await server.moveClock(16 * MINUTE);
    await eventually(() => stateOf(off)).toBe('skipped opted_out');
    expect(messages()).toHaveLength(1);
  });

  test('in quiet hours, it waits for their end, and takes more until then', async () => {
    const now = (await nowOf(db)).getTime();
    const end = new Date(Math.ceil(now / HOUR) * HOUR + 4 * HOUR);
    const clock = (time: Date) => time.toISOString().slice(11, 16);
    const quiet = { enabled: true, start: clock(new Date(end.getTime() - 6 * HOUR)), end: clock(end), time_zone: 'UTC' };
    await prefer({ channels: { webhook: { digest: '15m' } }, quiet_hours: quiet });
    const first = await send('first');
    expect(await stateOf(first)).toBe('held digest_waiting');
    await server.moveClock(16 * MINUTE);
    const { body } = await server.api('GET', `/v1/deliveries?event_id=${first}`);
    expect(body.data[0]).toMatchObject({ status: 'held', next_attempt_at: end.toISOString() });
    const second = await send('second');
    await server.moveClock(16 * MINUTE);
    expect(await statesOf([first, second])).toEqual(['held digest_waiting', 'held digest_waiting']);
    await moveTo(new Date(end.getTime() + 1_000));
    await eventually(() => messages().map(subjectsOf)).toEqual([['first', 'second']]);

    const third = await send('third');
    await moveTo(new Date(end.getTime() + 19 * HOUR));
    await server.running.catchUp();
    expect(await stateOf(third)).toBe('held digest_waiting');
    await prefer({ channels: { webhook: { digest: '15m' } } });
    await server.running.catchUp();
    await eventually(() => stateOf(third)).toBe('delivered digested');
  });

  test('and its message fails for now, it is tried again under the same id; a cancellation of an item comes too late', async () => {
    status = 503;
    const ids = [await send('one'), await send('two')];
    await server.moveClock(16 * MINUTE);
    await eventually(() => messages().length).toBe(1);
    expect(await statesOf(ids)).toEqual(['sending digest_sending', 'sending digest_sending']);
    expect((await server.api('POST', `/v1/events/${ids[0]!}/cancel`)).body).toMatchObject({
      outcome: 'too_late',
      sent_at: expect.any(String),
    });
    status = 200;
    await server.moveClock(2 * MINUTE);
    await eventually(() => statesOf(ids)).toEqual(['delivered digested', 'delivered digested']);
    const sent = receiver.requests.filter(({ path }) => path === `/${user}`);
    expect(new Set(sent.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(new Set(sent.map(({ body }) => body)).size).toBe(1);
  });

  test('and its message fails for good, its items have failed with it, and go along when it is tried again', async () => {
    status = 503;
    const ids = [await send('one'), await send('two')];
    await server.moveClock(16 * MINUTE);
    for (const [attempts, wait] of [
      [1, 2 * MINUTE],
      [2, 2 * HOUR],
      [3, 0],
    ] as const) {
      await eventually(() => messages().length).toBe(attempts);
      await eventually(async () => (await db.query('select from carillon.deliveries where status = 2 and due_at is not null')).length).toBe(
        0,
      );
      if (wait > 0) await server.moveClock(wait);
    }
    await eventually(() => statesOf(ids)).toEqual(['failed retries_exhausted', 'failed retries_exhausted']);
    const { digest } = (await server.api('GET', `/v1/deliveries?event_id=${ids[0]!}`)).body.data[0];
    expect(digest).toMatchObject({ status: 'failed', reason: 'retries_exhausted' });
    status = 200;
    expect((await server.api('POST', `/v1/deliveries/${digest.delivery_id}/retry`)).status).toBe(202);
    await eventually(() => statesOf(ids)).toEqual(['delivered digested', 'delivered digested']);
  });

  test('and an item expires before its message has left, a new one is made of the others', async () => {
    status = 503;
    const soon = new Date((await nowOf(db)).getTime() + 18 * MINUTE).toISOString();
    const ids = [await send('brief', { expires_at: soon }), await send('lasting')];
    await server.moveClock(16 * MINUTE);
    await eventually(() => messages().length).toBe(1);
    await eventually(() => statesOf(ids)).toEqual(['sending digest_sending', 'sending digest_sending']);
    status = 200;
    await server.moveClock(3 * MINUTE);
    await eventually(async () => {
      await server.running.catchUp();
      return statesOf(ids);
    }).toEqual(['expired expired', 'delivered digested']);
    expect(messages().map(subjectsOf)).toEqual([['brief', 'lasting'], ['lasting']]);
  });

  test('the message itself can be cancelled, and its items with it', async () => {
    status = 503;
    const id = await send('one');
    await server.moveClock(16 * MINUTE);
    await eventually(() => messages().length).toBe(1);
    await eventually(async () => (await db.query('select from carillon.deliveries where status = 2 and due_at is not null')).length).toBe(
      0,
    );
    const { digest } = (await server.api('GET', `/v1/deliveries?event_id=${id}`)).body.data[0];
    await server.api('POST', `/v1/notifications/${digest.notification_id}/cancel`);
    await server.running.catchUp();
    await eventually(() => stateOf(id)).toBe('cancelled cancelled');
  });

  test('whoever was erased meanwhile is told nothing, and nothing is kept of where it was to go', async () => {
    const id = await send('one');
    expect((await server.api('DELETE', `/v1/users/${user}`)).status).toBe(204);
    await server.moveClock(16 * MINUTE);
    expect(await stateOf(id)).toBe('cancelled cancelled');
    expect(messages()).toEqual([]);
    expect(await db.query('select address, key, settled_at is null as waits from carillon.digests where user_id = $1', [user])).toEqual([
      { address: '', key: '', waits: false },
    ]);
  });
});

test('200 items fill a digest: it closes at once, and the next one begins', async () => {
  await prefer({ channels: { webhook: { digest: '7d' } } });
  const item = (n: number) => ({ to: [user], subject: `item ${n}`, channels: ['webhook'] });
  for (const from of [0, 150])
    await server.api(
      'POST',
      '/v1/notifications/batch',
      Array.from({ length: 150 }, (_, n) => item(from + n)),
    );
  await eventually(async () => {
    await server.running.catchUp();
    return messages().length;
  }).toBe(1);
  expect(subjectsOf(messages()[0]).length).toBeGreaterThanOrEqual(200);
});
