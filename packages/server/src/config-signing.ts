/** How webhooks are signed. */
import { SCHEMES } from './lib/webhook-signature.ts';
import { checkHeaders } from './lib/egress-url.ts';
import { choice, duration, list, optional, setting, text } from './lib/setting.ts';

export const SIGNING_SETTINGS = [
  setting('webhook.signatures', list(choice(...SCHEMES), { min: 1, max: SCHEMES.length }), [
    ['v1'],
    'Signatures in `webhook-signature`: v1 is an HMAC under the shared secret, v1a an Ed25519 signature for receivers that hold a public key only. v1a costs the sender many times as much.',
  ]),
  setting('webhook.rotation_overlap', duration('0s', '30d'), [
    86_400_000,
    'How long the secret before still signs after one was rotated, unless the request says otherwise.',
  ]),
  optional(
    'webhook.secret_header',
    text('a header name such as X-Trevor-Signature', (name) => checkHeaders({ [name]: '' }) === undefined),
    'A header with the HMAC-SHA256 of the raw body in hex, besides `webhook-signature`. While a secret rotates it holds two, the newer first, with a comma between.',
  ),
  optional(
    'webhook.secret',
    text('16 characters or more', (value) => value.length >= 16),
    "What webhook.secret_header is signed with. Without it: each recipient's own secret. With it all recipients share one, and can forge for each other.",
    { secret: true, requires: ['webhook.secret_header'] },
  ),
] as const;

interface Signing {
  readonly 'webhook.headers': Readonly<Record<string, string>>;
  readonly 'webhook.secret_header': string | undefined;
}

export function signingProblems({ 'webhook.headers': headers, 'webhook.secret_header': header }: Signing): string[] {
  const twice = header !== undefined && Object.keys(headers).some((name) => name.toLowerCase() === header.toLowerCase());
  return twice ? ['webhook.secret_header is also in webhook.headers: remove it there'] : [];
}
