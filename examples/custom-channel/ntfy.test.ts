/** The contract, with a real far end, and the whole way: from a request to the server to the message at ntfy. */
import { join } from 'node:path';
import { providerChecks } from '@carillon/server/conformance';
import { expect, test } from 'vitest';
import { loadConfig } from '../../packages/server/src/config.ts';
import { makeEgress } from '../../packages/server/src/lib/egress.ts';
import { httpSubject } from '../../packages/server/test/conformance/http-provider.ts';
import { startReceiver } from '../../packages/server/test/harness/receiver.ts';
import { startServer } from '../../packages/server/test/harness/server.ts';
import { createChannel } from './ntfy.ts';

const content = { title: 'Disk', message: 'full', priority: 4, tags: [] };

for (const { name, run } of providerChecks(
  httpSubject({
    name: 'ntfy.http',
    provider: async ({ request }, base) => {
      const { providers } = await createChannel({ url: base }, { request, productName: 'Carillon', log: () => undefined });
      return providers[0]!;
    },
    address: () => 'planted-secret-topic',
    content,
    body: () => '{"id":"a"}',
    accepts: [200],
    refuses: [
      [400, 'transient', 'provider_error'],
      [401, 'transient', 'unauthorized'],
      [413, 'permanent', 'content_rejected'],
      [429, 'transient', 'rate_limited'],
      [500, 'transient', 'provider_error'],
    ],
    secrets: ['planted-secret-topic'],
  }),
))
  test(name, run);

test('options without a URL are refused', () => {
  const { request } = makeEgress({ allowLoopback: true, allowRanges: [], totalTimeoutMs: 1, connectTimeoutMs: 1, maxResponseBytes: 1 });
  expect(() => createChannel({}, { request, productName: '', log: () => undefined })).toThrow('options.url');
});

test('named in the settings, it delivers', async () => {
  const ntfy = await startReceiver((response) => response.end('{"id":"a"}'));
  const env = { CARILLON_CONFIG: join(import.meta.dirname, 'carillon.yaml'), NTFY_URL: `http://127.0.0.1:${ntfy.port}/` };
  const server = await startServer({ channels: loadConfig(env).config.channels });
  const preferences = { channels: { ntfy: { enabled: true, topic: 'adas-alerts' } } };
  await server.api('PUT', '/v1/users/ada', {});
  await server.db.query("update carillon.users set preferences = $1 where id = 'ada'", [JSON.stringify(preferences)]);
  await server.api('POST', '/v1/notifications', { to: ['ada'], subject: 'Disk', body: 'full', severity: 'urgent', channels: ['ntfy'] });
  await expect.poll(() => ntfy.requests.length).toBe(1);
  expect(JSON.parse(ntfy.requests[0]!.body)).toEqual({ topic: 'adas-alerts', title: 'Disk', message: 'full', priority: 5, tags: [] });
  await server.stop();
  await ntfy.close();
});
