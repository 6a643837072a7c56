/** Links that may be shown to people: others could run code where they are shown. */

const MAX_PATH = 500;
const MAX_URL = 2_048;
const PROTOCOLS = ['http:', 'https:', 'mailto:'];

/** Undefined for anything that a mail or chat program could run or can't resolve. User information could pass for the host. */
export function linkOf(url: string | null | undefined): string | undefined {
  if (typeof url !== 'string' || /[\s\p{Cc}\\<>"]/u.test(url)) return undefined;
  return isWebLink(url) || /^mailto:[^/]/i.test(url) ? url : undefined;
}

/** For buttons that only lead to pages. */
export function webLinkOf(url: string | null | undefined): string | undefined {
  const link = linkOf(url);
  return link !== undefined && isWebLink(link) ? link : undefined;
}

function isWebLink(url: string): boolean {
  return /^https?:\/\/[^/?#@]+(?:[/?#]|$)/i.test(url);
}

/** A path as a link below `base`, whose slash at the end is cut. Undefined for a path without a base. */
export function absoluteLink(link: string, base: string | null | undefined): string | undefined {
  if (!link.startsWith('/')) return link;
  return base ? `${base.replace(/\/+$/, '')}${link}` : undefined;
}

/** What paths can be put behind: an http or https address without query. */
export function isBaseUrl(text: string): boolean {
  return linkOf(text) !== undefined && isWebLink(text) && URL.canParse(text) && !/[?#]/.test(text);
}

/** A path below the tenant's own address, or a link that a mail program opens: what an event may carry. */
export function isLink(text: string): boolean {
  if (/[\s\p{Cc}\\]/u.test(text)) return false;
  if (text.startsWith('/')) return text.length <= MAX_PATH && !text.startsWith('//');
  return text.length <= MAX_URL && URL.canParse(text) && PROTOCOLS.includes(new URL(text).protocol);
}
