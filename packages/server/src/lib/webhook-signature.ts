/**
 * Signatures of webhooks: Standard Webhooks 1.0, symmetric (v1) and asymmetric (v1a), and the plain HMAC of the body that
 * older receivers expect in a header of their own.
 */
import { createHmac, createPrivateKey, createPublicKey, createSecretKey, sign, type KeyObject } from 'node:crypto';

export const SCHEMES = ['v1', 'v1a'] as const;
export type Scheme = (typeof SCHEMES)[number];

interface Signed {
  readonly id: string;
  /** Seconds. */
  readonly timestamp: string;
  readonly body: string;
}

/** The value of `webhook-signature`: one for each secret, the newest first, and scheme. Secrets are raw keys. */
export function signWebhook(secrets: readonly Uint8Array[], schemes: readonly Scheme[], { id, timestamp, body }: Signed): string {
  const content = `${id}.${timestamp}.${body}`;
  const [secret, ...more] = secrets;
  const [scheme, ...others] = schemes;
  if (secret && scheme && more.length + others.length === 0) return SIGN[scheme](keysOf(secret), content); // nearly always
  return secrets.flatMap((one) => schemes.map((kind) => SIGN[kind](keysOf(one), content))).join(' ');
}

/** The value of a header of the operator's choice: HMAC-SHA256 of the body, in hex. */
export function signBody(secrets: readonly Uint8Array[], body: string): string {
  return secrets.map((secret) => createHmac('sha256', keysOf(secret).symmetric).update(body).digest('hex')).join(', ');
}

/** For receivers who verify v1a: whoever knows it can't sign. */
export function publicKeyOf(secret: Uint8Array): string {
  const { x = '' } = createPublicKey(privateKeyOf(secret)).export({ format: 'jwk' });
  return `whpk_${Buffer.from(x, 'base64url').toString('base64')}`;
}

/** A Hmac from raw bytes spends five times as long on wrapping the key as on the signature. */
interface Keys {
  readonly symmetric: KeyObject;
  asymmetric: KeyObject | undefined;
  readonly secret: Uint8Array;
}

const known = new WeakMap<Uint8Array, Keys>();

function keysOf(secret: Uint8Array): Keys {
  let keys = known.get(secret);
  if (!keys) known.set(secret, (keys = { symmetric: createSecretKey(secret), asymmetric: undefined, secret }));
  return keys;
}

const SIGN: Readonly<Record<Scheme, (keys: Keys, content: string) => string>> = {
  v1: ({ symmetric }, content) => `v1,${createHmac('sha256', symmetric).update(content).digest('base64')}`,
  v1a: (keys, content) => {
    keys.asymmetric ??= privateKeyOf(keys.secret);
    return `v1a,${sign(null, Buffer.from(content), keys.asymmetric).toString('base64')}`;
  },
};

/** PKCS #8 around an Ed25519 seed (RFC 8410, 10.3). */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** The seed is a hash of the secret: one secret gives both keys, and who knows the public one knows neither. */
function privateKeyOf(secret: Uint8Array): KeyObject {
  const seed = createHmac('sha256', secret).update('carillon/webhook-ed25519/v1').digest();
  return createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: 'der', type: 'pkcs8' });
}
