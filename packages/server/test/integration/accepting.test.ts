import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseId } from '../../src/lib/id.ts';
import { activityServer, type ActivityServer } from '../harness/activity.ts';

let server: ActivityServer;
beforeAll(async () => {
  server = await activityServer();
});
afterAll(() => server.close());

/** What the tests look at in a batch's results. */
interface Row {
  readonly id: string;
  readonly duplicate: boolean;
  readonly error?: { readonly code: string; readonly errors: readonly { readonly pointer: string }[] };
}

const inOneHour = () => new Date(Date.now() + 3_600_000).toISOString();

describe('accepting', () => {
  test('one event, and where to read about it', async () => {
    const { status, headers, json } = await server.call('POST', '/v1/events', {
      body: { type: 'execution.failed', to: ['ada'], data: { execution_id: '7f3' }, tags: ['exec:7f3'], correlation_id: 'c-1' },
      headers: { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' },
    });
    expect({ status, json }).toEqual({ status: 202, json: { id: expect.stringMatching(/^evt_/), duplicate: false } });
    expect(headers.location).toBe(`/v1/events/${json.id}`);
    expect((await server.call('GET', headers.location as string)).json).toMatchObject({
      id: json.id,
      type: 'execution.failed',
      status: 'accepted',
      severity: 'medium',
      tags: ['exec:7f3'],
      data: { execution_id: '7f3' },
      correlation_id: 'c-1',
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      counts: { recipients: 0, delivered: 0 },
      notifications: [],
      skipped: [],
      deliveries: [],
    });
  });

  test('a notification is an event of the type inline', async () => {
    const { json, headers } = await server.call('POST', '/v1/notifications', {
      body: { to: [{ user_id: 'bob', email: 'bob@example.org' }], subject: 's', scheduled_for: inOneHour(), max_retries: 2 },
    });
    expect((await server.call('GET', headers.location as string)).json).toMatchObject({ id: json.id, type: 'inline', status: 'scheduled' });
    const [row] = await server.db.query('select request from carillon.events where id = $1', [parseId('evt', json.id)]);
    expect(row).toEqual({ request: { to: [{ user_id: 'bob', email: 'bob@example.org' }], subject: 's', data: {}, max_retries: 2 } });
  });

  test('nobody to tell has a code of its own', async () => {
    expect((await server.call('POST', '/v1/events', { body: { type: 'x', to: [] } })).json).toMatchObject({
      status: 422,
      code: 'recipients_missing',
      errors: [{ pointer: '/to' }],
    });
  });

  test('a batch answers each item in its place, with pointers into the item', async () => {
    const good = { type: 'x', to: ['ada'] };
    const { status, json } = await server.call('POST', '/v1/events/batch', {
      body: [good, { ...good, surprise: 1 }, { type: 'x' }, 7, { ...good, scheduled_for: '2020-01-01T00:00:00Z' }, good],
    });
    expect(status).toBe(202);
    const seen = json.results.map(({ id, duplicate, error }: Row) =>
      error ? [error.code, error.errors[0]?.pointer] : [id.slice(0, 4), duplicate],
    );
    expect(seen).toEqual([
      ['evt_', false],
      ['invalid', '/surprise'],
      ['recipients_missing', '/to'],
      ['invalid', ''],
      ['schedule_invalid', '/scheduled_for'],
      ['evt_', false],
    ]);
    for (const { error } of json.results.slice(1, 5))
      expect(error).toMatchObject({ status: 422, title: expect.any(String), instance: expect.any(String), retryable: false });
  });

  test('a batch of nothing but bad items is still answered 202, one of 1,000 is written, one of 1,001 is not', async () => {
    const bad = await server.call('POST', '/v1/notifications/batch', { body: [{}, { to: ['ada'] }] });
    expect([bad.status, bad.json.results.length]).toEqual([202, 2]);
    const many = await server.call('POST', '/v1/notifications/batch', {
      body: Array.from({ length: 1_000 }, (_, n) => ({ to: [`m${n}`], body: 'b' })),
    });
    expect(new Set(many.json.results.map(({ id }: Row) => id)).size).toBe(1_000);
    expect((await server.call('POST', '/v1/notifications/batch', { body: Array(1_001).fill({}) })).status).toBe(422);
    expect((await server.call('POST', '/v1/notifications/batch', { body: {} })).status).toBe(422);
  });

  test('a repeat of a request is told the first answer, even when its schedule has passed meanwhile', async () => {
    const scheduled = { body: { type: 'x', to: ['ada'], scheduled_for: inOneHour() }, headers: { 'idempotency-key': 'single' } };
    const batch = {
      body: [{ type: 'x', to: ['ada'], scheduled_for: scheduled.body.scheduled_for }, { type: 'x' }],
      headers: { 'idempotency-key': 'batch' },
    };
    const [first, firstBatch] = [await server.call('POST', '/v1/events', scheduled), await server.call('POST', '/v1/events/batch', batch)];
    for (const ms of [0, 2 * 3_600_000]) {
      server.moveTime(ms);
      const again = await server.call('POST', '/v1/events', scheduled);
      expect([again.status, again.json, again.headers['idempotent-replayed'], again.headers.location]).toEqual([
        202,
        { id: first.json.id, duplicate: true },
        'true',
        first.headers.location,
      ]);
      const againBatch = await server.call('POST', '/v1/events/batch', batch);
      expect([againBatch.status, againBatch.headers['idempotent-replayed']]).toEqual([202, 'true']);
      expect(againBatch.json.results).toEqual([{ id: firstBatch.json.results[0].id, duplicate: true }, firstBatch.json.results[1]]);
    }
    server.moveTime(-2 * 3_600_000);
    expect((await server.call('POST', '/v1/events', { ...scheduled, body: { type: 'y', to: ['ada'] } })).json.code).toBe(
      'idempotency_mismatch',
    );
  });

  test("an item's own key makes it one event, in whichever way it comes", async () => {
    const item = { type: 'x', to: ['ada'], idempotency_key: 'item-1' };
    const first = await server.call('POST', '/v1/events', { body: item });
    const { json } = await server.call('POST', '/v1/events/batch', { body: [item, { ...item, type: 'y' }, { type: 'x', to: ['ada'] }] });
    expect(json.results).toMatchObject([
      { id: first.json.id, duplicate: true },
      { error: { code: 'idempotency_mismatch' } },
      { duplicate: false },
    ]);
    expect((await server.call('POST', '/v1/events', { body: { ...item, type: 'y' } })).json.code).toBe('idempotency_mismatch');
  });
});
