/**
 * What an end user's browser carries: a JWT (RFC 7519) signed with the tenant's own secret, and a ticket for a stream,
 * for readers that can't send a header. One algorithm, whatever the token says about itself.
 */
import { randomUUID } from 'node:crypto';
import type { JWTPayload } from 'jose';
import { makeLru } from '../lib/lru.ts';
import type { UserCaller } from './auth.ts';

export interface UserTokenDeps {
  /** Raw signing key; undefined for a tenant that does not exist. Called for every new token: remember the answers. */
  readonly tokenSecret: (tenantId: string) => Promise<Uint8Array | undefined>;
  readonly now: () => Date;
}

/** `id`: the ticket is good once. */
export interface Ticket extends UserCaller {
  readonly id: string;
}

export interface UserTokens {
  /** Throws when the tenant does not exist. */
  readonly mint: (user: { tenantId: string; userId: string; ttlSeconds: number }) => Promise<{ token: string; expiresAt: Date }>;
  /** Undefined for whatever is not a valid token, without saying why. */
  readonly verify: (token: string) => Promise<UserCaller | undefined>;
  /** The stream it opens ends with the token that asked for it. */
  readonly mintTicket: (user: UserCaller) => Promise<{ ticket: string; expiresAt: Date }>;
  /** Says nothing about whether it was used: the database knows. */
  readonly verifyTicket: (ticket: string) => Promise<Ticket | undefined>;
}

export const DEFAULT_TTL_S = 3_600;
export const MAX_TTL_S = 86_400;
export const TICKET_TTL_S = 60;

/** Loaded with the first token. */
const jose = () => import('jose');

const ALGORITHM = 'HS256';
const TOKEN = 'carillon:inbox';
const TICKET = 'carillon:stream';
const MAX_LENGTH = 2_048;
const MAX_REMEMBERED = 10_000;
/** So long a verified token is not looked at again. */
const REMEMBER_MS = 60_000;

interface Signed {
  readonly payload: JWTPayload & { readonly exp: number; readonly sub: string };
  readonly user: UserCaller;
}

export function makeUserTokens({ tokenSecret, now }: UserTokenDeps): UserTokens {
  const remembered = makeLru<{ user: UserCaller; untilMs: number }>(MAX_REMEMBERED);

  async function sign(
    audience: string,
    { tenantId, userId }: { tenantId: string; userId: string },
    ttlSeconds: number,
    claims: JWTPayload = {},
  ) {
    const secret = await tokenSecret(tenantId);
    if (!secret) throw new Error('this tenant has no secret to sign with');
    const iat = Math.floor(now().getTime() / 1_000);
    const exp = iat + ttlSeconds;
    const payload = { ...claims, tenant: tenantId, sub: userId, aud: audience, iat, exp };
    const { SignJWT } = await jose();
    const token = await new SignJWT(payload).setProtectedHeader({ alg: ALGORITHM, typ: 'JWT' }).sign(secret);
    return { token, expiresAt: new Date(exp * 1_000) };
  }

  async function open(token: string, audience: string): Promise<Signed | undefined> {
    if (token.length > MAX_LENGTH) return undefined;
    const tenantId = await tenantOf(token);
    const secret = tenantId === undefined ? undefined : await tokenSecret(tenantId);
    if (tenantId === undefined || !secret) return undefined;
    const payload = await checked(token, secret, { audience, at: now() });
    if (!payload) return undefined;
    return { payload, user: { tenantId, userId: payload.sub, expiresAt: new Date(payload.exp * 1_000) } };
  }

  return {
    mint: ({ ttlSeconds, ...user }) => sign(TOKEN, user, Math.min(ttlSeconds, MAX_TTL_S)),

    verify: async (token) => {
      const nowMs = now().getTime();
      const known = remembered.get(token);
      if (known && known.untilMs > nowMs) return known.user;
      const user = (await open(token, TOKEN))?.user;
      if (user) remembered.set(token, { user, untilMs: Math.min(user.expiresAt.getTime(), nowMs + REMEMBER_MS) });
      return user;
    },

    mintTicket: async (user) => {
      const claims = { jti: randomUUID(), until: Math.floor(user.expiresAt.getTime() / 1_000) };
      const { token, expiresAt } = await sign(TICKET, user, TICKET_TTL_S, claims);
      return { ticket: token, expiresAt };
    },

    verifyTicket: async (ticket) => {
      const signed = await open(ticket, TICKET);
      if (!signed) return undefined;
      const { jti, until } = signed.payload;
      if (jti === undefined || typeof until !== 'number') return undefined;
      return { ...signed.user, id: jti, expiresAt: new Date(until * 1_000) };
    },
  };
}

/** Who it says it is from: only to find the secret that then proves it. */
async function tenantOf(token: string): Promise<string | undefined> {
  const { decodeJwt } = await jose();
  try {
    const { tenant } = decodeJwt(token);
    return typeof tenant === 'string' ? tenant : undefined;
  } catch {
    return undefined;
  }
}

async function checked(
  token: string,
  secret: Uint8Array,
  { audience, at }: { audience: string; at: Date },
): Promise<Signed['payload'] | undefined> {
  const { jwtVerify } = await jose();
  try {
    const { payload } = await jwtVerify(token, secret, {
      algorithms: [ALGORITHM],
      audience,
      currentDate: at,
      requiredClaims: ['exp', 'sub'],
    });
    const { exp, sub } = payload;
    if (exp === undefined || sub === undefined || sub === '' || exp - at.getTime() / 1_000 > MAX_TTL_S) return undefined;
    return { ...payload, exp, sub };
  } catch {
    return undefined; // any reason is the same answer
  }
}
