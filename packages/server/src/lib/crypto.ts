/** Secrets at rest, derived signing keys, and API keys. All of it is node:crypto. */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';

const VERSION = 1;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CIPHER = 'aes-256-gcm';

export interface Vault {
  /**
   * Encrypts under the current key. `context` says what the secret is for and whose it is
   * (`tenant:acme:webhook_key`); opening with another one fails, so that rows can't be swapped.
   */
  readonly seal: (plain: Uint8Array, context: string) => Uint8Array;
  /** Throws when the key is unknown, the bytes were changed, or `context` is not the one it was sealed with. */
  readonly open: (sealed: Uint8Array, context: string) => Buffer;
  /** What begins everything that is sealed under the current key. */
  readonly head: Uint8Array;
}

/**
 * Layout: version (1 byte), length of the key id (1), key id (UTF-8), nonce (12), tag (16), ciphertext (NIST SP 800-38D).
 * Nonces are random: one key is good for some 2^32 secrets, which no installation reaches.
 */
export function makeVault({ keys, current }: { keys: ReadonlyMap<string, Buffer>; current: string }): Vault {
  for (const [id, key] of keys) checkKey(id, key);
  const currentKey = keys.get(current);
  if (currentKey === undefined) throw new Error(`encryption key ${current} is not among the keys given`);
  const head = headOf(current);

  function seal(plain: Uint8Array, context: string): Uint8Array {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, currentKey as Buffer, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(Buffer.concat([head, Buffer.from(context)]));
    const body = Buffer.concat([cipher.update(plain), cipher.final()]);
    return Buffer.concat([head, nonce, cipher.getAuthTag(), body]);
  }

  function open(sealed: Uint8Array, context: string): Buffer {
    const { keyId, headLength } = readHead(sealed);
    const key = keys.get(keyId);
    if (key === undefined) throw new Error(`sealed under encryption key ${keyId}, which is not configured`);
    const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
    const tagAt = headLength + NONCE_BYTES;
    const bodyAt = tagAt + TAG_BYTES;
    const decipher = createDecipheriv(CIPHER, key, bytes.subarray(headLength, tagAt), { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.concat([bytes.subarray(0, headLength), Buffer.from(context)]));
    decipher.setAuthTag(bytes.subarray(tagAt, bodyAt));
    return Buffer.concat([decipher.update(bytes.subarray(bodyAt)), decipher.final()]);
  }

  return { seal, open, head };
}

function checkKey(id: string, key: Buffer): void {
  const length = Buffer.byteLength(id);
  if (length === 0 || length > 255) throw new Error('the id of an encryption key has 1 to 255 bytes');
  if (key.length !== KEY_BYTES) throw new Error(`encryption key ${id} has ${key.length} bytes instead of ${KEY_BYTES}`);
}

function headOf(keyId: string): Buffer {
  const id = Buffer.from(keyId);
  return Buffer.concat([Buffer.of(VERSION, id.length), id]);
}

function readHead(sealed: Uint8Array): { keyId: string; headLength: number } {
  const [version, idLength] = sealed;
  if (version !== VERSION || idLength === undefined) throw new Error('not a sealed secret, or one of a newer version');
  const headLength = 2 + idLength;
  if (sealed.length < headLength + NONCE_BYTES + TAG_BYTES) throw new Error('the sealed secret is cut short');
  return { keyId: Buffer.from(sealed.subarray(2, headLength)).toString(), headLength };
}

/**
 * HKDF-SHA256 (RFC 5869), 32 bytes: the signing secret of one user's webhook. Users of one tenant
 * get different ones, because with a shared secret recipients could forge for each other. `number` counts rotations.
 */
export function deriveWebhookSecret(tenantKey: Uint8Array, userId: string, number = 0): Buffer {
  const whose = number === 0 ? userId : `${userId}\0${number}`; // no id contains NUL
  return Buffer.from(hkdfSync('sha256', tenantKey, '', `carillon/webhook-secret/v1/${whose}`, 32));
}

/** HMAC-SHA256 under the pepper, which is not in the database: a stolen table does not give keys away. */
export function hashApiKey(pepper: Uint8Array, key: string): Buffer {
  return createHmac('sha256', pepper).update(key).digest();
}

export type ApiKeyKind = 'live' | 'test';

const SECRET_BYTES = 24;
const SECRET_CHARS = 33; // 24 bytes in base 62
const CHECK_CHARS = 6; // a CRC-32 in base 62
const API_KEY = /^(cn_(?:live|test)_[0-9A-Za-z]{33})_([0-9A-Za-z]{6})$/;

/** `cn_live_<33 characters>_<checksum>`. The checksum lets scanners and typing errors be told without the database. */
export function newApiKey(kind: ApiKeyKind, random: (bytes: number) => Buffer): string {
  const secret = base62(BigInt(`0x${random(SECRET_BYTES).toString('hex')}`), SECRET_CHARS);
  const stem = `cn_${kind}_${secret}`;
  return `${stem}_${checksum(stem)}`;
}

/** False for anything that `newApiKey` can't have made. Says nothing about whether the key exists. */
export function checksumValid(key: string): boolean {
  const [, stem, check] = API_KEY.exec(key) ?? [];
  return stem !== undefined && check === checksum(stem);
}

/** Takes as long for the first differing byte as for the last. Lengths are not secret. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function checksum(stem: string): string {
  return base62(BigInt(crc32(stem)), CHECK_CHARS);
}

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

function base62(value: bigint, width: number): string {
  let text = '';
  for (let rest = value; rest > 0n; rest /= 62n) text = DIGITS.charAt(Number(rest % 62n)) + text;
  return text.padStart(width, '0');
}
