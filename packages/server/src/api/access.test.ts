import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import { beforeEach, expect, test } from 'vitest';
import { makeAccess, type ReadAssertion } from './access.ts';

const ISSUER = 'https://team.example';
const MINUTE_MS = 60_000;

interface Pair {
  readonly key: CryptoKey;
  readonly jwk: JWK;
}

let served: JWK[];
let fetches: number;
let answer: { status: number; body?: string } | 'away';
let nowMs: number;
let read: ReadAssertion;

beforeEach(() => {
  served = [];
  fetches = 0;
  answer = { status: 200 };
  nowMs = Date.parse('2030-01-01T00:00:00Z');
  read = makeAccess({
    keysUrl: 'https://team.example/certs',
    issuer: ISSUER,
    audience: 'app',
    cooldownMs: 0,
    now: () => new Date(nowMs),
    log: () => undefined,
    fetch: async () => {
      fetches++;
      if (answer === 'away') throw new Error('away');
      return { status: answer.status, body: answer.body ?? JSON.stringify({ keys: served }) };
    },
  });
});

async function pair(kid: string): Promise<Pair> {
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
  return { key: privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' } };
}

function sign({ key, jwk }: Pair, client = 'one.access'): Promise<string> {
  const payload = { type: 'app', iss: ISSUER, aud: ['app'], exp: nowMs / 1_000 + 600, common_name: client, sub: '' };
  return new SignJWT(payload).setProtectedHeader({ alg: 'RS256', kid: jwk.kid! }).sign(key);
}

test('a rotated key is fetched when it is first seen, and the old one is good until it leaves the set', async () => {
  const [old, fresh] = [await pair('old'), await pair('fresh')];
  served = [old.jwk];
  expect(await read(await sign(old))).toBe('one.access');
  served = [fresh.jwk, old.jwk];
  expect(await read(await sign(fresh))).toBe('one.access');
  expect(fetches).toBe(2);
  expect(await read(await sign(old, 'two.access'))).toBe('two.access');
  expect(fetches).toBe(2);
  served = [fresh.jwk];
  expect(await read(await sign(await pair('never')))).toBeUndefined();
  expect(await read(await sign(old, 'three.access'))).toBeUndefined();
});

test('an assertion that was verified is remembered for a minute, and never beyond its end', async () => {
  const one = await pair('one');
  served = [one.jwk];
  const assertion = await sign(one);
  expect(await read(assertion)).toBe('one.access');
  served = [];
  nowMs += MINUTE_MS - 1;
  expect(await read(assertion)).toBe('one.access');
  nowMs += 10 * MINUTE_MS;
  expect(await read(assertion)).toBeUndefined();
});

test('without keys nobody is refused for good: the answer is 503', async () => {
  const one = await pair('one');
  for (answer of ['away' as const, { status: 500 }, { status: 200, body: 'no set' }, { status: 200, body: '{"keys":1}' }])
    await expect(read(await sign(one))).rejects.toMatchObject({ code: 'unavailable' });
  answer = { status: 200 };
  served = [one.jwk];
  expect(await read(await sign(one))).toBe('one.access');
});
