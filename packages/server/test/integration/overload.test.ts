/** More requests than a stalled database can serve: the surplus is told at once to come again, and what is not stalled goes on. */
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startServer, type Reply, type TestServer } from '../harness/server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

const MANY = 400;

test('while a table is locked, a line forms that has an end', async () => {
  const other = new pg.Client(server.db.connection);
  await other.connect();
  await other.query('begin; lock table carillon.deliveries in access exclusive mode');
  const answered: Reply[] = [];
  const list = () => server.api('GET', '/v1/deliveries');
  const asked = Array.from({ length: MANY }, async () => {
    answered.push(await list());
  });
  // The surplus does not wait for the lock.
  const early = () => answered.filter(({ body }) => String(body.detail).includes('waiting'));
  await expect.poll(() => early().length).toBeGreaterThan(0);
  const scheduled_for = new Date(Date.now() + 3_600_000).toISOString();
  expect((await server.api('POST', '/v1/events', { type: 'meanwhile', to: ['ada'], scheduled_for })).status).toBe(202);
  expect((await server.api('GET', '/health/live')).status).toBe(200);

  await Promise.all(asked);
  await other.query('rollback');
  await other.end();
  for (const { status, headers, body } of answered) {
    expect({ status, code: body.code }).toEqual({ status: 503, code: 'unavailable' });
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
  }
  expect((await list()).status).toBe(200);
});
