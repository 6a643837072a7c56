/** A tenant sees and changes nothing of another: not through the database's roles, and not through any route. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { newId, publicId } from '../../src/lib/id.ts';
import { startServer, type Reply, type TestServer } from '../harness/server.ts';

const OURS = 'default';
const THEIRS = 'globex';
const USER = 'ada-of-ours';
const PERMISSION_DENIED = '42501';
const SOON = { timeout: 15_000 };

let server: TestServer;
/** With all that a tenant's own key may do. */
let theirKey: string;
let tables: string[] = [];
const ids = { event: '', notification: '', delivery: '', key: '', destination: '', recurring: '' };
const RECURRING = { name: 'planted', cron: '0 9 * * *', event: { to: ['planted'], subject: 'planted' } };
const DESTINATION = { name: 'planted', channel: 'webhook', config: { webhook_url: 'https://example.org/planted' } };

beforeAll(async () => {
  server = await startServer();
  await addTenant();
  await server.api('PUT', `/v1/users/${USER}`, { email: 'ada@example.org', attributes: { secret: 'planted' } });
  await server.api('POST', `/v1/users/${USER}/rotate-secret`);
  await server.api('POST', '/v1/suppressions', { channel: 'email', address: 'planted@example.org' });
  await server.api('PUT', '/v1/event-types/type-of-ours', { files: { 'event.yaml': 'title: planted' } });
  await server.api('PUT', `/v1/topics/planted/subscriptions/${USER}`);
  const told = await server.api(
    'POST',
    '/v1/notifications',
    { to: [USER], channels: ['in_app', 'email'], subject: 'planted', body: 'planted' },
    { 'idempotency-key': 'one' },
  );
  await server.api('PUT', '/v1/preferences/defaults', { channels: { email: { exclude_tags: ['planted'] } } });
  ids.event = told.body.id;
  await vi.waitFor(async () => {
    expect((await server.api('GET', `/v1/events/${ids.event}`)).body.counts).toMatchObject({ delivered: 2 });
  }, SOON);
  const [notification] = (await server.api('GET', `/v1/events/${ids.event}`)).body.notifications;
  ids.notification = notification.id;
  ids.delivery = notification.deliveries.find((one: { channel: string }) => one.channel === 'email').id;
  ids.key = (await server.api('GET', '/v1/api-keys')).body.data[0].id;
  ids.recurring = (await server.api('POST', '/v1/recurring-events', RECURRING)).body.id;
  ids.destination = (await server.api('POST', '/v1/destinations', DESTINATION)).body.id;
  tables = (await tablesWithTenant()).map(({ name }) => name);
}, 60_000);
afterAll(() => server.stop());

async function addTenant(): Promise<void> {
  theirKey = (await server.api('POST', '/v1/tenants', { id: THEIRS })).body.api_key.key;
  for (const tenant of [OURS, THEIRS]) {
    await server.db.query("insert into carillon.throttles values ($1, 'bob', 'severity low', '{}', 1, 1, 1, now() + interval '1 day')", [
      tenant,
    ]);
    await server.db.query(
      `insert into carillon.digests (tenant_id, id, slot, user_id, channel, address, key, items, low, high, opened_at, closes_at)
       values ($1, gen_random_uuid(), $1, 'bob', 'email', 'bob@example.org', '', 1, gen_random_uuid(), gen_random_uuid(), now(), now() + interval '1 day')`,
      [tenant],
    );
    await server.db.query("insert into carillon.rate_limits values ($1, 'tenant', 60, now(), 1, 1) on conflict do nothing", [tenant]);
  }
  await asThem('PUT', '/v1/users/bob', { email: 'bob@example.org' });
  await asThem('POST', '/v1/users/bob/rotate-secret');
  await asThem('POST', '/v1/suppressions', { channel: 'email', address: 'theirs@example.org' });
  await asThem('PUT', '/v1/topics/theirs/subscriptions/bob');
  await asThem('PUT', '/v1/preferences/defaults', {});
  await asThem('PUT', '/v1/event-types/type-of-theirs', { files: { 'event.yaml': '' } });
  await asThem('POST', '/v1/recurring-events', { ...RECURRING, name: 'theirs', event: { to: ['bob'], subject: 'theirs' } });
  expect(
    (await asThem('POST', '/v1/destinations', { ...DESTINATION, name: 'theirs', config: { webhook_url: 'https://example.com/' } })).status,
  ).toBe(201);
  await asThem(
    'POST',
    '/v1/notifications',
    { to: ['bob'], channels: ['in_app', 'email'], subject: 's', body: 'b' },
    { 'idempotency-key': 'one' },
  );
  await vi.waitFor(async () => {
    expect(await server.db.query("select from carillon.attempts where tenant_id = 'globex'")).toHaveLength(1);
  }, SOON);
}

function asThem(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Reply> {
  return server.api(method, path, body, { authorization: `Bearer ${theirKey}`, ...headers });
}

async function tablesWithTenant(): Promise<{ name: string; column: string }[]> {
  const rows = await server.db.query<{ name: string }>(
    `select c.relname as name from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
      where c.relnamespace = 'carillon'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition order by 1`,
  );
  return [...rows.map(({ name }) => ({ name, column: 'tenant_id' })), { name: 'tenants', column: 'id' }];
}

describe('in the schema', () => {
  test('row-level security is enabled and forced on every table with a tenant, and enabled without policy on every partition', async () => {
    expect(tables).toEqual(
      expect.arrayContaining([
        'api_keys',
        'attempts',
        'deliveries',
        'destinations',
        'events',
        'idempotency_keys',
        'inbox',
        'notifications',
        'tenant_secrets',
        'users',
      ]),
    );
    const open = await server.db.query(
      `select relname from pg_class where relnamespace = 'carillon'::regnamespace and relname = any($1) and not (relrowsecurity and relforcerowsecurity)`,
      [tables],
    );
    expect(open).toEqual([]);
    const partitions = await server.db.query<{ safe: boolean }>(
      `select relrowsecurity and not exists (select from pg_policy where polrelid = c.oid) as safe from pg_class c
        where relnamespace = 'carillon'::regnamespace and relispartition and relkind = 'r'`,
    );
    expect(partitions.length).toBeGreaterThanOrEqual(4 * 9);
    expect(partitions.filter(({ safe }) => !safe)).toEqual([]);
  });

  test('every unique index contains the tenant', async () => {
    const without = await server.db.query(
      `select i.indexrelid::regclass::text as index from pg_index i join pg_class c on c.oid = i.indrelid
        where c.relnamespace = 'carillon'::regnamespace and i.indisunique and c.relname <> 'tenants'
          and exists (select from pg_attribute where attrelid = c.oid and attname = 'tenant_id')
          and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and a.attnum = any(i.indkey))`,
    );
    expect(without).toEqual([]);
  });

  test('no foreign key leads to a partitioned table or leaves one', async () => {
    const keys = await server.db.query(
      `select conname from pg_constraint where contype = 'f'
          and (conrelid in (select oid from pg_class where relkind = 'p' or relispartition) or confrelid in (select oid from pg_class where relkind = 'p' or relispartition))`,
    );
    expect(keys).toEqual([]);
  });

  test('everything lives in the schema carillon', async () => {
    const elsewhere = await server.db.query(
      `select n.nspname, o.name from (
         select relnamespace as namespace, relname::text as name from pg_class union all select pronamespace, proname from pg_proc union all select typnamespace, typname from pg_type) as o
         join pg_namespace n on n.oid = o.namespace where n.nspname !~ '^(pg_|information_schema$|carillon$)'`,
    );
    expect(elsewhere).toEqual([]);
  });

  test('the api role has no right to what belongs to no tenant, and none to a partition', async () => {
    const readable = await server.db.query(
      `select c.relname from pg_class c where c.relnamespace = 'carillon'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S') and c.relname <> 'test_clock'
          and (c.relispartition or not c.relname = any($1)) and has_any_column_privilege('carillon_api', c.oid, 'select, insert, update, references')`,
      [tables],
    );
    expect(readable).toEqual([]);
  });
});

/** As `carillon_api`, in a transaction that is rolled back. */
async function asApiRole<T>(tenant: string | null, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(server.db.connection);
  await client.connect();
  try {
    await client.query('begin; set local role carillon_api');
    if (tenant !== null) await client.query("select set_config('carillon.tenant', $1, true)", [tenant]);
    return await work(client);
  } finally {
    await client.end();
  }
}

/** What a statement changes or returns; `denied` when the database refuses it. */
async function attempt(client: pg.Client, text: string, values: unknown[] = []): Promise<number | 'denied'> {
  await client.query('savepoint before');
  try {
    return (await client.query(text, values)).rowCount ?? 0;
  } catch (error) {
    await client.query('rollback to before');
    if ((error as pg.DatabaseError).code !== PERMISSION_DENIED) throw error;
    return 'denied';
  }
}

describe('as the role of reading requests', () => {
  test('each table shows the rows of the one tenant that is set, and of none when none is', async () => {
    for (const { name, column } of await tablesWithTenant()) {
      const rowsOf = (tenant: string | null) =>
        asApiRole(tenant, async (client) =>
          (await client.query<{ tenant: string }>(`select ${column} as tenant from carillon.${name}`)).rows.map((row) => row.tenant),
        );
      for (const tenant of [OURS, THEIRS]) {
        const seen = await rowsOf(tenant);
        expect(seen.length, `${name} has something to hide`).toBeGreaterThan(0);
        expect(new Set(seen), name).toEqual(new Set([tenant]));
      }
      expect(await rowsOf(null), name).toEqual([]);
    }
  });

  test("another tenant's rows can be neither changed, deleted, copied nor moved", async () => {
    for (const { name, column } of await tablesWithTenant()) {
      const [row] = await server.db.query<{ row: object }>(
        `select to_jsonb(t) as row from carillon.${name} t where ${column} = $1 limit 1`,
        [OURS],
      );
      await asApiRole(THEIRS, async (client) => {
        const touched = [
          await attempt(client, `update carillon.${name} set ${column} = ${column} where ${column} = $1`, [OURS]),
          await attempt(client, `delete from carillon.${name} where ${column} = $1`, [OURS]),
          await attempt(client, `select from carillon.${name} where ${column} = $1 for update`, [OURS]),
        ];
        expect(
          touched.filter((rows) => rows !== 0 && rows !== 'denied'),
          name,
        ).toEqual([]);
        expect(
          await attempt(client, `insert into carillon.${name} select * from jsonb_populate_record(null::carillon.${name}, $1)`, [
            JSON.stringify(row!.row),
          ]),
          name,
        ).toBe('denied');
        expect(await attempt(client, `update carillon.${name} set ${column} = $1`, [OURS]), name).toBe('denied');
      });
    }
  });

  test('partitions, settings and processes are out of reach', async () => {
    const partitions = await server.db.query<{ name: string }>(
      "select oid::regclass::text as name from pg_class where relispartition and relkind = 'r' and relnamespace = 'carillon'::regnamespace",
    );
    await asApiRole(OURS, async (client) => {
      for (const name of [...partitions.map((row) => row.name), 'carillon.settings', 'carillon.processes', 'carillon.migrations']) {
        expect(await attempt(client, `select * from ${name}`), name).toBe('denied');
      }
    });
  });
});

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';
interface Route {
  readonly method: Method;
  readonly path: string;
  readonly byUser: boolean;
  readonly query: readonly string[];
}

function routes(): Route[] {
  const { paths } = server.running.openApi() as {
    paths: Record<string, Record<Method, { security?: Record<string, unknown>[]; parameters?: { in: string; name: string }[] }>>;
  };
  return Object.entries(paths).flatMap(([path, methods]) =>
    (Object.entries(methods) as [Method, (typeof methods)[Method]][]).map(([method, { security = [], parameters = [] }]) => ({
      method,
      path,
      byUser: path.startsWith('/v1/inbox') || (security.length > 0 && security.every((one) => 'userToken' in one)),
      query: parameters.filter((parameter) => parameter.in === 'query').map(({ name }) => name),
    })),
  );
}

/** Ours, and one that nobody has. */
function idsFor(path: string): [ours: string, unknown: string] {
  const fresh = newId(new Date());
  const kinds: Record<string, [string, string]> = {
    '/v1/events/': [ids.event, publicId('evt', fresh)],
    '/api/notifications/': [ids.event, publicId('evt', fresh)],
    '/v1/notifications/': [ids.notification, publicId('ntf', fresh)],
    '/v1/inbox/': [ids.notification, publicId('ntf', fresh)],
    '/v1/deliveries/': [ids.delivery, publicId('dlv', fresh)],
    '/v1/destinations/': [ids.destination, publicId('dst', fresh)],
    '/v1/recurring-events/': [ids.recurring, publicId('rec', fresh)],
    '/v1/api-keys/': [ids.key, publicId('key', fresh)],
    '/v1/event-types/': ['type-of-ours', 'type-of-nobody'],
    '/v1/users/': [USER, 'a-user-of-nobody'],
    '/v1/topics/': ['planted', 'a-topic-of-nobody'],
    '/v1/suppressions/': ['email:planted@example.org', 'email:nobody@example.org'],
    '/v1/tenants/': [OURS, 'a-tenant-of-nobody'],
  };
  const kind = Object.entries(kinds).find(([prefix]) => path.startsWith(prefix));
  if (!kind) throw new Error(`${path}: the test does not know this kind of id`);
  return kind[1];
}

/** Makes what it names: an id that is free and one that another tenant has are used alike. */
const CREATES = [
  'put /v1/event-types/{id}',
  'put /v1/users/{id}',
  'put /v1/users/{id}/preferences',
  'post /v1/users/{id}/token',
  'put /v1/topics/{id}/subscriptions/{user_id}',
  'post /v1/topics/{id}/subscribe',
];
const BODIES: Record<string, unknown> = {
  put: {},
  patch: {},
  'put /v1/event-types/{id}': { files: { 'event.yaml': '' } },
  'put /v1/users/{id}/preferences': { channels: {} },
  'post /v1/users/{id}/token': {},
  'post /v1/topics/{id}/subscribe': { user_ids: ['bob'] },
  'post /v1/topics/{id}/unsubscribe': { user_ids: ['bob'] },
};

/** All that is stored of our tenant. */
async function stored(): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const { name, column } of await tablesWithTenant()) {
    const [row] = await server.db.query<{ sum: string }>(
      `select md5(string_agg(t::text, '|' order by t::text)) as sum from carillon.${name} t where ${column} = $1`,
      [OURS],
    );
    found[name] = row!.sum;
  }
  return found;
}

describe('through the routes', () => {
  test('no list shows anything of another tenant, by whatever filter', async () => {
    const lists = routes().filter(
      ({ method, path, byUser }) =>
        method === 'get' && /^\/(v1|api)\//.test(path) && !path.includes('{id}') && !byUser && path !== '/v1/tenants',
    );
    expect(lists.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['/v1/events', '/v1/notifications', '/v1/deliveries', '/v1/users', '/v1/api-keys']),
    );
    for (const { path, query } of lists) {
      const filters = { event_id: ids.event, user: USER, tag: 'planted' };
      const urls = [
        '',
        ...Object.entries(filters)
          .filter(([name]) => query.includes(name))
          .map(([name, value]) => `?${name}=${value}`),
      ];
      for (const url of urls) {
        const { status, body } = await asThem('GET', `${path}${url}`);
        expect([200, 404], `${path}${url}`).toContain(status);
        const text = JSON.stringify(body);
        for (const secret of [...Object.values(ids), USER, 'planted', 'ada@example.org'])
          expect(text, `${path}${url}`).not.toContain(secret);
      }
    }
  });

  test("an id of another tenant's answers as one that nobody has: the same bytes, by the same statements, and nothing of it changes", async () => {
    const token = (await asThem('POST', '/v1/users/bob/token', {})).body.token as string;
    const creates = ({ method, path }: Route) => CREATES.includes(`${method} ${path}`);
    const withId = routes()
      .filter(({ path }) => path.includes('{id}'))
      .sort((a, b) => Number(creates(a)) - Number(creates(b)));
    expect(withId.length).toBeGreaterThanOrEqual(20);
    await touched();
    const before = await stored();
    const statements = vi.spyOn(pg.Client.prototype, 'query');
    try {
      for (const route of withId) {
        const name = `${route.method} ${route.path}`;
        const key = route.byUser ? token : theirKey;
        const [ours, unknown] = await alike(statements, () =>
          idsFor(route.path).map(
            (id) => () => raw(key, route.method, route.path.replace('{id}', id), BODIES[name] ?? BODIES[route.method]),
          ),
        );
        if (creates(route)) {
          expect(ours.status, name).toBe(unknown.status); // last: from then on they have a user of this id too
          continue;
        }
        expect(ours.status, name).toBe(route.path.startsWith('/v1/tenants') ? 403 : 404);
        expect(ours, name).toEqual(unknown);
      }
    } finally {
      statements.mockRestore();
    }
    expect(await stored()).toEqual(before);
  });

  test("a user's token opens the inbox of the same id in its own tenant only", async () => {
    const { token } = (await asThem('POST', `/v1/users/${USER}/token`, {})).body;
    const { body } = await server.api('GET', '/v1/inbox', undefined, { authorization: `Bearer ${token}` });
    expect(body).toMatchObject({ data: [], total: 0, unread_count: 0 });
  });
});

/** The uses of our own key are written every few seconds: not while rows are compared. */
async function touched(): Promise<void> {
  const [before] = await server.db.query<{ count: number }>(
    "select sum(request_count)::int as count from carillon.api_keys where tenant_id = 'default'",
  );
  await server.api('GET', '/v1/users');
  await expect
    .poll(() => server.db.query("select sum(request_count)::int as count from carillon.api_keys where tenant_id = 'default'"), {
      timeout: 15_000,
    })
    .not.toEqual([before]);
}

interface Raw {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly text: string;
}

/** With a request id of ours, so that two answers may be equal to the byte. */
async function raw(key: string, method: string, path: string, body: unknown): Promise<Raw> {
  const headers = {
    authorization: `Bearer ${key}`,
    'x-request-id': 'the-same-for-all',
    ...(body !== undefined && { 'content-type': 'application/json' }),
  };
  const answer = await fetch(`${server.url}${path}`, {
    method: method.toUpperCase(),
    headers,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const headersOf = Object.fromEntries([...answer.headers].filter(([name]) => name !== 'date'));
  return { status: answer.status, headers: headersOf, text: await answer.text() };
}

type Statements = { readonly mock: { readonly calls: readonly (readonly unknown[])[] }; readonly mockClear: () => void };

/** Two answers, each with the names of the statements behind it. What runs by itself may come in between: then once more. */
async function alike(
  statements: Statements,
  requests: () => readonly (() => Promise<Raw>)[],
): Promise<[Raw & { names: string[] }, Raw & { names: string[] }]> {
  for (let tries = 1; ; tries++) {
    const answers: (Raw & { names: string[] })[] = [];
    for (const request of requests()) {
      statements.mockClear();
      const answer = await request();
      answers.push({ ...answer, names: statements.mock.calls.flatMap(([statement]) => nameOf(statement)) });
    }
    const [first, second] = answers;
    if (tries === 20 || first!.names.join() === second!.names.join()) return [first!, second!];
  }
}

/** Of a prepared statement; keys are looked up once in a while, whatever is asked. */
function nameOf(statement: unknown): string[] {
  const name = typeof statement === 'object' && statement !== null && 'name' in statement ? String(statement.name) : '';
  return name === '' || /^(api-keys-(find|touch)|clock|processes-)/.test(name) ? [] : [name];
}
