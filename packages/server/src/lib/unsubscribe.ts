/**
 * What a mail's unsubscribe link carries: who no longer wants what, signed. It does not expire, because mails do not, and
 * needs nothing of the database, because deliveries are dropped before mails are.
 */
import { createHmac, hkdfSync } from 'node:crypto';
import { sameBytes } from './crypto.ts';

export interface OptOut {
  readonly tenantId: string;
  readonly channel: string;
  /** A user, whose preference it is; or an address that is nobody's: an account's own mailbox. */
  readonly of: { readonly user: string } | { readonly address: string };
}

export interface UnsubscribeTokens {
  readonly make: (optOut: OptOut) => string;
  /** Undefined for whatever was not made here, without saying why. */
  readonly read: (token: string) => OptOut | undefined;
}

/** Of 256 bytes of tenant and user each, with their signature: no longer than a path's parameter and a mail's line can be. */
const TOKEN = /^([\w-]{4,740})\.([\w-]{43})$/;
/** No id holds one. */
const SEPARATOR = '\0';

export function makeUnsubscribeTokens(secret: Uint8Array): UnsubscribeTokens {
  const key = Buffer.from(hkdfSync('sha256', secret, '', 'carillon/unsubscribe/v1', 32));
  const signatureOf = (payload: string) => createHmac('sha256', key).update(payload).digest();
  return {
    make: ({ tenantId, channel, of }) => {
      const subject = 'user' in of ? ['u', of.user] : ['a', of.address];
      const payload = Buffer.from([tenantId, channel, ...subject].join(SEPARATOR)).toString('base64url');
      return `${payload}.${signatureOf(payload).toString('base64url')}`;
    },
    read: (token) => {
      const [, payload, signature] = TOKEN.exec(token) ?? [];
      if (payload === undefined || signature === undefined) return undefined;
      if (!sameBytes(Buffer.from(signature, 'base64url'), signatureOf(payload))) return undefined;
      const [tenantId = '', channel = '', kind, subject = ''] = Buffer.from(payload, 'base64url').toString().split(SEPARATOR);
      return { tenantId, channel, of: kind === 'u' ? { user: subject } : { address: subject } };
    },
  };
}
