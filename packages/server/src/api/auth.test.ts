import { Socket } from 'node:net';
import { beforeEach, expect, test } from 'vitest';
import { makeAuth, type Auth, type Credentials, type FoundKey, type KeyUse, type UserCaller } from './auth.ts';

const KEY: FoundKey = {
  tenantId: 'acme',
  keyId: 'k1',
  client: 'backend',
  scopes: ['events:write'],
  keyLimit: null,
  tenantLimit: null,
  expiresInMs: null,
};

const admins = new Set<string>();
let auth: Auth;
let keys: Map<string, FoundKey>;
let users: Map<string, UserCaller>;
let asked: number;
let touched: KeyUse[][];
let monotonicMs: number;
let refusesTouch = false;

beforeEach(() => {
  keys = new Map([['right', KEY]]);
  users = new Map([['ada-token', { tenantId: 'acme', userId: 'ada', expiresAt: new Date(2_000) }]]);
  asked = 0;
  touched = [];
  admins.clear();
  monotonicMs = 0;
  auth = makeAuth({
    hashKey: (key) => Buffer.from(key),
    findKey: async (hash) => {
      asked += 1;
      return keys.get(hash.toString());
    },
    verifyUserToken: async (token) => {
      asked += 1;
      return users.get(token);
    },
    isAccountAdmin: async ({ userId }) => admins.has(userId),
    touchKeys: async (uses) => {
      if (refusesTouch) throw new Error('away');
      touched.push([...uses]);
    },
    now: () => new Date(monotonicMs),
    monotonicMs: () => monotonicMs,
    log: () => undefined,
  });
});

const sent = (token: string, socket = new Socket(), url = '/v1/events'): Credentials => ({ authorization: `Bearer ${token}`, url, socket });
const outcome = async (credentials: Credentials) => {
  try {
    return (await auth.key(credentials, 'events:write')).keyId;
  } catch (error) {
    return (error as { code: string }).code;
  }
};

test('on a connection that was verified the answer is there at once', async () => {
  const socket = new Socket();
  expect(auth.key(sent('right', socket), 'events:write')).toBeInstanceOf(Promise);
  await outcome(sent('right', socket));
  expect(auth.key(sent('right', socket), 'events:write')).toMatchObject({ tenantId: 'acme', keyId: 'k1', client: 'backend' });
  expect(asked).toBe(1);
  // Another credential on the same connection is another caller.
  expect(await outcome(sent('wrong', socket))).toBe('unauthorized');
  expect(await outcome(sent('right', socket, '/v1/events?api_key=right'))).toBe('unauthorized');
});

test('many connections with one key ask once', async () => {
  expect(await Promise.all(Array.from({ length: 50 }, () => outcome(sent('right'))))).toEqual(Array(50).fill('k1'));
  expect(asked).toBe(1);
});

test('what was verified is forgotten after five seconds, on request, and when the key expires', async () => {
  const socket = new Socket();
  await outcome(sent('right', socket));
  keys.delete('right');
  monotonicMs = 4_999;
  expect(await outcome(sent('right', socket))).toBe('k1');
  monotonicMs = 5_000;
  expect(await outcome(sent('right', socket))).toBe('unauthorized');

  keys.set('second', { ...KEY, expiresInMs: 300 });
  expect(await outcome(sent('second', socket))).toBe('k1');
  keys.delete('second');
  monotonicMs += 300;
  expect(await outcome(sent('second', socket))).toBe('unauthorized');

  keys.set('third', KEY);
  expect(await outcome(sent('third', socket))).toBe('k1');
  keys.delete('third');
  auth.forget();
  expect(await outcome(sent('third', socket))).toBe('unauthorized');
});

test('a flood of wrong keys asks each once a second and does not push out the right one', async () => {
  await outcome(sent('right'));
  for (let at = 0; at < 10_500; at += 1) await outcome(sent(`wrong-${at}`));
  asked = 0;
  expect(await outcome(sent('right'))).toBe('k1');
  expect(await outcome(sent('wrong-10499'))).toBe('unauthorized');
  expect(asked).toBe(0);
});

test("an error of the database is nobody's answer: the next request asks again", async () => {
  const failing = keys.get.bind(keys);
  keys.get = () => {
    throw new Error('away');
  };
  await expect(auth.key(sent('right'), 'events:write')).rejects.toThrow('away');
  keys.get = failing;
  expect(await outcome(sent('right'))).toBe('k1');
});

test('a user token is remembered on its connection, until it expires', async () => {
  const socket = new Socket();
  expect(await auth.user(sent('ada-token', socket))).toMatchObject({ userId: 'ada' });
  expect(auth.user(sent('ada-token', socket))).toMatchObject({ userId: 'ada' });
  expect(asked).toBe(1);
  users.clear();
  monotonicMs = 2_000;
  await expect(auth.user(sent('ada-token', socket))).rejects.toMatchObject({ code: 'unauthorized' });
});

test('uses are counted and written together, each key once', async () => {
  keys.set('other', { ...KEY, keyId: 'k2' });
  const socket = new Socket();
  await Promise.all([outcome(sent('right')), outcome(sent('other')), outcome(sent('right', socket))]);
  auth.accepted(await auth.key(sent('right', socket), 'events:write'), 7);
  expect(await outcome(sent('wrong'))).toBe('unauthorized');
  await auth.close();
  expect(touched[0]?.toSorted((a, b) => a.keyId.localeCompare(b.keyId))).toEqual([
    { tenantId: 'acme', keyId: 'k1', requests: 3, events: 7 },
    { tenantId: 'acme', keyId: 'k2', requests: 1, events: 0 },
  ]);

  await auth.close();
  expect(touched).toHaveLength(1);
  auth.forget(); // the same key, looked up anew
  await outcome(sent('right'));
  await auth.close();
  expect(touched[1]).toEqual([{ tenantId: 'acme', keyId: 'k1', requests: 1, events: 0 }]);
});

test('uses that could not be written are counted with the next ones', async () => {
  await outcome(sent('right'));
  refusesTouch = true;
  await auth.close();
  refusesTouch = false;
  await outcome(sent('right'));
  await auth.close();
  expect(touched).toEqual([[{ tenantId: 'acme', keyId: 'k1', requests: 2, events: 0 }]]);
});
