import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshDatabase, type TestDatabase } from '../../test/harness/database.ts';
import { checksumValid, hashApiKey, makeVault } from '../lib/crypto.ts';
import { newId } from '../lib/id.ts';
import { createKey, findByHash, listKeys, revokeKey, touchKeys } from './api-keys.ts';
import { bootstrap } from './bootstrap.ts';
import { getSetting, makeDevelopmentKey, makeDevelopmentSecret, setIfAbsent } from './settings.ts';
import { createTenant, newTenantSecrets, secretContext, tenantSecret } from './tenants.ts';

const vault = makeVault({ keys: new Map([['one', randomBytes(32)]]), current: 'one' });
const pepper = randomBytes(32);
const DAY_MS = 86_400_000;

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
  for (const id of ['acme', 'other']) await db.database.transaction((tx) => createTenant(tx, newTenantSecrets(id, vault, randomBytes)));
});
afterAll(() => db.drop());

const start = (bootstrapKey?: string) =>
  bootstrap(db.database, { vault, pepper, bootstrapKey, scopes: ['operator'], now: () => new Date(), random: randomBytes });

let made = 0;
/** Ids of one millisecond have no order. */
const nextId = () => newId(new Date(Date.now() + (made += 1)));

async function newKey(tenantId: string, { name = 'one', expiresAt = null }: { name?: string; expiresAt?: Date | null } = {}) {
  const key = {
    tenantId,
    id: nextId(),
    hash: randomBytes(32),
    name,
    hint: 'cn_live_abcd…',
    scopes: ['events:write'],
    expiresAt,
    rateLimit: null,
    accessClientId: null,
  };
  await db.database.asTenant(tenantId, (tx) => createKey(tx, key));
  return key;
}

test('a tenant is made with its test sibling and four secrets of their own, sealed for them alone', async () => {
  expect(await db.database.transaction((tx) => createTenant(tx, newTenantSecrets('acme', vault, randomBytes)))).toBe(false);
  const opened = new Set<string>();
  for (const tenantId of ['acme', 'acme:test']) {
    for (const purpose of ['webhook', 'token'] as const) {
      const sealed = await tenantSecret(db.database.engine, tenantId, purpose);
      opened.add(vault.open(sealed!, secretContext(tenantId, purpose)).toString('hex'));
      expect(() => vault.open(sealed!, secretContext('other', purpose))).toThrow();
    }
  }
  expect(opened.size).toBe(4);
  expect([...opened][0]).toHaveLength(64);
  expect(await tenantSecret(db.database.engine, 'nobody', 'token')).toBeUndefined();
});

test('a key is found by its hash until it is revoked or expires', async () => {
  const key = await newKey('acme');
  const expiring = await newKey('acme', { expiresAt: new Date(Date.now() + DAY_MS) });
  expect(await findByHash(db.database.engine, key.hash)).toEqual({
    tenantId: 'acme',
    keyId: key.id,
    client: 'one',
    scopes: ['events:write'],
    keyLimit: null,
    tenantLimit: null,
    expiresInMs: null,
  });
  expect((await findByHash(db.database.engine, expiring.hash))!.expiresInMs).toBeGreaterThan(DAY_MS - 60_000);

  expect(await db.database.asTenant('acme', (tx) => revokeKey(tx, { tenantId: 'acme', id: key.id }))).toBe(true);
  expect(await findByHash(db.database.engine, key.hash)).toBeUndefined();
  await db.moveClock(DAY_MS);
  expect(await findByHash(db.database.engine, expiring.hash)).toBeUndefined();
  expect(await findByHash(db.database.engine, randomBytes(32))).toBeUndefined();
});

test('a tenant lists and revokes its own keys only', async () => {
  const mine = [await newKey('other', { name: 'a' }), await newKey('other', { name: 'b' }), await newKey('other', { name: 'c' })];
  const foreign = await newKey('acme');
  const names = async (limit: number, cursor: string | null, forward = false) =>
    (await db.database.asTenant('other', (tx) => listKeys(tx, { tenantId: 'other', cursor, forward, limit }))).map((key) => key.name);
  expect(await names(2, null)).toEqual(['c', 'b']);
  expect(await names(2, mine[1]!.id)).toEqual(['a']);
  expect(await names(2, mine[1]!.id, true)).toEqual(['c']);
  expect(await db.database.asTenant('other', (tx) => revokeKey(tx, { tenantId: 'other', id: foreign.id }))).toBe(false);
  expect(await db.database.asTenant('other', (tx) => revokeKey(tx, { tenantId: 'acme', id: foreign.id }))).toBe(false);
  expect(await findByHash(db.database.engine, foreign.hash)).toBeDefined();
});

test('last use is written for all keys given, and what was done with them is added up, whoever writes at the same time', async () => {
  const [a, b, unused] = [await newKey('acme'), await newKey('other'), await newKey('acme')];
  const uses = [
    { tenantId: 'acme', keyId: a.id, requests: 2, events: 5 },
    { tenantId: 'other', keyId: b.id, requests: 1, events: 0 },
  ];
  await Promise.all(Array.from({ length: 10 }, (_, at) => touchKeys(db.database.engine, at % 2 === 0 ? uses : uses.toReversed())));
  const rows = await db.query<{ id: string; requests: string; events: string; used: boolean }>(
    'select id, request_count as requests, event_count as events, last_used_at is not null as used from carillon.api_keys where id = any($1)',
    [[a.id, b.id, unused.id]],
  );
  const of = (id: string) => rows.find((row) => row.id === id);
  expect(of(a.id)).toMatchObject({ requests: '20', events: '50', used: true });
  expect(of(b.id)).toMatchObject({ requests: '10', events: '0', used: true });
  expect(of(unused.id)).toMatchObject({ requests: '0', events: '0', used: false });
});

test('ten first starts at once make one tenant and one key; a later start makes none', async () => {
  const printed = (await Promise.all(Array.from({ length: 10 }, () => start()))).filter((key) => key !== undefined);
  expect(printed).toHaveLength(1);
  expect(checksumValid(printed[0]!)).toBe(true);
  expect(await findByHash(db.database.engine, hashApiKey(pepper, printed[0]!))).toMatchObject({
    tenantId: 'default',
    scopes: ['operator'],
  });
  expect(await start()).toBeUndefined();
  expect(await tenantSecret(db.database.engine, 'default:test', 'token')).toBeDefined();
});

test('a bootstrap key is taken as it is, and stays revoked once it was', async () => {
  const found = () => findByHash(db.database.engine, hashApiKey(pepper, 'my own key'));
  await Promise.all([start('my own key'), start('my own key')]);
  const key = (await found())!;
  await db.database.asTenant('default', (tx) => revokeKey(tx, { tenantId: 'default', id: key.keyId }));
  expect(await start('my own key')).toBeUndefined();
  expect(await found()).toBeUndefined();
  expect(await db.query("select 1 from carillon.api_keys where hint like '%own%'")).toEqual([]);
});

test('of racing settings one value holds, for everybody', async () => {
  const values = await Promise.all(Array.from({ length: 20 }, (_, at) => setIfAbsent(db.database.engine, 'raced', String(at))));
  expect(new Set(values).size).toBe(1);
  expect(await getSetting(db.database.engine, 'raced')).toBe(values[0]);
  expect(await getSetting(db.database.engine, 'never set')).toBeUndefined();
  const { engine } = db.database;
  for (const make of [makeDevelopmentKey, makeDevelopmentSecret])
    expect(await make(engine, randomBytes)).toBe(await make(engine, randomBytes));
});
