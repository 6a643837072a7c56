/** The shape of the dates of RFC 9110 5.6.7. Anything else `Date.parse` would guess at. */
const HTTP_DATE = /^[A-Z][a-z]{2,8},? [\w: -]{15,30}$/;

/** `Retry-After` (RFC 9110 10.2.3) in milliseconds from `now`, or undefined when it is absent or makes no sense. */
export function parseRetryAfter(header: string | string[] | undefined, now: Date): number | undefined {
  if (typeof header !== 'string') return undefined;
  const text = header.trim();
  if (/^\d{1,10}$/.test(text)) return Number(text) * 1000;
  if (!HTTP_DATE.test(text)) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now.getTime());
}
