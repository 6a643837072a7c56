/** Lists are read in both directions, and every filter of theirs holds. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { publicId } from '../../src/lib/id.ts';
import { activityServer, told, type ActivityServer, type Told } from '../harness/activity.ts';
import { eventually } from '../harness/core.ts';
import { startServer } from '../harness/server.ts';

let server: ActivityServer;
let rows: Told[];
const START = Date.now() - 60_000;

beforeAll(async () => {
  server = await activityServer();
  const tell = (at: number, user: string, fixture: Parameters<typeof told>[2], tags: string[]) =>
    told(server.db, user, fixture, { at: new Date(START + at * 1_000), tags });
  rows = [
    await tell(0, 'ada', [{ channel: 'in_app', state: 'delivered', reason: 'sent' }], ['exec:1', 'system']),
    await tell(1, 'bob', [{ channel: 'email', state: 'skipped', reason: 'opted_out' }], ['exec:2']),
    await tell(
      2,
      'ada',
      [
        { channel: 'email', state: 'failed', reason: 'retries_exhausted', address: 'a@example.org' },
        { channel: 'webhook', state: 'skipped', reason: 'opted_out' },
      ],
      ['billing'],
    ),
    await tell(3, 'eve', [{ channel: 'webhook', state: 'delivered', reason: 'sent', address: 'https://example.org' }], ['exec:3']),
  ];
  await told(server.db, 'ada', [{ channel: 'email', state: 'skipped', reason: 'opted_out' }], { tenantId: 'other', at: new Date(START) });
}, 60_000);
afterAll(() => server.close());

/** Which of the four events are listed, in the order of the answer. */
async function events(query: string): Promise<number[]> {
  const { status, json } = await server.call('GET', `/v1/events?${query}`);
  expect(status, query).toBe(200);
  return json.data.map(({ id }: { id: string }) => rows.findIndex(({ eventId }) => publicId('evt', eventId) === id));
}

/** The same of their deliveries: which event, and on which channel. */
async function deliveries(query: string): Promise<string[]> {
  const { status, json } = await server.call('GET', `/v1/deliveries?${query}`);
  expect(status, query).toBe(200);
  return json.data.map((one: { event_id: string; channel: string }) => {
    const event = rows.findIndex(({ eventId }) => publicId('evt', eventId) === one.event_id);
    return `${event} ${one.channel}`;
  });
}

test.each([
  ['', [3, 2, 1, 0]],
  ['user=ada', [2, 0]],
  ['user=nobody', []],
  ['channel=email', [2, 1]],
  ['reason=opted_out', [2, 1]],
  ['channel=email&reason=opted_out', [1]], // both of the same delivery
  ['user=ada&reason=opted_out', [2]],
  ['user=ada&channel=in_app', [0]],
  ['tag=billing', [2]],
  ['tag_prefix=exec:', [3, 1, 0]],
  ['type=inline&tag_prefix=exec:&user=ada', [0]],
  ['type=order.paid', []],
  ['status=routed&channel=webhook', [3, 2]],
  [`created_from=${new Date(START + 1_000).toISOString()}&created_to=${new Date(START + 3_000).toISOString()}&channel=email`, [2, 1]],
])('events?%s', async (query, found) => {
  expect(await events(query)).toEqual(found);
});

test.each([
  ['tag=billing', ['2 email', '2 webhook']],
  ['tag_prefix=exec:', ['0 in_app', '1 email', '3 webhook']],
  ['tag_prefix=exec:&channel=email', ['1 email']],
  ['type=inline&status=failed', ['2 email']],
  ['type=order.paid', []],
  ['user=ada&tag=system', ['0 in_app']],
  ['reason=opted_out&tag=billing', ['2 webhook']],
])('deliveries?%s', async (query, found) => {
  expect((await deliveries(query)).sort()).toEqual(found);
});

test.each(['', '&user=ada', '&channel=email'])('a filtered list of events is read forth and back, each once (%s)', async (filter) => {
  const all = await events(filter.slice(1));
  const forth: number[] = [];
  let cursor = '';
  let last = '';
  for (let pages = 0; pages < 10; pages++) {
    const { json } = await server.call('GET', `/v1/events?limit=1${filter}${cursor && `&after=${cursor}`}`);
    forth.push(...(await events(`limit=1${filter}${cursor && `&after=${cursor}`}`)));
    if (!json.has_more) break;
    last = cursor;
    cursor = json.next_cursor;
  }
  expect(forth).toEqual(all);
  if (all.length < 3) return;
  // Before the last page's cursor stands what was on the pages before it.
  expect(await events(`limit=1${filter}&before=${cursor}`)).toEqual([all.at(-3)]);
  expect(last).not.toBe('');
});

test('an inbox is read forth and back by cursor, newest first on every page', async () => {
  const whole = await startServer();
  try {
    for (let at = 0; at < 5; at++) await whole.api('POST', '/v1/notifications', { to: ['ada'], subject: `n${at}` });
    const { token } = (await whole.api('POST', '/v1/users/ada/token', {})).body;
    const inbox = async (query: string) =>
      (await whole.api('GET', `/v1/inbox?${query}`, undefined, { authorization: `Bearer ${token}` })).body;
    const subjects = ({ data }: { data: { subject: string }[] }) => data.map(({ subject }) => subject);
    await eventually(async () => (await inbox('')).total).toBe(5);

    const first = await inbox('limit=2');
    const second = await inbox(`limit=2&after=${first.next_cursor}`);
    const third = await inbox(`limit=2&after=${second.next_cursor}`);
    expect([first, second, third].map(subjects)).toEqual([['n4', 'n3'], ['n2', 'n1'], ['n0']]);
    expect(third).toMatchObject({ has_more: false, next_cursor: null, total: 5, unread_count: 5 });

    const back = await inbox(`limit=2&before=${second.next_cursor}`);
    expect(back).toMatchObject({ has_more: true, total: 5 });
    expect(subjects(back)).toEqual(['n3', 'n2']);
    const start = await inbox(`limit=2&before=${back.next_cursor}`);
    expect([subjects(start), start.has_more, start.next_cursor]).toEqual([['n4'], false, null]);
    expect(subjects(await inbox(`limit=2&status=read&before=${second.next_cursor}`))).toEqual([]);
    expect((await inbox('before=nonsense')).errors).toMatchObject([{ pointer: '/before', code: 'invalid_cursor' }]);
    expect((await inbox(`before=${first.next_cursor}&after=${first.next_cursor}`)).status).toBe(422);
  } finally {
    await whole.stop();
  }
}, 60_000);
