import { createHmac, generateKeyPairSync } from 'node:crypto';
import { SignJWT, type JWTPayload } from 'jose';
import { expect, test } from 'vitest';
import { MAX_TTL_S, makeUserTokens } from './user-token.ts';

const SECRETS: Record<string, Uint8Array> = { acme: Buffer.alloc(32, 1), other: Buffer.alloc(32, 2) };
const START = new Date('2026-11-21T10:00:00Z');
const START_S = START.getTime() / 1_000;
const USER = { tenantId: 'acme', userId: 'ada ü' };

function fresh() {
  const time = { ms: START.getTime(), asked: 0 };
  const tokens = makeUserTokens({
    tokenSecret: async (tenantId) => {
      time.asked++;
      return SECRETS[tenantId];
    },
    now: () => new Date(time.ms),
  });
  return { time, tokens };
}

test('a token says who, of which tenant, and until when', async () => {
  const { tokens, time } = fresh();
  const { token, expiresAt } = await tokens.mint({ ...USER, ttlSeconds: 600 });
  expect(expiresAt).toEqual(new Date(START.getTime() + 600_000));
  expect(await tokens.verify(token)).toEqual({ ...USER, expiresAt });
  time.ms += 599_000;
  expect(await tokens.verify(token)).toEqual({ ...USER, expiresAt });
  time.ms += 1_000;
  expect(await tokens.verify(token)).toBeUndefined();
});

test('a token lives a day at most, whoever signed it', async () => {
  const { tokens } = fresh();
  expect((await tokens.mint({ ...USER, ttlSeconds: 10 * MAX_TTL_S })).expiresAt).toEqual(new Date(START.getTime() + MAX_TTL_S * 1_000));
  expect(await tokens.verify(await signed({ exp: START_S + MAX_TTL_S + 1 }))).toBeUndefined();
  expect(await tokens.verify(await signed({ exp: START_S + MAX_TTL_S }))).toBeDefined();
});

test('what was verified is not looked at again for a minute', async () => {
  const { tokens, time } = fresh();
  const { token } = await tokens.mint({ ...USER, ttlSeconds: 3_600 });
  time.asked = 0;
  for (let repeat = 0; repeat < 5; repeat++) await tokens.verify(token);
  expect(time.asked).toBe(1);
  time.ms += 60_000;
  await tokens.verify(token);
  expect(time.asked).toBe(2);
});

function signed(
  claims: JWTPayload,
  { key = SECRETS.acme!, alg = 'HS256' }: { key?: Parameters<SignJWT['sign']>[0]; alg?: string } = {},
): Promise<string> {
  const payload = { tenant: 'acme', sub: 'ada', aud: 'carillon:inbox', exp: START_S + 60, ...claims };
  return new SignJWT(payload).setProtectedHeader({ alg }).sign(key);
}

const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
function unsigned(header: object, signature: (input: string) => string): string {
  const input = `${base64(header)}.${base64({ tenant: 'acme', sub: 'ada', aud: 'carillon:inbox', exp: START_S + 60 })}`;
  return `${input}.${signature(input)}`;
}

const refused: [name: string, token: () => string | Promise<string>][] = [
  ['no algorithm', () => unsigned({ alg: 'none' }, () => '')],
  [
    'no algorithm, signed all the same',
    () => unsigned({ alg: 'none' }, (input) => createHmac('sha256', SECRETS.acme!).update(input).digest('base64url')),
  ],
  ['another algorithm with the right key', () => signed({}, { alg: 'HS512', key: Buffer.concat([SECRETS.acme!, SECRETS.acme!]) })],
  ['a key pair', () => signed({}, { alg: 'ES256', key: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey })],
  ["another tenant's key", () => signed({}, { key: SECRETS.other! })],
  ['a tenant that does not exist', () => signed({ tenant: 'nobody' })],
  ['a tenant that is no text', () => signed({ tenant: 7 })],
  ['another audience', () => signed({ aud: 'carillon:stream' })],
  ['no audience', () => signed({ aud: undefined })],
  ['no end', () => signed({ exp: undefined })],
  ['its end behind it', () => signed({ exp: START_S - 1 })],
  ['its start ahead', () => signed({ nbf: START_S + 30 })],
  ['no user', () => signed({ sub: undefined })],
  ['an empty user', () => signed({ sub: '' })],
  [
    'a changed byte',
    async () =>
      (await signed({}))
        .replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'))
        .replace(/\.(.)/, (_all, first: string) => `.${first === 'e' ? 'f' : 'e'}`),
  ],
  ['nothing', () => ''],
  ['dots', () => '..'],
  ['more than anyone needs', () => 'x'.repeat(100_000)],
];
test.each(refused)('refused: %s', async (_name, token) => {
  const { tokens } = fresh();
  const text = await token();
  expect(await tokens.verify(text)).toBeUndefined();
  expect(await tokens.verifyTicket(text)).toBeUndefined();
});

test('a ticket opens a stream that ends with the token, and is no token itself', async () => {
  const { tokens, time } = fresh();
  const { token, expiresAt } = await tokens.mint({ ...USER, ttlSeconds: 3_600 });
  const { ticket, expiresAt: goodUntil } = await tokens.mintTicket({ ...USER, expiresAt });
  expect(goodUntil).toEqual(new Date(START.getTime() + 60_000));
  expect(await tokens.verifyTicket(ticket)).toEqual({ ...USER, expiresAt, id: expect.stringMatching(/^[0-9a-f-]{36}$/) });
  expect(await tokens.verify(ticket)).toBeUndefined();
  expect(await tokens.verifyTicket(token)).toBeUndefined();
  time.ms += 60_000;
  expect(await tokens.verifyTicket(ticket)).toBeUndefined();
});

test('a token for a tenant without a secret is not made', async () => {
  await expect(fresh().tokens.mint({ tenantId: 'nobody', userId: 'ada', ttlSeconds: 60 })).rejects.toThrow(/secret/);
});
