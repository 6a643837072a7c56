/**
 * Cloudflare Access as a way in: the proxy in front says who is calling in a JWT of its own, `Cf-Access-Jwt-Assertion`. For a
 * service token the claim `common_name` is its client id, and `sub` is empty; people have no client id and don't come in here.
 */
import { createRemoteJWKSet, customFetch, errors, jwtVerify, type JWTPayload } from 'jose';
import { CarillonError } from '../domain/error.ts';
import { makeLru } from '../lib/lru.ts';

export interface AccessDeps {
  /** `https://<team>.cloudflareaccess.com/cdn-cgi/access/certs`. */
  readonly keysUrl: string;
  /** `https://<team>.cloudflareaccess.com`. */
  readonly issuer: string;
  /** The tag of the application (AUD). */
  readonly audience: string;
  readonly fetch: (url: string, signal: AbortSignal) => Promise<{ readonly status: number; readonly body: string }>;
  readonly now: () => Date;
  /** Between two fetches for a key that is not in the set, in milliseconds. */
  readonly cooldownMs?: number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

/** The client's id; undefined for whatever is not a valid assertion of a service token. Rejects with `unavailable` without keys. */
export type ReadAssertion = (assertion: string) => Promise<string | undefined>;

/** What Access signs with. Another one, `none` included, is refused whatever the token says. */
const ALGORITHM = 'RS256';
const COOLDOWN_MS = 30_000;
/** Access keeps a key for 7 days after its rotation. */
const KEYS_AGE_MS = 600_000;
/** So long a verified assertion is not looked at again. */
const REMEMBER_MS = 60_000;
const MAX_REMEMBERED = 10_000;
const MAX_LENGTH = 16_384;
const CLIENT_ID = /^[\x21-\x7e]{1,256}$/;
/** The set could not be had, or is none: that says nothing of the assertion. */
const NO_KEYS: ReadonlySet<string> = new Set(['ERR_JOSE_GENERIC', 'ERR_JWKS_TIMEOUT', 'ERR_JWKS_INVALID']);

export function makeAccess({ keysUrl, issuer, audience, fetch, now, cooldownMs = COOLDOWN_MS, log }: AccessDeps): ReadAssertion {
  const remembered = makeLru<{ clientId: string; untilMs: number }>(MAX_REMEMBERED);
  const keys = createRemoteJWKSet(new URL(keysUrl), {
    cooldownDuration: cooldownMs,
    cacheMaxAge: KEYS_AGE_MS,
    [customFetch]: async (url, { signal }) => {
      const { status, body } = await fetch(url, signal);
      return new Response(body, { status });
    },
  });

  async function payloadOf(assertion: string): Promise<JWTPayload | undefined> {
    try {
      const options = { algorithms: [ALGORITHM], issuer, audience, currentDate: now(), requiredClaims: ['exp'] };
      return (await jwtVerify(assertion, keys, options)).payload;
    } catch (error) {
      if (error instanceof errors.JOSEError && !NO_KEYS.has(error.code)) return undefined; // any reason is the same answer
      log('access.keys-unavailable', { error });
      throw new CarillonError('unavailable', 'The keys of the proxy in front can not be had at the moment.', {
        retryAfterS: 5,
        cause: error,
      });
    }
  }

  return async (assertion) => {
    const nowMs = now().getTime();
    const known = remembered.get(assertion);
    if (known && known.untilMs > nowMs) return known.clientId;
    const payload = assertion.length > MAX_LENGTH ? undefined : await payloadOf(assertion);
    const clientId = payload && clientOf(payload);
    if (clientId === undefined) return undefined;
    remembered.set(assertion, { clientId, untilMs: Math.min((payload?.exp ?? 0) * 1_000, nowMs + REMEMBER_MS) });
    return clientId;
  };
}

function clientOf({ type, sub = '', common_name: clientId }: JWTPayload): string | undefined {
  return type === 'app' && sub === '' && typeof clientId === 'string' && CLIENT_ID.test(clientId) ? clientId : undefined;
}
