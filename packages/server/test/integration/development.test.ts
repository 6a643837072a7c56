import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { activityServer, told, type ActivityServer } from '../harness/activity.ts';

let server: ActivityServer;
beforeAll(async () => {
  server = await activityServer();
});
afterAll(() => server.close());

describe('development pages', () => {
  test('the outbox shows what left, and nothing in it runs', async () => {
    const hostile = '<script>alert(1)</script>';
    const { notificationId } = await told(server.db, 'ada', [
      { channel: 'email', state: 'pending', address: 'outbox@example.org', failures: 1 },
    ]);
    await server.db.query('update carillon.notifications set subject = $2 where id = $1', [notificationId, hostile]);
    const { status, headers, text } = await server.call('GET', '/dev/outbox');
    expect([status, headers['content-type']]).toEqual([200, 'text/html; charset=utf-8']);
    expect(headers['content-security-policy']).toContain("default-src 'none'");
    expect(text).toContain('outbox@example.org');
    expect(text).toContain('try later');
    expect(text).toContain('<iframe sandbox');
    expect(text).not.toContain(hostile);
  });

  test('the receiver keeps what it gets as it came, and answers as asked', async () => {
    await server.call('DELETE', '/dev/receiver');
    const post = (url: string, payload: string) =>
      server.app.inject({ method: 'POST', url, headers: { 'content-type': 'application/json', 'webhook-id': 'dlv_1' }, payload });
    expect((await post('/dev/receiver', '{ "spaced" : 1 }')).statusCode).toBe(200);
    expect((await post('/dev/receiver?status=503', 'no json')).statusCode).toBe(503);
    expect((await server.call('GET', '/dev/receiver')).json.data).toMatchObject([
      { status: 503, body: 'no json' },
      { status: 200, body: '{ "spaced" : 1 }', headers: { 'webhook-id': 'dlv_1' } },
    ]);
    expect((await server.call('GET', '/dev/receiver', { headers: { accept: 'text/html' } })).text).toContain('no json');
  });
});
