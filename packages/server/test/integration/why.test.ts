import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DELIVERY_STATES, LEGAL_MOVES, deliveryState, type DeliveryState } from '../../src/domain/delivery.ts';
import { derivedId, newId, parseId, publicId, timeOf } from '../../src/lib/id.ts';
import { cancelEvent } from '../../src/store/cancel.ts';
import { within } from '../../src/store/database.ts';
import { insertDeliveries } from '../../src/store/deliveries.ts';
import { recordProgress } from '../../src/store/events.ts';
import { retryDelivery } from '../../src/store/retry.ts';
import { activityServer, ATTEMPTS, OTHER_KEY, told, type ActivityServer, type DeliveryFixture } from '../harness/activity.ts';

let server: ActivityServer;
beforeAll(async () => {
  server = await activityServer();
});
afterAll(() => server.close());

/** What the tests look at in an answer's rows. */
interface Row {
  readonly id: string;
  readonly channel: string;
  readonly what: string;
  readonly status: string;
  readonly data: readonly Row[];
}

const DAY_MS = 86_400_000;
const STATES = Object.keys(DELIVERY_STATES) as DeliveryState[];
const stateOf = async (id: string) =>
  deliveryState((await server.db.query<{ status: number }>('select status from carillon.deliveries where id = $1', [id]))[0]!.status);
const evt = (id: string) => publicId('evt', id);
const ntf = (id: string) => publicId('ntf', id);
const dlv = (id: string) => publicId('dlv', id);

describe('why', () => {
  test('an event shows its recipients, what was skipped, and counts', async () => {
    const { eventId, notificationId } = await told(server.db, 'ada', [
      { channel: 'in_app', state: 'delivered', reason: 'sent' },
      { channel: 'email', state: 'pending', reason: 'retrying', address: 'ada@example.org', failures: 1 },
      { channel: 'webhook', state: 'skipped', reason: 'opted_out', address: 'https://example.org/hook/secret' },
    ]);
    const { json } = await server.call('GET', `/v1/events/${evt(eventId)}`);
    expect(json.counts).toEqual({
      recipients: 1,
      pending: 1,
      held: 0,
      sending: 0,
      delivered: 1,
      failed: 0,
      skipped: 1,
      cancelled: 0,
      expired: 0,
    });
    expect(json.skipped).toEqual([
      {
        user_id: 'ada',
        destination_id: null,
        channel: 'webhook',
        reason: 'opted_out',
        sentence: expect.any(String),
        hint: expect.any(String),
      },
    ]);
    expect(json.notifications).toMatchObject([{ id: ntf(notificationId), user_id: 'ada' }]);
    const email = json.notifications[0].deliveries.find(({ channel }: Row) => channel === 'email');
    expect(email).toMatchObject({
      address: 'a…@example.org',
      status: 'pending',
      reason: 'retrying',
      attempt_count: 1,
      next_attempt_at: expect.any(String),
    });
    expect(JSON.stringify(json)).not.toContain('hook/secret');
  });

  test('a notification shows its whole story', async () => {
    const { notificationId, eventId } = await told(
      server.db,
      'ada',
      [
        { channel: 'in_app', state: 'delivered', reason: 'sent' },
        { channel: 'webhook', state: 'failed', reason: 'retries_exhausted', address: 'https://example.org/hook', failures: 2 },
      ],
      { request: { max_retries: 1 } },
    );
    const { json } = await server.call('GET', `/v1/notifications/${ntf(notificationId)}`);
    expect(json).toMatchObject({
      id: ntf(notificationId),
      event_id: evt(eventId),
      user_id: 'ada',
      status: 'delivered',
      reason: 'sent',
      retry_count: 1,
      max_retries: 1,
      error_message: 'it said 503',
      scheduled_for: null,
    });
    expect(json.timeline.map(({ what }: Row) => what)).toEqual(['accepted', 'routed', 'attempt', 'attempt', 'delivered', 'failed']);
    expect(json.timeline[2]).toMatchObject({
      channel: 'webhook',
      reason: 'provider_error',
      status: 503,
      duration_ms: 12,
      response: 'try later',
      outcome: 'transient',
      next_attempt_at: expect.any(String),
    });
    const failed = json.deliveries.find(({ status }: Row) => status === 'failed');
    expect((await server.call('GET', `/v1/deliveries/${failed.id}`)).json).toMatchObject({
      id: failed.id,
      address: 'https://example.org/…',
      timeline: [{ what: 'attempt' }, { what: 'attempt' }, { what: 'failed' }],
    });
  });

  test('what is not there, malformed, or of another tenant is not found, with one and the same answer', async () => {
    const { eventId, notificationId, deliveryIds } = await told(server.db, 'hidden', [
      { channel: 'email', state: 'failed', address: 'h@example.org' },
    ]);
    const paths: [method: 'GET' | 'POST' | 'DELETE', path: (id: string) => string, prefix: 'evt' | 'ntf' | 'dlv', id: string][] = [
      ['GET', (id) => `/v1/events/${id}`, 'evt', eventId],
      ['POST', (id) => `/v1/events/${id}/cancel`, 'evt', eventId],
      ['GET', (id) => `/v1/notifications?event_id=${id}`, 'evt', eventId],
      ['GET', (id) => `/v1/deliveries?event_id=${id}`, 'evt', eventId],
      ['GET', (id) => `/v1/notifications/${id}`, 'ntf', notificationId],
      ['POST', (id) => `/v1/notifications/${id}/cancel`, 'ntf', notificationId],
      ['DELETE', (id) => `/v1/notifications/${id}`, 'ntf', notificationId],
      ['GET', (id) => `/v1/deliveries/${id}`, 'dlv', deliveryIds[0]!],
      ['POST', (id) => `/v1/deliveries/${id}/retry`, 'dlv', deliveryIds[0]!],
    ];
    for (const [method, path, prefix, id] of paths) {
      const answers = [];
      for (const [name, key] of [
        [publicId(prefix, id), OTHER_KEY],
        [publicId(prefix, newId(new Date())), OTHER_KEY],
        [`${prefix}_nonsense`, OTHER_KEY],
      ] as const) {
        const { status, json } = await server.call(method, path(name), { key });
        answers.push({ ...json, status, instance: '' });
      }
      expect(
        answers.map(({ status }) => status),
        path('x'),
      ).toEqual([404, 404, 404]);
      expect(answers[1]).toEqual(answers[0]);
      expect(answers[2]).toEqual(answers[0]);
    }
    expect(await stateOf(deliveryIds[0]!)).toBe('failed');
    for (const list of ['/v1/events', '/v1/notifications', '/v1/deliveries'])
      expect((await server.call('GET', list, { key: OTHER_KEY })).json.data).toEqual([]);
  });
});

describe('lists', () => {
  const base = Date.now() - 60_000;
  const ids: string[] = [];
  beforeAll(async () => {
    const rows: [user: string, tags: string[], delivery: DeliveryFixture][] = [
      ['lea', ['execution', 'exec:1'], { channel: 'email', state: 'delivered', reason: 'sent', address: 'lea@example.org' }],
      ['lea', ['billing'], { channel: 'email', state: 'failed', reason: 'retries_exhausted', address: 'lea@example.org', failures: 3 }],
      ['lea', ['execution', 'exec:2'], { channel: 'webhook', state: 'skipped', reason: 'opted_out' }],
      ['leo', ['execution'], { channel: 'email', state: 'held', reason: 'queued', address: 'leo@example.org' }],
    ];
    for (const [index, [user, tags, delivery]] of rows.entries())
      ids.push((await told(server.db, user, [delivery], { tags, at: new Date(base + index * 1_000) })).notificationId);
  });
  const listed = async (url: string) => {
    const { json } = await server.call('GET', url);
    return (json.data as { id: string }[]).map(({ id }) => ids.indexOf(parseId('ntf', id) ?? ''));
  };

  const filters: [query: string, want: number[]][] = [
    ['', [2, 1, 0]],
    ['status=delivered', [0]],
    ['status=failed', [1]],
    ['status=skipped&reason=opted_out', [2]],
    ['channel=email', [1, 0]],
    ['tag=billing', [1]],
    ['tag_prefix=exec:', [2, 0]],
    ['type=other', []],
    [`created_from=${new Date(base + 1_000).toISOString()}&created_to=${new Date(base + 2_000).toISOString()}`, [1]],
    ['limit=1', [2]],
  ];
  test.each(filters)("a user's notifications: %s", async (query, want) => {
    expect(await listed(`/v1/users/lea/notifications?${query}`)).toEqual(want);
    expect(await listed(`/v1/notifications?user=lea&${query}`)).toEqual(want);
  });

  test('read forth and back, with a filter too', async () => {
    const page = async (query: string) => (await server.call('GET', `/v1/notifications?user=lea&${query}`)).json;
    const first = await page('limit=2&channel=email');
    expect([first.data.length, first.has_more]).toEqual([2, false]);
    const top = await page('limit=1');
    const next = await page(`limit=1&after=${top.next_cursor}`);
    const last = await page(`limit=1&after=${next.next_cursor}`);
    expect([top, next, last].map(({ data }) => ids.indexOf(parseId('ntf', data[0].id)!))).toEqual([2, 1, 0]);
    expect([last.has_more, last.next_cursor]).toEqual([false, null]);
    const back = await page(`limit=5&before=${next.next_cursor}`);
    expect(back.data.map(({ id }: Row) => ids.indexOf(parseId('ntf', id)!))).toEqual([2]);
    expect((await server.call('GET', '/v1/notifications?after=nonsense')).json.errors[0]).toMatchObject({
      pointer: '/after',
      code: 'invalid_cursor',
    });
  });

  test("an event's recipients, page by page", async () => {
    const { json: event } = await server.call('POST', '/v1/events', { body: { type: 'x', to: ['ada'] } });
    const { eventId, notificationId } = await told(server.db, 'ada', [{ channel: 'in_app', state: 'delivered', reason: 'sent' }]);
    const { json } = await server.call('GET', `/v1/notifications?event_id=${evt(eventId)}`);
    expect(json.data.map(({ id }: Row) => id)).toEqual([ntf(notificationId)]);
    expect((await server.call('GET', `/v1/notifications?event_id=${event.id}`)).json.data).toEqual([]);
  });

  const deliveries: [query: string, want: number][] = [
    ['user=lea', 3],
    ['user=lea&status=failed', 1],
    ['user=lea&reason=opted_out', 1],
    ['user=lea&channel=webhook', 1],
    ['user=nobody', 0],
    ['user=lea&limit=2', 2],
  ];
  test.each(deliveries)('deliveries: %s', async (query, want) => {
    expect((await server.call('GET', `/v1/deliveries?${query}`)).json.data).toHaveLength(want);
  });

  test('deliveries of one event, and events by what they say', async () => {
    const { eventId, deliveryIds } = await told(
      server.db,
      'ada',
      [
        { channel: 'email', state: 'failed', address: 'a@example.org' },
        { channel: 'webhook', state: 'delivered', reason: 'sent' },
      ],
      { tags: ['only-here'] },
    );
    expect((await server.call('GET', `/v1/deliveries?event_id=${evt(eventId)}&status=failed`)).json.data.map(({ id }: Row) => id)).toEqual([
      dlv(deliveryIds[0]!),
    ]);
    for (const query of ['tag=only-here', 'tag_prefix=only', 'tag=only-here&status=routed&type=inline'])
      expect((await server.call('GET', `/v1/events?${query}`)).json.data.map(({ id }: Row) => id)).toEqual([evt(eventId)]);
    expect((await server.call('GET', '/v1/events?tag=only-here&status=expired')).json.data).toEqual([]);
  });
});

describe('cancelling', () => {
  test('a scheduled event is cancelled, and stays so when asked again', async () => {
    const { json } = await server.call('POST', '/v1/events', {
      body: { type: 'x', to: ['ada'], scheduled_for: new Date(Date.now() + 20 * DAY_MS).toISOString() },
    });
    for (let time = 0; time < 2; time++) {
      expect((await server.call('POST', `/v1/events/${json.id}/cancel`)).json).toEqual({
        outcome: 'cancelled',
        cancelled: 0,
        too_late: 0,
        sent_at: null,
      });
    }
    expect((await server.call('GET', `/v1/events/${json.id}`)).json).toMatchObject({
      status: 'cancelled',
      cancelled_at: expect.any(String),
    });
    expect(await server.db.query('select due_at from carillon.events where id = $1', [parseId('evt', json.id)])).toEqual([
      { due_at: null },
    ]);
  });

  test('what has begun is too late, the rest is cancelled, a waiting retry included', async () => {
    const sent = { channel: 'in_app', state: 'delivered', reason: 'sent' } as const;
    const waiting = { channel: 'email', state: 'pending', reason: 'retrying', address: 'a@example.org', failures: 1 } as const;
    const { eventId, notificationId, deliveryIds } = await told(server.db, 'ada', [
      sent,
      waiting,
      { channel: 'webhook', state: 'sending', reason: 'sending', address: 'https://example.org' },
    ]);
    const first = (await server.call('POST', `/v1/notifications/${ntf(notificationId)}/cancel`)).json;
    expect(first).toEqual({ outcome: 'too_late', cancelled: 1, too_late: 2, sent_at: expect.any(String) });
    expect((await server.call('POST', `/v1/events/${evt(eventId)}/cancel`)).json).toEqual(first);
    expect(await Promise.all(deliveryIds.map(stateOf))).toEqual(['delivered', 'cancelled', 'sending']);
    expect(
      await server.db.query('select cancel_requested, due_at is not null as leased from carillon.deliveries where id = $1', [
        deliveryIds[2],
      ]),
    ).toEqual([{ cancel_requested: true, leased: true }]);
    expect((await server.call('GET', `/v1/deliveries/${dlv(deliveryIds[1]!)}`)).json).toMatchObject({
      status: 'cancelled',
      reason: 'cancelled',
      next_attempt_at: null,
      finished_at: expect.any(String),
    });
  });

  test('nothing was sent and all of it is stopped: cancelled', async () => {
    const { eventId } = await told(server.db, 'ada', [
      { channel: 'email', state: 'pending' },
      { channel: 'webhook', state: 'held' },
    ]);
    expect((await server.call('POST', `/v1/events/${evt(eventId)}/cancel`)).json).toEqual({
      outcome: 'cancelled',
      cancelled: 2,
      too_late: 0,
      sent_at: null,
    });
  });

  test('waits for whoever routes the event, then stops what that wrote', async () => {
    const { json } = await server.call('POST', '/v1/events', { body: { type: 'x', to: ['ada'] } });
    const eventId = parseId('evt', json.id)!;
    let answer: ReturnType<ActivityServer['call']> | undefined;
    await server.db.database.transaction(async (tx) => {
      await within(tx).query({
        name: 'test-lock-event',
        text: 'select id from carillon.events where id = $1 for update',
        values: [eventId],
      });
      answer = server.call('POST', `/v1/events/${json.id}/cancel`);
      await expect
        .poll(
          async () =>
            (await server.db.query("select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"))
              .length,
        )
        .toBe(1);
      await insertDeliveries(
        tx,
        [
          {
            id: derivedId(timeOf(eventId), eventId, 'ada', 'email'),
            tenantId: 'acme',
            eventId,
            notificationId: newId(timeOf(eventId)),
            userId: 'ada',
            destinationId: null,
            channel: 'email',
            address: 'a@example.org',
            lane: 'acme email',
            state: 'pending',
            reason: 'queued',
            critical: false,
            expiresAt: null,
            createdAt: new Date(),
            maxAttempts: null,
            dueAt: null,
          },
        ],
        { token: randomUUID(), leaseMs: 20_000 },
      );
      await recordProgress(tx, [{ id: eventId, state: 'routed', cursor: null }]);
    });
    expect((await answer!).json).toEqual({ outcome: 'cancelled', cancelled: 1, too_late: 0, sent_at: null });
    expect((await server.call('GET', `/v1/events/${json.id}`)).json).toMatchObject({
      status: 'routed',
      counts: { cancelled: 1, pending: 0 },
    });
  });

  test('moves only where a delivery may go', async () => {
    for (const state of STATES) {
      const { eventId, deliveryIds } = await told(server.db, 'mover', [{ channel: 'email', state, address: 'm@example.org', failures: 1 }]);
      await server.db.database.asTenant('acme', (tx) => cancelEvent(tx, { tenantId: 'acme', id: eventId }));
      const cancelled = await stateOf(deliveryIds[0]!);
      expect([state, ...LEGAL_MOVES[state]]).toContain(cancelled);
      await server.db.database.asTenant('acme', (tx) => retryDelivery(tx, { tenantId: 'acme', id: deliveryIds[0]! }, ATTEMPTS));
      expect([cancelled, ...LEGAL_MOVES[cancelled]]).toContain(await stateOf(deliveryIds[0]!));
    }
  });
});

describe("a person's retry", () => {
  test('what failed is due at once, with a full policy more', async () => {
    const {
      deliveryIds: [id],
    } = await told(server.db, 'ada', [
      { channel: 'email', state: 'failed', reason: 'retries_exhausted', address: 'a@example.org', failures: 8 },
    ]);
    const before = server.wakes();
    const headers = { 'idempotency-key': 'retry-once' };
    const { status, json } = await server.call('POST', `/v1/deliveries/${dlv(id!)}/retry`, { headers });
    expect({ status, json }).toMatchObject({
      status: 202,
      json: { status: 'pending', reason: 'queued', attempt_count: 8, finished_at: null, next_attempt_at: expect.any(String) },
    });
    expect(
      await server.db.query('select max_attempts, due_at <= carillon.now() as due from carillon.deliveries where id = $1', [id]),
    ).toEqual([{ max_attempts: 16, due: true }]);
    expect(server.wakes()).toBe(before + 1);
    const again = await server.call('POST', `/v1/deliveries/${dlv(id!)}/retry`, { headers });
    expect([again.status, again.json, again.headers['idempotent-replayed']]).toEqual([202, json, 'true']);
    expect(server.wakes()).toBe(before + 1);
    expect((await server.call('POST', `/v1/deliveries/${dlv(id!)}/retry`)).json).toMatchObject({ status: 409, code: 'conflict' });
  });

  test.each(STATES.filter((state) => state !== 'failed'))('%s is a conflict and stays', async (state) => {
    const {
      deliveryIds: [id],
    } = await told(server.db, 'ada', [{ channel: 'email', state, address: 'a@example.org' }]);
    expect((await server.call('POST', `/v1/deliveries/${dlv(id!)}/retry`)).status).toBe(409);
    expect(await stateOf(id!)).toBe(state);
  });
});

describe('deleting a notification', () => {
  test('leaves the inbox with its counts and a number, stops what is pending, and may be repeated', async () => {
    const user = 'deleter';
    const { notificationId, deliveryIds } = await told(server.db, user, [
      { channel: 'in_app', state: 'delivered', reason: 'sent' },
      { channel: 'email', state: 'pending', address: 'd@example.org' },
    ]);
    await told(server.db, user, [{ channel: 'in_app', state: 'delivered', reason: 'sent' }]);
    const before = server.published.length;
    for (let time = 0; time < 2; time++) expect((await server.call('DELETE', `/v1/notifications/${ntf(notificationId)}`)).status).toBe(204);
    expect(server.published.slice(before)).toMatchObject([
      { tenantId: 'acme', userId: user, sequence: 3, unread: 1, total: 1, items: [{ id: notificationId, sequence: 3 }] },
    ]);
    expect(await stateOf(deliveryIds[1]!)).toBe('cancelled');
    const count = async (query: string) => (await server.call('GET', `/v1/users/${user}/notifications${query}`)).json.data.length;
    expect([await count(''), await count('?deleted=true')]).toEqual([1, 2]);
    expect((await server.call('GET', `/v1/notifications/${ntf(notificationId)}`)).json).toMatchObject({ deleted_at: expect.any(String) });
  });

  test('also one that never was in an inbox', async () => {
    const { notificationId } = await told(server.db, 'webhook-only', [
      { channel: 'webhook', state: 'pending', address: 'https://example.org' },
    ]);
    expect((await server.call('DELETE', `/v1/notifications/${ntf(notificationId)}`)).status).toBe(204);
    expect((await server.call('GET', '/v1/users/webhook-only/notifications')).json.data).toEqual([]);
  });
});
