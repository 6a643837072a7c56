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
