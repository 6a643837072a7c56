/** Who is told, and why not: the same on both paths, in the accepting transaction and from the queue. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { count, deliveriesOf, eventState, eventually, nowOf, uuidOf } from '../harness/core.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

type Item = Record<string, unknown> & { readonly to: unknown[] };
/** User, channel, state, reason, address. */
type Told = [user: string | null, channel: string, state: string, reason: string, address: string | null];

interface Path {
  readonly path: string;
  /** Resolves with the event's id once its routing has been committed. */
  readonly send: (server: TestServer, item: Item) => Promise<string>;
}

async function post(server: TestServer, item: Item): Promise<string> {
  const reply = await server.api('POST', '/v1/events', { type: 'disk.full', ...item });
  expect(reply.status).toBe(202);
  return reply.body.id;
}

const isRouted = (server: TestServer, id: string) => eventually(() => eventState(server.db, id)).toBe('routed');

const PATHS: Path[] = [
  {
    path: 'fast',
    send: async (server, item) => {
      const id = await post(server, item);
      const isNamed = item.to.every((rule) => typeof rule === 'string' || 'user_id' in (rule as object));
      if (isNamed) expect(await eventState(server.db, id)).toBe('routed');
      await isRouted(server, id);
      return id;
    },
  },
  {
    path: 'queued',
    send: async (server, item) => {
      const id = await post(server, { ...item, scheduled_for: new Date((await nowOf(server.db)).getTime() + 60_000).toISOString() });
      expect(await eventState(server.db, id)).toBe('scheduled');
      expect(await count(server.db, 'deliveries where event_id = $1', [uuidOf(id)])).toBe(0);
      await server.moveClock(61_000);
      await isRouted(server, id);
      return id;
    },
  },
];

/** Once nothing of it waits or is being sent. */
async function told(server: TestServer, id: string): Promise<Told[]> {
  await eventually(async () =>
    (await deliveriesOf(server.db, id)).filter(({ state }) => state === 'pending' || state === 'sending'),
  ).toEqual([]);
  return (await deliveriesOf(server.db, id)).map(({ user, channel, state, reason, address }) => [user, channel, state, reason, address]);
}

async function put(server: TestServer, id: string, user: Record<string, unknown> = {}, channels?: Record<string, boolean>): Promise<void> {
  expect((await server.api('PUT', `/v1/users/${id}`, user)).status).toBe(200);
  if (!channels) return;
  const body = { channels: Object.fromEntries(Object.entries(channels).map(([channel, enabled]) => [channel, { enabled }])) };
  expect((await server.api('PUT', `/v1/users/${id}/preferences`, body)).status).toBe(200);
}

describe.each(PATHS)('on the $path path', ({ path, send }) => {
  let server: TestServer;
  /** Creates no users, and sends no webhooks. */
  let strict: TestServer;
  let receiver: Receiver;
  beforeAll(async () => {
    receiver = await startReceiver((response) => response.end());
    [server, strict] = await Promise.all([startServer(), startServer({ 'users.create': 'never', 'webhook.enabled': false })]);
  });
  afterAll(async () => {
    await Promise.all([server.stop(), strict.stop()]);
    await receiver.close();
  });
  const hook = (name: string) => `http://127.0.0.1:${receiver.port}/${name}`;
  const tell = async (item: Item, by = server) => told(by, await send(by, item));

  test('the transaction is the one that the path promises', async () => {
    const id = await send(server, { to: ['same-1'] });
    const [row] = await server.db.query<{ same: boolean }>(
      'select e.xmin::text = n.xmin::text as same from carillon.events e join carillon.notifications n on n.event_id = e.id where e.id = $1',
      [uuidOf(id)],
    );
    expect(row!.same).toBe(true);
    const [times] = await server.db.query<{ together: boolean }>(
      'select routed_at = created_at as together from carillon.events e join carillon.users u on u.id = $2 where e.id = $1',
      [uuidOf(id), 'same-1'],
    );
    expect(times!.together).toBe(path === 'fast');
  });

  test('each channel that is named gets one decision, and what is sent arrives', async () => {
    await put(server, 'ada', { email: 'ada@example.org', webhook_url: hook('ada') });
    expect(await tell({ to: ['ada'], channels: ['webhook', 'in_app', 'email'] })).toEqual([
      ['ada', 'email', 'delivered', 'sent', 'ada@example.org'],
      ['ada', 'in_app', 'delivered', 'sent', null],
      ['ada', 'webhook', 'delivered', 'sent', hook('ada')],
    ]);
    expect(receiver.requests.filter(({ path: at }) => at === '/ada')).toHaveLength(1);
    expect(await tell({ to: ['ada'] })).toEqual([['ada', 'in_app', 'delivered', 'sent', null]]);
  });

  test('webhooks alone never touch an inbox', async () => {
    await put(server, 'hooked', { webhook_url: hook('hooked') });
    await tell({ to: ['hooked'], channels: ['webhook'] });
    expect(await count(server.db, "inbox where user_id = 'hooked'")).toBe(0);
    expect(await count(server.db, "notifications where user_id = 'hooked' and sequence is null")).toBe(1);
  });

  test('opted out, without an address, suppressed', async () => {
    await put(server, 'bob', { email: 'bob@example.org' }, { email: false });
    expect(await tell({ to: ['bob'], channels: ['in_app', 'email', 'webhook'] })).toEqual([
      ['bob', 'email', 'skipped', 'opted_out', null],
      ['bob', 'in_app', 'delivered', 'sent', null],
      ['bob', 'webhook', 'skipped', 'no_address', null],
    ]);
    await put(server, 'gone', { webhook_url: hook('gone') });
    await server.db.query("update carillon.users set suppressed = jsonb_build_object('webhook', webhook_url) where id = 'gone'");
    expect(await tell({ to: ['gone'], channels: ['webhook'] })).toEqual([['gone', 'webhook', 'skipped', 'suppressed', null]]);
  });

  test('critical overrides an opt-out, and never a suppression', async () => {
    await put(server, 'eve', { email: 'eve@example.org', webhook_url: hook('eve') }, { email: false, webhook: false, in_app: false });
    await server.db.query("update carillon.users set suppressed = jsonb_build_object('webhook', webhook_url) where id = 'eve'");
    expect(await tell({ to: ['eve'], channels: ['in_app', 'email', 'webhook'], critical: true })).toEqual([
      ['eve', 'email', 'delivered', 'sent', 'eve@example.org'],
      ['eve', 'in_app', 'delivered', 'sent', null],
      ['eve', 'webhook', 'skipped', 'suppressed', null],
    ]);
  });

  test('a user who is not active is not told at all, critical or not', async () => {
    await put(server, 'asleep', { active: false, email: 'asleep@example.org' });
    const want = [['asleep', '*', 'skipped', 'user_inactive', null]];
    expect(await tell({ to: ['asleep'], channels: ['in_app', 'email'] })).toEqual(want);
    expect(await tell({ to: ['asleep'], critical: true })).toEqual(want);
    expect(await count(server.db, "notifications where user_id = 'asleep'")).toBe(0);
  });

  test('an inline address adds its channel, comes before the stored one, and counts for this event only', async () => {
    await put(server, 'ina', { email: 'stored@example.org' });
    const inline = { user_id: 'ina', email: 'inline@example.org', webhook_url: hook('ina') };
    expect(await tell({ to: [inline] })).toEqual([
      ['ina', 'email', 'delivered', 'sent', 'inline@example.org'],
      ['ina', 'in_app', 'delivered', 'sent', null],
      ['ina', 'webhook', 'delivered', 'sent', hook('ina')],
    ]);
    expect(await tell({ to: ['ina'], channels: ['email', 'webhook'] })).toEqual([
      ['ina', 'email', 'delivered', 'sent', 'stored@example.org'],
      ['ina', 'webhook', 'skipped', 'no_address', null],
    ]);
  });

  test('an opt-out covers inline addresses too', async () => {
    await put(server, 'shy', {}, { webhook: false });
    expect(await tell({ to: [{ user_id: 'shy', webhook_url: hook('shy') }], channels: ['webhook'] })).toEqual([
      ['shy', 'webhook', 'skipped', 'opted_out', null],
    ]);
    expect(receiver.requests.filter(({ path: at }) => at === '/shy')).toEqual([]);
  });

  test('somebody who is named twice is told once; the first address of each channel wins', async () => {
    const to = [
      'twice',
      { user_id: 'twice', email: 'first@example.org' },
      { user_id: 'twice', email: 'second@example.org', webhook_url: hook('twice') },
    ];
    expect(await tell({ to, channels: ['email', 'webhook', 'email'] })).toEqual([
      ['twice', 'email', 'delivered', 'sent', 'first@example.org'],
      ['twice', 'webhook', 'delivered', 'sent', hook('twice')],
    ]);
    expect(await count(server.db, "notifications where user_id = 'twice'")).toBe(1);
  });

  test('a user not seen before is made, or skipped where the installation wants that', async () => {
    expect(await tell({ to: ['new'] })).toEqual([['new', 'in_app', 'delivered', 'sent', null]]);
    expect(await count(server.db, "users where id = 'new' and active")).toBe(1);

    await put(strict, 'known');
    const inline = { user_id: 'unknown', email: 'u@example.org' };
    expect(await tell({ to: ['known', inline] }, strict)).toEqual([
      ['known', 'in_app', 'delivered', 'sent', null],
      ['unknown', '*', 'skipped', 'user_unknown', null],
    ]);
    expect(await tell({ to: [inline, { role: 'nobody has it' }, 'known'] }, strict)).toEqual([
      ['known', 'in_app', 'delivered', 'sent', null],
      ['unknown', '*', 'skipped', 'user_unknown', null],
    ]);
    expect(await count(strict.db, "users where id = 'unknown'")).toBe(0);
  });

  test('a channel that is not set up is skipped', async () => {
    await put(strict, 'off', { webhook_url: hook('off') });
    expect(await tell({ to: ['off'], channels: ['in_app', 'webhook'] }, strict)).toEqual([
      ['off', 'in_app', 'delivered', 'sent', null],
      ['off', 'webhook', 'skipped', 'channel_disabled', null],
    ]);
  });

  test('roles, those seen lately, and everybody, mixed with names: each once', async () => {
    const at = async (daysAgo: number) => new Date((await nowOf(server.db)).getTime() - daysAgo * 86_400_000).toISOString();
    await put(server, 'owner-1', { roles: ['owner', 'admin'] });
    await put(server, 'owner-2', { roles: ['owner'], email: 'owner-2@example.org' }, { in_app: false });
    await put(server, 'admin-1', { roles: ['admin'], last_active_at: await at(20) });
    await put(server, 'admin-2', { roles: ['admin'], active: false });
    await put(server, 'lately', { last_active_at: await at(1) });
    await put(server, 'long ago', { last_active_at: await at(40) });
    const names = async (item: Item) => (await tell(item)).map(([user, channel, , reason]) => `${user} ${channel} ${reason}`);

    expect(await names({ to: [{ role: 'owner' }] })).toEqual(['owner-1 in_app sent', 'owner-2 in_app opted_out']);
    expect(await names({ to: [{ active_within: '7d' }] })).toEqual(['lately in_app sent']);
    expect(
      await names({
        to: [{ user_id: 'owner-1', email: 'o@example.org' }, { role: 'admin' }, 'made now', { active_within: '30d' }, { role: 'owner' }],
      }),
    ).toEqual([
      'admin-1 in_app sent',
      'admin-2 * user_inactive',
      'lately in_app sent',
      'made now in_app sent',
      'owner-1 email sent',
      'owner-1 in_app sent',
      'owner-2 in_app opted_out',
    ]);
    const everybody = await server.db.query<{ id: string }>('select id from carillon.users order by id');
    const rows = await tell({ to: ['also new', { all: true }, 'owner-1'] });
    expect([...new Set(rows.map(([user]) => user))].sort()).toEqual([...everybody.map(({ id }) => id), 'also new'].sort());
    expect(rows).toHaveLength(everybody.length + 1);
  });
});
