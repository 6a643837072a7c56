import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newId, publicId } from '../../src/lib/id.ts';
import { changeItem, marksAfter, raiseFloors, readAll, type InboxVerb } from '../../src/store/inbox-changes.ts';
import { changesSince, inboxState } from '../../src/store/inbox.ts';
import { insertNotifications } from '../../src/store/notifications.ts';
import { inboxServer, KEY, notificationFor, ORIGIN, type InboxServer } from '../harness/inbox.ts';

let server: InboxServer;
beforeAll(async () => {
  server = await inboxServer();
});
afterAll(() => server.close());

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';
async function call(
  userId: string,
  method: Method,
  path: string,
  { body, headers = {}, tenantId = 'acme' }: { body?: object; headers?: Record<string, string>; tenantId?: string } = {},
) {
  const authorization = `Bearer ${await server.tokenOf(userId, tenantId)}`;
  const payload = body === undefined ? {} : { payload: body };
  return server.app.inject({ method, url: `/v1/inbox${path}`, headers: { authorization, ...headers }, ...payload });
}

async function stored(userId: string) {
  const [row] = await server.db.query<{
    sequence: number;
    unread: number;
    total: number;
    numbers: number;
    highest: number;
    true_unread: number;
    true_total: number;
  }>(
    `select i.sequence::int, i.unread, i.total,
            count(distinct n.sequence)::int as numbers, max(n.sequence)::int as highest,
            count(*) filter (where n.deleted_at is null)::int as true_total,
            count(*) filter (where n.deleted_at is null and n.read_at is null and n.archived_at is null)::int as true_unread
       from carillon.inbox i join carillon.notifications n on n.tenant_id = i.tenant_id and n.user_id = i.user_id and n.inbox_at is not null
      where i.tenant_id = 'acme' and i.user_id = $1 group by i.sequence, i.unread, i.total`,
    [userId],
  );
  return row!;
}

describe('the list', () => {
  const user = 'lister';
  const ids: Record<string, string> = {};
  beforeAll(async () => {
    const rows: [name: string, tags: string[], verb: InboxVerb | undefined][] = [
      ['plain', [], undefined],
      ['exec', ['execution', 'exec:7f3', 'failed'], undefined],
      ['done', ['execution', 'exec:7f4'], 'read'],
      ['filed', ['billing'], 'archive'],
      ['gone', ['execution'], 'delete'],
      ['clicked', ['billing', 'exec:1'], 'click'],
    ];
    for (const [name, tags, verb] of rows) {
      const {
        items: [item],
      } = await server.tell(user, 1, { subject: name, tags, metadata: { name }, actionUrl: 'https://example.org/x' });
      ids[name] = item!.id;
      if (verb) await server.db.database.asTenant('acme', (tx) => changeItem(tx, { tenantId: 'acme', userId: user, id: item!.id, verb }));
    }
    await server.db.database.transaction((tx) =>
      insertNotifications(tx, [notificationFor(user, { inApp: false, subject: 'never in the inbox' })]),
    );
  });

  const filters: [query: string, subjects: string[]][] = [
    ['', ['clicked', 'filed', 'done', 'exec', 'plain']],
    ['?status=all', ['clicked', 'filed', 'done', 'exec', 'plain']],
    ['?status=unread', ['exec', 'plain']],
    ['?status=read', ['clicked', 'done']],
    ['?status=archived', ['filed']],
    ['?include_tags=execution', ['done', 'exec']],
    ['?include_tags=failed&include_tags=billing', ['clicked', 'filed', 'exec']],
    ['?exclude_tags=execution', ['clicked', 'filed', 'plain']],
    ['?include_tags=execution&exclude_tags=failed', ['done']],
    ['?tag_prefix=exec:', ['clicked', 'done', 'exec']],
    ['?tag_prefix=exec:7&status=unread', ['exec']],
    ['?tag_prefix=%25', []],
    ['?include_tags=nothing', []],
  ];
  test.each(filters)('shows with %s what matches, newest first', async (query, subjects) => {
    const answer = await call(user, 'GET', query);
    expect(answer.statusCode).toBe(200);
    const { data, ...rest } = answer.json();
    expect(data.map((item: { subject: string }) => item.subject)).toEqual(subjects);
    expect(rest).toEqual({ total: subjects.length, unread_count: 2, has_more: false, next_cursor: null, sequence: 10 });
  });

  test('shows an item as the contract has it', async () => {
    const {
      data: [item],
    } = (await call(user, 'GET', '?tag_prefix=failed')).json();
    expect(item).toEqual({
      id: publicId('ntf', ids.exec!),
      event_id: expect.stringMatching(/^evt_/),
      sequence: 2,
      type: 'inline',
      subject: 'exec',
      body: '92 % used',
      severity: 'medium',
      tags: ['execution', 'exec:7f3', 'failed'],
      action_url: 'https://example.org/x',
      metadata: { name: 'exec' },
      created_at: expect.stringMatching(/Z$/),
      read_at: null,
      clicked_at: null,
      archived_at: null,
      deleted_at: null,
    });
  });

  test('goes on by cursor and by offset', async () => {
    const pages: string[][] = [];
    let after: string | null = '';
    while (after !== null) {
      const page: { data: { subject: string }[]; next_cursor: string | null; has_more: boolean; total: number } = (
        await call(user, 'GET', `?limit=2${after && `&after=${after}`}`)
      ).json();
      pages.push(page.data.map((item) => item.subject));
      expect(page.has_more).toBe(page.next_cursor !== null);
      expect(page.total).toBe(5);
      after = page.next_cursor;
    }
    expect(pages).toEqual([['clicked', 'filed'], ['done', 'exec'], ['plain']]);
    const offset = (await call(user, 'GET', '?limit=2&offset=3')).json();
    expect([offset.data.map((item: { subject: string }) => item.subject), offset.total, offset.has_more]).toEqual([
      ['exec', 'plain'],
      5,
      false,
    ]);
    const beyond = (await call(user, 'GET', '?offset=100')).json();
    expect([beyond.data, beyond.total, beyond.unread_count]).toEqual([[], 5, 2]);
  });

  test('of somebody who was never told anything is empty', async () => {
    expect((await call('nobody', 'GET', '')).json()).toEqual({
      data: [],
      total: 0,
      unread_count: 0,
      has_more: false,
      next_cursor: null,
      sequence: 0,
    });
    expect((await call('nobody', 'GET', '/unread-count')).json()).toEqual({ unread_count: 0, total: 0, sequence: 0 });
    expect((await call('nobody', 'POST', '/read-all')).json()).toEqual({ changed: 0, unread_count: 0, total: 0, sequence: 0 });
  });

  test.each([
    '?limit=0',
    '?limit=101',
    '?limit=x',
    '?offset=-1',
    '?status=new',
    '?after=nonsense',
    '?colour=red',
    '?tag_prefix=%00',
    '?include_tags=a%00b',
  ])('refuses %s', async (query) => {
    const answer = await call(user, 'GET', query);
    expect([answer.statusCode, answer.json().code]).toEqual([422, 'invalid']);
  });
});

describe('verbs', () => {
  test('each changes what it says, takes one number, and answers the counts', async () => {
    const {
      items: [item],
    } = await server.tell('verbs', 2);
    const id = publicId('ntf', item!.id);
    const steps: [verb: string, unread: number, sequence: number, read: boolean, clicked: boolean, archived: boolean][] = [
      ['unread', 2, 2, false, false, false],
      ['read', 1, 3, true, false, false],
      ['read', 1, 3, true, false, false],
      ['click', 1, 4, true, true, false],
      ['unread', 2, 5, false, true, false],
      ['archive', 1, 6, true, true, true],
      ['archive', 1, 6, true, true, true],
      ['unread', 2, 7, false, true, false],
      ['click', 1, 8, true, true, false],
    ];
    for (const [verb, unread, sequence, read, clicked, archived] of steps) {
      const answer = await call('verbs', 'POST', `/${id}/${verb}`);
      expect(answer.statusCode).toBe(200);
      const { read_at, clicked_at, archived_at, ...rest } = answer.json();
      expect([verb, read_at !== null, clicked_at !== null, archived_at !== null]).toEqual([verb, read, clicked, archived]);
      expect(rest).toMatchObject({ id, subject: 'Disk almost full', unread_count: unread, total: 2, sequence, deleted_at: null });
    }
    const gone = await call('verbs', 'DELETE', `/${id}`);
    expect(gone.json()).toMatchObject({ id, unread_count: 1, total: 1, sequence: 9, deleted_at: expect.any(String) });
    expect((await call('verbs', 'DELETE', `/${id}`)).statusCode).toBe(404);
    expect((await call('verbs', 'POST', `/${id}/read`)).statusCode).toBe(404);
  });

  test('of another user, another tenant, an unknown and a malformed id: the same 404', async () => {
    const {
      items: [item],
    } = await server.tell('owner', 1);
    const id = publicId('ntf', item!.id);
    const answers = await Promise.all(
      (
        [
          ['read', 'POST'],
          ['unread', 'POST'],
          ['archive', 'POST'],
          ['click', 'POST'],
          ['', 'DELETE'],
        ] as const
      ).flatMap(([verb, method]) => {
        const path = (of: string) => `/${of}${verb && `/${verb}`}`;
        return [
          call('other-user', method, path(id)),
          call('owner', method, path(id), { tenantId: 'other' }),
          call('owner', method, path(publicId('ntf', newId(new Date())))),
          call('owner', method, path(publicId('ntf', newId(new Date(0))))),
          call('owner', method, path(publicId('evt', item!.id))),
          call('owner', method, path('nonsense')),
        ];
      }),
    );
    const bodies = answers.map((answer) => {
      const { instance, ...rest } = answer.json();
      return JSON.stringify([answer.statusCode, typeof instance, rest]);
    });
    expect(new Set(bodies).size).toBe(1);
    expect(answers[0]!.statusCode).toBe(404);
    expect(await stored('owner')).toMatchObject({ sequence: 1, unread: 1, total: 1 });
  });

  test('a repeat with the same Idempotency-Key gets the first answer', async () => {
    const {
      items: [item],
    } = await server.tell('repeats', 1);
    const path = `/${publicId('ntf', item!.id)}`;
    const headers = { 'idempotency-key': 'one' };
    const first = await call('repeats', 'POST', `${path}/read`, { headers });
    await call('repeats', 'POST', `${path}/unread`);
    const again = await call('repeats', 'POST', `${path}/read`, { headers });
    expect(again.json()).toEqual(first.json());
    expect(again.headers['idempotent-replayed']).toBe('true');
    expect(await stored('repeats')).toMatchObject({ sequence: 3, unread: 1 });
  });

  test('read-all gives each item a number of its own, and nothing to what was read', async () => {
    await server.tell('reads-all', 5);
    const {
      items: [item],
    } = await server.tell('reads-all', 1);
    await call('reads-all', 'POST', `/${publicId('ntf', item!.id)}/archive`);
    expect((await call('reads-all', 'POST', '/read-all')).json()).toEqual({ changed: 5, unread_count: 0, total: 6, sequence: 12 });
    expect((await call('reads-all', 'POST', '/read-all')).json()).toEqual({ changed: 0, unread_count: 0, total: 6, sequence: 12 });
    const { items } = await server.db.database.asTenant('acme', (tx) =>
      changesSince(tx, { tenantId: 'acme', userId: 'reads-all', after: 7, limit: 100 }),
    );
    expect(items.map((each) => [each.sequence, each.createdSequence])).toEqual([
      [8, 1],
      [9, 2],
      [10, 3],
      [11, 4],
      [12, 5],
    ]);
  });

  test('read-all beyond 1,000 raises the floor', async () => {
    await server.tell('reads-many', 1_001);
    const owner = { tenantId: 'acme', userId: 'reads-many' };
    expect((await server.db.database.asTenant('acme', (tx) => readAll(tx, owner))).changed).toBe(1_001);
    expect(await server.db.database.asTenant('acme', (tx) => inboxState(tx, owner))).toEqual({
      sequence: 2_002,
      floor: 2_002,
      unread: 0,
      total: 1_001,
    });
    expect(await stored('reads-many')).toMatchObject({ numbers: 1_001, highest: 2_002 });
  });

  test('whatever follows whatever, what was deleted stays so, and only unread unreads', () => {
    const marks = fc.record({ read: fc.boolean(), clicked: fc.boolean(), archived: fc.boolean(), deleted: fc.boolean() });
    fc.assert(
      fc.property(marks, fc.constantFrom<InboxVerb>('read', 'unread', 'archive', 'click', 'delete'), (before, verb) => {
        const after = marksAfter(verb, before);
        expect(marksAfter(verb, after)).toEqual(after);
        expect(after.deleted).toBe(before.deleted || verb === 'delete');
        expect(after.clicked).toBe(before.clicked || verb === 'click');
        if (verb !== 'unread')
          expect(Number(after.read) + Number(after.archived)).toBeGreaterThanOrEqual(Number(before.read) + Number(before.archived));
        else expect([after.read, after.archived]).toEqual([false, false]);
      }),
    );
  });
});

test('inserts, verbs and read-alls side by side: counts never drift, and every change has a number of its own', async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('tell' as const), count: fc.integer({ min: 1, max: 3 }) }),
    fc.record({
      kind: fc.constant('verb' as const),
      verb: fc.constantFrom<InboxVerb>('read', 'unread', 'archive', 'click', 'delete'),
      pick: fc.nat(19),
    }),
    fc.record({ kind: fc.constant('read-all' as const) }),
  );
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
      const userId = `drift${run++}`;
      const owner = { tenantId: 'acme', userId };
      const { items } = await server.tell(userId, 20);
      const taken = await Promise.all(
        steps.map(async (one): Promise<number[]> => {
          if (one.kind === 'tell') return (await server.tell(userId, one.count)).items.map((item) => item.sequence);
          if (one.kind === 'read-all') {
            const { changed, counts } = await server.db.database.asTenant('acme', (tx) => readAll(tx, owner));
            return Array.from({ length: changed }, (_, index) => counts.sequence - index);
          }
          const done = await server.db.database.asTenant('acme', (tx) =>
            changeItem(tx, { ...owner, id: items[one.pick]!.id, verb: one.verb }),
          );
          return done?.changed ? [done.counts.sequence] : [];
        }),
      );
      const { sequence, unread, total, true_unread, true_total, highest } = await stored(userId);
      expect({ unread, total, highest }).toEqual({ unread: true_unread, total: true_total, highest: sequence });
      // No number twice, none left out.
      expect(taken.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: sequence - 20 }, (_, index) => index + 21));
    }),
    { numRuns: 12 },
  );
});

test('before a partition goes its items leave the inboxes, once however often it is tried, and streams load the list again', async () => {
  const yesterday = new Date(Date.now() - 86_400_000);
  const upTo = newId(new Date(Date.now() - 3_600_000));
  for (const userId of ['old1', 'old2']) {
    const { items } = await server.tell(userId, 4, { createdAt: yesterday });
    await call(userId, 'POST', `/${publicId('ntf', items[0]!.id)}/read`);
    await call(userId, 'DELETE', `/${publicId('ntf', items[1]!.id)}`);
    await server.tell(userId, 2);
  }
  await server.tell('young', 1);
  const client = new pg.Client(server.db.connection);
  await client.connect();
  await client.query('set role carillon_engine');
  const meanwhile = Promise.all(Array.from({ length: 10 }, () => server.tell('old1', 1)));
  await raiseFloors(client, upTo);
  await meanwhile;
  await raiseFloors(client, upTo);
  await client.end();
  for (const userId of ['old1', 'old2']) {
    const { unread, total, true_unread, true_total } = await stored(userId);
    expect({ unread, total }).toEqual({ unread: true_unread, total: true_total });
    expect(total).toBe(userId === 'old1' ? 12 : 2);
    const { sequence, floor } = await server.db.database.asTenant('acme', (tx) => inboxState(tx, { tenantId: 'acme', userId }));
    expect(floor).toBeGreaterThan(8);
    expect(sequence).toBeGreaterThanOrEqual(floor);
  }
  expect(await server.db.database.asTenant('acme', (tx) => inboxState(tx, { tenantId: 'acme', userId: 'young' }))).toMatchObject({
    sequence: 1,
    floor: 0,
  });
});

describe('a token', () => {
  const mint = (
    id: string,
    { payload, headers, to = server }: { payload?: object; headers?: Record<string, string>; to?: InboxServer } = {},
  ) =>
    to.app.inject({
      method: 'POST',
      url: `/v1/users/${encodeURIComponent(id)}/token`,
      headers: { authorization: `Bearer ${KEY}`, ...headers },
      ...(payload === undefined ? {} : { payload }),
    });

  test('is minted for a user not seen before, opens that inbox only, and shows activity', async () => {
    const answer = await mint('new/user ü');
    expect(answer.statusCode).toBe(201);
    const { token, expires_at } = answer.json();
    expect(Date.parse(expires_at) - Date.now()).toBeGreaterThan(3_590_000);
    expect(Date.parse(expires_at) - Date.now()).toBeLessThanOrEqual(3_600_000);
    await server.tell('new/user ü', 1);
    const list = await server.app.inject({ url: '/v1/inbox', headers: { authorization: `Bearer ${token}` } });
    expect(list.json().total).toBe(1);
    expect(await server.db.query("select active from carillon.users where id = 'new/user ü' and last_active_at is not null")).toEqual([
      { active: true },
    ]);
  });

  test('lives as long as asked, at most a day', async () => {
    const answer = await mint('short', { payload: { ttl_seconds: 60 } });
    expect(Date.parse(answer.json().expires_at) - Date.now()).toBeLessThanOrEqual(60_000);
    for (const ttl_seconds of [0, 86_401, 1.5, '60']) expect((await mint('short', { payload: { ttl_seconds } })).statusCode).toBe(422);
  });

  test('is not repeated to whoever repeats the request', async () => {
    const headers = { 'idempotency-key': 'mint' };
    const first = (await mint('twice', { headers })).json();
    const again = await mint('twice', { headers });
    expect([again.statusCode, again.headers['idempotent-replayed'], again.json()]).toEqual([201, 'true', { expires_at: first.expires_at }]);
    const kept = await server.db.query<{ answer: unknown }>("select answer from carillon.idempotency_keys where key = 'mint'");
    expect(JSON.stringify(kept)).not.toContain(first.token);
  });

  test('is not minted for an unknown user where users are not created', async () => {
    const strict = await inboxServer({ createUsers: false });
    try {
      expect((await mint('ghost', { to: strict })).statusCode).toBe(404);
      await strict.db.query("insert into carillon.users (tenant_id, id) values ('acme', 'known')");
      expect((await mint('known', { to: strict })).statusCode).toBe(201);
      expect(await strict.db.query('select id from carillon.users')).toEqual([{ id: 'known' }]);
    } finally {
      await strict.close();
    }
  });

  test.each(['', 'Bearer nonsense', `Bearer ${KEY}`])('is needed: %s', async (authorization) => {
    for (const url of ['/v1/inbox', '/v1/inbox/unread-count', '/v1/inbox/preferences', '/v1/inbox/stream']) {
      expect((await server.app.inject({ url, headers: { authorization } })).statusCode).toBe(401);
    }
  });
});

test('preferences: what the user wants, and nothing that means nothing', async () => {
  expect((await call('chooser', 'GET', '/preferences')).json()).toEqual({ channels: {} });
  const wish = { channels: { email: { enabled: false }, webhook: { enabled: true, webhook_url: 'https://example.org/mine' } } };
  expect((await call('chooser', 'PUT', '/preferences', { body: wish })).json()).toEqual(wish);
  expect((await call('chooser', 'GET', '/preferences')).json()).toEqual(wish);
  expect((await call('chooser', 'GET', '/preferences', { tenantId: 'other' })).json()).toEqual({ channels: {} });
  for (const body of [
    { channels: { pigeon: { enabled: true } } },
    { channels: { email: { enabled: true } } },
    { channels: { in_app: { quiet_hours: { enabled: true, start: '22:00', end: '07:00' } } } },
    { channels: { email: { enabled: 1 } } },
    { quiet_hours: {} },
  ]) {
    expect((await call('chooser', 'PUT', '/preferences', { body })).statusCode).toBe(422);
  }
  expect((await call('chooser', 'GET', '/preferences')).json()).toEqual(wish);
});

describe('pages of other origins', () => {
  test('are answered when listed, on errors too, and never with a wildcard', async () => {
    for (const headers of [{ authorization: `Bearer ${await server.tokenOf('ada')}` }, { authorization: 'Bearer nonsense' }]) {
      const answer = await server.app.inject({ url: '/v1/inbox', headers: { ...headers, origin: ORIGIN } });
      expect(answer.headers).toMatchObject({ 'access-control-allow-origin': ORIGIN, vary: 'origin' });
      expect(answer.headers).not.toHaveProperty('access-control-allow-credentials');
      const foreign = await server.app.inject({ url: '/v1/inbox', headers: { ...headers, origin: 'https://evil.example' } });
      expect(foreign.headers).not.toHaveProperty('access-control-allow-origin');
      expect(foreign.headers.vary).toBe('origin');
    }
  });

  test('may ask first', async () => {
    const ask = (origin: string) =>
      server.app.inject({
        method: 'OPTIONS',
        url: '/v1/inbox/ntf_x/read',
        headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' },
      });
    const allowed = await ask(ORIGIN);
    expect(allowed.statusCode).toBe(204);
    expect(allowed.headers).toMatchObject({
      'access-control-allow-origin': ORIGIN,
      'access-control-allow-methods': 'POST',
      'access-control-allow-headers': expect.stringContaining('authorization'),
    });
    const refused = await ask('https://evil.example');
    expect(refused.headers).not.toHaveProperty('access-control-allow-origin');
    expect(refused.headers).not.toHaveProperty('access-control-allow-methods');
  });
});
