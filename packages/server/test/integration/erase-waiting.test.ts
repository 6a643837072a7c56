import { afterAll, beforeAll, expect, test } from 'vitest';
import { startServer, type TestServer } from '../harness/server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

test('an event that still waits does not bring an erased user back', async () => {
  const scheduled = new Date(Date.now() + 3_600_000).toISOString();
  for (const id of ['leaver', 'stayer']) await server.api('PUT', `/v1/users/${id}`, {});
  const to = ['leaver', { user_id: 'leaver', email: 'leaver@example.org' }, 'stayer'];
  const { body: accepted } = await server.api('POST', '/v1/notifications', { to, subject: 'later', scheduled_for: scheduled });

  expect((await server.api('DELETE', '/v1/users/leaver')).status).toBe(204);
  await server.moveClock(3_601_000);
  await expect.poll(async () => (await server.api('GET', `/v1/events/${accepted.id}`)).body.status).toBe('routed');

  const { body: event } = await server.api('GET', `/v1/events/${accepted.id}`);
  expect(event.notifications.map((one: { user_id: string }) => one.user_id)).toEqual(['stayer']);
  expect((await server.api('GET', '/v1/users/leaver')).status).toBe(404);
});
