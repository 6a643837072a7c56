/** The examples of the reference as calls: real ids for those that stand in them. */
import { EXAMPLES } from '../../src/api/examples/all.ts';
import * as ids from '../../src/api/examples/example.ts';
import { eventually } from './core.ts';
import type { TestServer } from './server.ts';

/** What the examples name by id, in a state in which every verb has something to do. `goneUrl` answers 410. */
export async function somethingOfEachKind(
  { api }: Pick<TestServer, 'api'>,
  goneUrl: string,
): Promise<{ real: Record<string, string>; token: string }> {
  await api('POST', '/v1/users/batch', [{ id: 'ada', roles: ['owner'] }, { id: 'bob' }]);
  const files = {
    'event.yaml': 'title: Order shipped\nrecipients: [{ path: $.user_id }]\n',
    'subject.liquid': 'Order {{ data.order_id }} is on its way',
  };
  await api('PUT', '/v1/event-types/order.shipped', { files });
  await api('PUT', '/v1/topics/project:7/subscriptions/ada');
  await api('POST', '/v1/suppressions', { channel: 'email', address: 'carol@example.org' });
  const told = await api('POST', '/v1/notifications', { to: ['ada'], subject: 'Hello' });
  const [item] = (await api('GET', `/v1/events/${told.body.id}`)).body.notifications;
  const later = await api('POST', '/v1/events', {
    type: 'later',
    to: ['ada'],
    scheduled_for: new Date(Date.now() + 3_600_000).toISOString(),
  });
  const to = [{ user_id: 'ada', webhook_url: goneUrl }];
  const refused = await api('POST', '/v1/notifications', { to, subject: 'Hello', channels: ['webhook'] });
  const failed = async () => (await api('GET', `/v1/deliveries?event_id=${refused.body.id}`)).body.data[0];
  await eventually(async () => (await failed())?.status).toBe('failed');
  const byMail = { to: [{ user_id: 'ada', email: 'ada@example.org' }], subject: 'Hello', channels: ['email'] };
  const mail = (await api('POST', '/v1/notifications', byMail)).body.id as string;
  const [mailed] = (await api('GET', `/v1/deliveries?event_id=${mail}`)).body.data;
  const config = { webhook_url: 'http://127.0.0.1:9' }; // nobody listens: a test of it fails, and that is its answer
  const destination = await api('POST', '/v1/destinations', { name: 'Ops', channel: 'webhook', config });
  const series = { name: 'Stand-up', cron: '0 9 * * *', event: { to: ['ada'], subject: 'Hello' } };
  const recurring = await api('POST', '/v1/recurring-events', series);
  const key = await api('POST', '/v1/api-keys', { name: 'example', scopes: ['events:write'] });
  const token = (await api('POST', '/v1/users/ada/token')).body.token as string;
  return {
    token,
    real: {
      [ids.EVENT]: later.body.id,
      [ids.TOLD]: told.body.id,
      [ids.NOTIFICATION]: item.id,
      [ids.DELIVERY]: (await failed()).id,
      [ids.MAILED]: mailed.id,
      [ids.DESTINATION]: destination.body.id,
      [ids.RECURRING]: recurring.body.id,
      [ids.KEY]: key.body.id,
    },
  };
}

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
  /** Who may: an API key, or a user with a token. */
  readonly byUser: boolean;
}

interface Operation {
  readonly security?: readonly Record<string, unknown>[];
}

/** By method and pattern, for every operation of the document: a new route is among them. The ids are still those of the examples. */
export function callsOf(openApi: unknown): Map<string, Call> {
  const { paths } = openApi as { paths: Record<string, Record<string, Operation>> };
  return new Map(
    Object.entries(paths).flatMap(([template, methods]) =>
      Object.entries(methods).map(([verb, { security = [] }]) => {
        const method = verb.toUpperCase();
        const pattern = template.replace(/\{(\w+)\}/g, ':$1');
        const { path = {}, body } = EXAMPLES[`${method} ${pattern}`] ?? { summary: '' };
        const concrete = pattern.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(path[name] ?? name));
        return [`${method} ${pattern}`, { method, path: concrete, body, byUser: security.some((one) => 'userToken' in one) }] as const;
      }),
    ),
  );
}
