/** Digests as event types say them: their fields, their templates, and what is over the limit of a throttle. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { deliveriesOf, eventually } from '../harness/core.ts';
import { freshDatabase, type TestDatabase } from '../harness/database.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const HOUR = 3_600_000;

let db: TestDatabase;
let server: TestServer;
let receiver: Receiver;
let names = 0;
let user: string;

beforeAll(async () => {
  receiver = await startReceiver((response) => response.end());
  db = await freshDatabase();
  server = await startServer({}, { on: db });
});
afterAll(async () => {
  await server.stop();
  await db.drop();
  await receiver.close();
});
beforeEach(async () => {
  user = `user-${++names}`;
  await server.api('PUT', `/v1/users/${user}`, { webhook_url: `http://127.0.0.1:${receiver.port}/${user}` });
});

async function push(type: string, text: string): Promise<void> {
  const { status, body } = await server.api('PUT', `/v1/event-types/${type}`, { files: { 'event.yaml': text } });
  expect(status, JSON.stringify(body)).toBeLessThan(300);
}
async function report(type: string, times: number, more: Record<string, unknown> = {}): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 1; n <= times; n++) {
    const { body } = await server.api('POST', '/v1/events', { type, to: [user], data: { n }, ...more });
    ids.push(body.id);
    await eventually(async () => (await deliveriesOf(db, body.id)).length).toBeGreaterThan(0);
  }
  return ids;
}
const shown = async (ids: readonly string[]) =>
  (await Promise.all(ids.map((id) => deliveriesOf(db, id)))).map((rows) =>
    rows.map(({ channel, state, reason }) => `${channel} ${state} ${reason}`).join(', '),
  );
const messages = () => receiver.requests.filter(({ path }) => path === `/${user}`).map(({ body }) => JSON.parse(body));

test('the first ones go out at once, the others together after the window; nothing is lost, whatever its weight', async () => {
  await push('flood', 'channels: { in_app: {}, webhook: {} }\nthrottle: { limit: 2, window: 1h, per: [user, event_type], over: digest }\n');
  const ids = [
    ...(await report('flood', 4)),
    ...(await report('flood', 1, { severity: 'urgent' })),
    ...(await report('flood', 1, { critical: true })),
  ];
  await eventually(() => shown(ids)).toEqual([
    ...Array.from({ length: 2 }, () => 'in_app delivered sent, webhook delivered sent'),
    ...Array.from({ length: 4 }, () => 'in_app delivered sent, webhook held digest_waiting'),
  ]);
  await server.moveClock(HOUR + 1_000);
  await eventually(async () => (await shown(ids)).filter((line) => line.endsWith('webhook delivered digested')).length).toBe(4);
  const [, , message, ...more] = messages();
  expect(more).toEqual([]);
  expect(message.data.data.items.map(({ data: { n } }: { data: { n: number } }) => n)).toEqual([3, 4, 1, 1]);
});

test("the type's own digest says how long and what goes together, and is for what is over the limit alone", async () => {
  await push(
    'floods',
    'channels: { webhook: {} }\nthrottle: { limit: 1, window: 1h, per: [user], over: digest }\ndigest: { key: "{{ data.n }}", every: 5m }\n',
  );
  const ids = await report('floods', 3);
  await eventually(() => shown(ids)).toEqual(['webhook delivered sent', 'webhook held digest_waiting', 'webhook held digest_waiting']);
  await server.moveClock(6 * 60_000);
  await eventually(() =>
    messages()
      .map(({ data }) => data.data.digest?.key ?? 'alone')
      .toSorted(),
  ).toEqual(['alone', 'key 2', 'key 3']);
});

test('what reaches nothing but the inbox is skipped', async () => {
  await push('quiet', 'channels: { in_app: {} }\nthrottle: { limit: 1, window: 1h, per: [user], over: digest }\n');
  expect(await shown(await report('quiet', 2))).toEqual(['in_app delivered sent', '* skipped throttled']);
});

test("a person's own digest is for everything, within the limit too", async () => {
  await push('own', 'channels: { webhook: {} }\nthrottle: { limit: 1, window: 1h, per: [user], over: digest }\n');
  await server.api('PUT', `/v1/users/${user}/preferences`, { channels: { webhook: { digest: '15m' } } });
  const ids = await report('own', 2);
  expect(await shown(ids)).toEqual(['webhook held digest_waiting', 'webhook held digest_waiting']);
  await server.moveClock(16 * 60_000);
  await eventually(() => messages().length).toBe(1);
  expect(messages()[0].data.data.items).toHaveLength(2);
});

describe('what event.yaml says of digests', () => {
  const refusalsOf = async (digest: string) => {
    const { body } = await server.api('PUT', '/v1/event-types/wrong', { files: { 'event.yaml': `digest: ${digest}\n` } });
    return body.errors?.map(({ detail }: { detail: string }) => detail);
  };

  test.each([
    ['{ every: 30s }', 'event.yaml:1: digest.every must be a time from 1m to 7d'],
    ['{ every: 8d }', 'event.yaml:1: digest.every must be a time from 1m to 7d'],
    ['{ cron: "0 9 * *" }', 'event.yaml:1: digest.cron must be five fields, such as 0 9 * * 1-5'],
    ['{ cron: "0 0 9 * * *" }', 'event.yaml:1: digest.cron must be five fields, such as 0 9 * * 1-5'],
    ['{ cron: "0 9 1 * *" }', 'event.yaml:1: digest.cron must come round at least every 7 days'],
    ['{ key: x }', 'event.yaml:1: digest must have either every or cron'],
    ['{ every: 1h, cron: "0 9 * * *" }', 'event.yaml:1: digest must have either every or cron'],
    ['{ evry: 1h, every: 1h }', 'event.yaml:1: digest.evry is not known; the nearest known name is every'],
  ])('%s is refused', async (digest, detail) => {
    expect(await refusalsOf(digest)).toEqual([detail]);
  });

  test.each(['{ every: 1m }', '{ every: 7d }', '{ cron: "0 9 * * 1" }', '{ cron: "0 9 * * 1-5", key: "{{ data.x }}", only_if: unread }'])(
    '%s is taken',
    async (digest) => {
      expect(await refusalsOf(digest)).toBeUndefined();
    },
  );

  test('its templates know of items, and of nothing that only one event has', async () => {
    const { body } = await server.api('PUT', '/v1/event-types/odd', {
      files: {
        'event.yaml': 'digest: { every: 1h }\n',
        'digest.liquid': '{% for item in items %}{{ item.subject }} {{ item.at | date: "%H:%M" }}{% endfor %} {{ data.x }} {{ event.id }}',
        'digest_subject.liquid': '{{ count }} for {{ user.id }}',
        'samples/one.json': '{}',
      },
    });
    expect(body.warnings).toEqual([
      'digest.liquid: data is not known of a digest; there are items, count, event, user, subject, body, product_name, base_url',
      'digest.liquid: event.id is not known; there are type, title, category',
      'samples/one.json: digest.liquid: data.x has no value',
    ]);
  });

  test('a template that fails is passed over, with a warning', async () => {
    await server.api('PUT', '/v1/event-types/broken', {
      files: {
        'event.yaml': 'channels: { webhook: {} }\ndigest: { every: 1m }\n',
        'digest.liquid': '{% for a in items %}{{ a.subject | replace: "", a.data.text | replace: "", a.data.text }}{% endfor %}',
      },
    });
    const ids = await report('broken', 2, { data: { text: 'x'.repeat(3_000) } });
    await server.moveClock(61_000);
    await eventually(() => shown(ids)).toEqual(['webhook delivered digested', 'webhook delivered digested']);
    expect(messages()[0].data).toMatchObject({ subject: '2 notifications', body: expect.stringContaining('• Notification: broken') });
    const { timeline } = (await server.api('GET', `/v1/notifications/${messages()[0].data.notification_id}`)).body;
    expect(timeline).toContainEqual(expect.objectContaining({ what: 'warning', detail: expect.stringMatching(/^digest.liquid: /) }));
  });

  test('an event type cannot be called digest, nor an event', async () => {
    expect((await server.api('PUT', '/v1/event-types/digest', { files: { 'event.yaml': '' } })).status).toBe(422);
    expect((await server.api('POST', '/v1/events', { type: 'digest', to: [user] })).status).toBe(422);
  });
});
