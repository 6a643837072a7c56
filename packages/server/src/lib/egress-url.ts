/** What a URL and its headers must look like to be saved or called. DNS is not asked here. */
import { isIPv4 } from 'node:net';
import { type AddressPolicy, type AddressRules, addressRefusal, addressRules } from './address.ts';

export type UrlVerdict = { readonly ok: true; readonly url: URL } | { readonly ok: false; readonly reason: string };

const MAX_URL_CHARS = 2048;
const MAX_NAME_CHARS = 253;

/** Checks syntax, address literals and names: everything that can be said when a URL is saved. Throws on a bad range in `policy`. */
export function checkUrl(text: string, policy: AddressPolicy): UrlVerdict {
  return judgeUrl(text, addressRules(policy));
}

/** `checkUrl` with rules that were read once. */
export function judgeUrl(text: string, rules: AddressRules): UrlVerdict {
  const authority = authorityOf(text);
  if (!authority.ok) return authority;
  const url = URL.parse(text);
  if (url === null) return refuse('it is not a valid URL');
  if (url.port === '0') return refuse('port 0 is not allowed');
  const reason = hostRefusal(url.hostname, authority.text, rules);
  return reason === undefined ? { ok: true, url } : refuse(reason);
}

type Refused = { readonly ok: false; readonly reason: string };

/** Looks at the text itself: URL parsers drop tabs, turn backslashes into slashes and forgive missing ones. */
function authorityOf(text: string): { readonly ok: true; readonly text: string } | Refused {
  if (text.length > MAX_URL_CHARS) return refuse(`it is longer than ${MAX_URL_CHARS} characters`);
  if (/[\p{Cc}\p{Cf}\p{Cs}\s\\]/u.test(text)) return refuse('it contains a space, a backslash or a control character');
  const [, authority] = /^https?:\/\/([^/?#]+)/i.exec(text) ?? [];
  if (authority === undefined) return refuse('it does not begin with http:// or https:// and a host');
  if (authority.includes('@')) return refuse('user information is not allowed');
  return { ok: true, text: authority };
}

function hostRefusal(host: string, authority: string, rules: AddressRules): string | undefined {
  if (host.startsWith('[')) return literalRefusal(host.slice(1, -1), rules);
  if (!isIPv4(host)) return nameRefusal(host, rules);
  const spelled = authority.replace(/:\d*$/, '');
  return literalRefusal(host, rules) ?? (spelled === host ? undefined : 'the IPv4 address is not spelled as four decimal numbers');
}

function literalRefusal(address: string, rules: AddressRules): string | undefined {
  const reason = addressRefusal(address, rules);
  return reason && `the host is ${reason}`;
}

/** Names that mean a machine or network of one's own (RFC 6761, RFC 6762, RFC 8375, RFC 7686, and what clusters use). */
const OWN_DOMAINS = new Set(['localhost', 'localdomain', 'internal', 'local', 'lan', 'svc', 'test', 'invalid', 'onion']);
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

function nameRefusal(host: string, rules: AddressRules): string | undefined {
  if (host === 'localhost' && rules.allowLoopback) return undefined;
  if (host.endsWith('.')) return 'the host ends with a dot';
  if (host.length > MAX_NAME_CHARS) return `the host is longer than ${MAX_NAME_CHARS} characters`;
  const labels = host.split('.');
  if (!labels.every((label) => LABEL.test(label))) return 'the host is not a valid name';
  if (isOwn(labels)) return 'the host is a name of a local network';
  return labels.length < 2 ? 'the host is a name without a dot' : undefined;
}

function isOwn(labels: readonly string[]): boolean {
  return labels.slice(-2).join('.') === 'home.arpa' || labels.slice(-1).some((last) => OWN_DOMAINS.has(last));
}

function refuse(reason: string): Refused {
  return { ok: false, reason };
}

/** Ours to set, or about one hop only: a caller's value would contradict what is sent. */
const RESERVED_HEADERS = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'cookie',
  'keep-alive',
  'upgrade',
  'expect',
  'te',
  'trailer',
]);
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const MAX_VALUE_CHARS = 4096;

/** Why these custom headers can't be used, or undefined. The reason names the header and never quotes its value. */
export function checkHeaders(headers: Readonly<Record<string, string>>): string | undefined {
  const seen = new Set<string>();
  for (const [given, value] of Object.entries(headers)) {
    const name = given.toLowerCase();
    const reason = seen.has(name) ? `the header ${name} stands there twice` : headerRefusal(name, value);
    if (reason !== undefined) return reason;
    seen.add(name);
  }
  return undefined;
}

function headerRefusal(name: string, value: string): string | undefined {
  if (!TOKEN.test(name)) return `${JSON.stringify(name)} is not a header name`;
  if (RESERVED_HEADERS.has(name) || name.startsWith('webhook-')) return `the header ${name} is set by Carillon`;
  if (!VALUE.test(value)) return `the value of the header ${name} contains a line break or another character that is not allowed`;
  return value.length > MAX_VALUE_CHARS ? `the value of the header ${name} is longer than ${MAX_VALUE_CHARS} characters` : undefined;
}
