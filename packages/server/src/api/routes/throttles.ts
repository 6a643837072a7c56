/** What of a user's throttles is used up, for operators. */
import { z } from 'zod';
import type { Database } from '../../store/database.ts';
import { clearThrottles, readThrottles } from '../../store/throttles.ts';
import { getUser } from '../../store/users.ts';
import { found } from '../found.ts';
import { once, sendAnswer, type OnceDeps } from '../idempotency.ts';
import type { App } from '../request.ts';
import { callerIdParams } from '../schema.ts';

export interface ThrottleDeps {
  readonly database: Pick<Database, 'asTenant'>;
  readonly once: OnceDeps;
}

const READ = { auth: { kind: 'key', scope: 'users:read' } } as const;
const WRITE = { auth: { kind: 'key', scope: 'users:write' } } as const;

const Counts = z.object({
  data: z.array(
    z.object({
      bucket: z.string().describe('`severity high`, `type disk.full`, or `key …`'),
      count: z.int().describe('Notifications that count at the moment.'),
      max_per_window: z.int(),
      window_seconds: z.int(),
    }),
  ),
});

export function throttleRoutes(app: App, { database, once: onceDeps }: ThrottleDeps): void {
  app.get(
    '/v1/users/:id/throttle',
    { config: READ, schema: { params: callerIdParams, response: { 200: Counts } } },
    async ({ caller: { tenantId }, params: { id } }) =>
      database.asTenant(tenantId, async (tx) => {
        found(await getUser(tx, { tenantId, id }));
        const counts = await readThrottles(tx, { tenantId, id });
        return {
          data: counts.map(({ bucket, count, max, windowSeconds }) => ({
            bucket,
            count,
            max_per_window: max,
            window_seconds: windowSeconds,
          })),
        };
      }),
  );
  const Cleared = z.object({ cleared: z.int().describe('Buckets that begin anew.') });
  app.post(
    '/v1/users/:id/clear-throttle',
    { config: WRITE, schema: { params: callerIdParams, response: { 200: Cleared } } },
    async (request, reply) => {
      const key = { tenantId: request.caller.tenantId, id: request.params.id };
      const answer = await once(onceDeps, request, async (tx) => {
        found(await getUser(tx, key));
        return { status: 200, body: { cleared: await clearThrottles(tx, key) } };
      });
      return sendAnswer(reply, answer);
    },
  );
}
