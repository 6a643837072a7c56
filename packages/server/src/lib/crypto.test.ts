import { createHmac, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { checksumValid, deriveWebhookSecret, hashApiKey, makeVault, newApiKey, sameBytes } from './crypto.ts';

const old = randomBytes(32);
const young = randomBytes(32);
const plain = Buffer.from('the signing key of a tenant');
const before = makeVault({ keys: new Map([['2025', old]]), current: '2025' });
const after = makeVault({
  keys: new Map([
    ['2025', old],
    ['2026', young],
  ]),
  current: '2026',
});

test('what was sealed opens again, also after the current key has changed', () => {
  const sealed = before.seal(plain, 'tenant:a');
  expect(before.open(sealed, 'tenant:a')).toEqual(plain);
  expect(after.open(sealed, 'tenant:a')).toEqual(plain);
  expect(() => before.open(after.seal(plain, 'tenant:a'), 'tenant:a')).toThrow(/2026, which is not configured/);
});

test('an empty secret and a view into a larger buffer survive', () => {
  expect(before.open(before.seal(Buffer.alloc(0), 'c'), 'c')).toHaveLength(0);
  const sealed = Buffer.from(before.seal(plain, 'c'));
  const embedded = Buffer.concat([Buffer.from('before'), sealed, Buffer.from('after')]).subarray(6, 6 + sealed.length);
  expect(before.open(embedded, 'c')).toEqual(plain);
});

test('neither the same text nor the plain text is ever seen twice', () => {
  const sealed = Buffer.from(before.seal(plain, 'c'));
  expect(sealed.equals(before.seal(plain, 'c'))).toBe(false);
  expect(sealed.includes(plain)).toBe(false);
});

test('another context does not open it', () => {
  expect(() => before.open(before.seal(plain, 'tenant:a'), 'tenant:b')).toThrow();
});

test('a change of any byte, or a cut anywhere, is refused', () => {
  const sealed = before.seal(plain, 'tenant:a');
  for (let at = 0; at < sealed.length; at += 1) {
    const changed = Uint8Array.from(sealed);
    changed[at] = (changed[at] as number) ^ 1;
    expect(() => before.open(changed, 'tenant:a'), `byte ${at}`).toThrow();
    expect(() => before.open(sealed.subarray(0, at), 'tenant:a'), `cut at ${at}`).toThrow();
  }
});

test('the key id is covered too: renaming it to a known key does not help', () => {
  const twins = makeVault({
    keys: new Map([
      ['k1', old],
      ['k2', old],
    ]),
    current: 'k1',
  });
  const sealed = Buffer.from(twins.seal(plain, 'c'));
  sealed.write('k2', 2);
  expect(() => twins.open(sealed, 'c')).toThrow();
});

test('a vault with a short key, an empty id or no current key is not made', () => {
  expect(() => makeVault({ keys: new Map([['a', randomBytes(16)]]), current: 'a' })).toThrow(/16 bytes/);
  expect(() => makeVault({ keys: new Map([['', old]]), current: '' })).toThrow(/1 to 255/);
  expect(() => makeVault({ keys: new Map([['a', old]]), current: 'b' })).toThrow(/not among/);
});

test('webhook secrets are HKDF-SHA256, stable, and differ by tenant and by user', () => {
  const one = deriveWebhookSecret(old, 'ada');
  // RFC 5869 by hand: extract with an empty salt, expand one block.
  const extracted = createHmac('sha256', Buffer.alloc(32)).update(old).digest();
  const expanded = createHmac('sha256', extracted)
    .update(Buffer.concat([Buffer.from('carillon/webhook-secret/v1/ada'), Buffer.of(1)]))
    .digest();
  expect(one).toEqual(expanded);
  expect(one.equals(deriveWebhookSecret(old, 'ada2'))).toBe(false);
  expect(one.equals(deriveWebhookSecret(young, 'ada'))).toBe(false);
});

test('API keys have their shape, their kind and a valid checksum', () => {
  const pattern = /^cn_(live|test)_[0-9A-Za-z]{33}_[0-9A-Za-z]{6}$/;
  for (const kind of ['live', 'test'] as const) {
    for (const random of [randomBytes, (n: number) => Buffer.alloc(n), (n: number) => Buffer.alloc(n, 255)]) {
      const key = newApiKey(kind, random);
      expect(key).toMatch(pattern);
      expect(key.startsWith(`cn_${kind}_`)).toBe(true);
      expect(checksumValid(key)).toBe(true);
    }
  }
});

test('one wrong character anywhere makes the checksum wrong', () => {
  const key = newApiKey('live', randomBytes);
  for (let at = 0; at < key.length; at += 1) {
    const other = key[at] === 'x' ? 'y' : 'x';
    expect(checksumValid(key.slice(0, at) + other + key.slice(at + 1)), `character ${at}`).toBe(false);
  }
  for (const text of ['', 'cn_live_', `${key} `, `${key}\n`, key.toUpperCase()]) expect(checksumValid(text)).toBe(false);
});

test('a key hash depends on the pepper', () => {
  expect(hashApiKey(old, 'k')).toHaveLength(32);
  expect(hashApiKey(old, 'k').equals(hashApiKey(young, 'k'))).toBe(false);
  expect(hashApiKey(old, 'k').equals(hashApiKey(old, 'k'))).toBe(true);
});

test('sameBytes', () => {
  expect(sameBytes(Buffer.from('abc'), Buffer.from('abc'))).toBe(true);
  expect(sameBytes(Buffer.from('abc'), Buffer.from('abd'))).toBe(false);
  expect(sameBytes(Buffer.from('abc'), Buffer.from('ab'))).toBe(false);
  expect(sameBytes(Buffer.alloc(0), Buffer.alloc(0))).toBe(true);
});
