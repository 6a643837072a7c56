/** Cloudflare Access in front. */
import { optional, text } from './lib/setting.ts';

const isHttpUrl = (value: string): boolean => URL.canParse(value) && /^https?:$/.test(new URL(value).protocol);

export const ACCESS_SETTINGS = [
  optional(
    'access.keys_url',
    text('a http or https URL', isHttpUrl),
    'Where Cloudflare Access publishes its keys: `https://<team>.cloudflareaccess.com/cdn-cgi/access/certs`. Its service tokens are then let in as the API keys that name their client.',
    { requires: ['access.issuer', 'access.audience'] },
  ),
  optional('access.issuer', text('a http or https URL', isHttpUrl), 'Who signs: `https://<team>.cloudflareaccess.com`.', {
    requires: ['access.keys_url', 'access.audience'],
  }),
  optional('access.audience', text("an application's AUD tag"), 'The tag of the Access application in front of this installation.', {
    requires: ['access.keys_url', 'access.issuer'],
  }),
] as const;
