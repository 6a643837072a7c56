/** Our own check of mail addresses and header texts: mail libraries are lenient, and a lenient reading of a line break adds a recipient. */
import { domainToASCII } from 'node:url';

export type MailboxVerdict = { readonly ok: true; readonly mailbox: string } | { readonly ok: false; readonly reason: string };

// RFC 5321 4.5.3.1, and RFC 3696 erratum 1690 for the whole.
const MAX_LOCAL_CHARS = 64;
const MAX_DOMAIN_CHARS = 253;
const MAX_MAILBOX_CHARS = 254;

/** dot-atom of RFC 5322 3.2.3, ASCII: no quotes, no comments, no folding. */
const LOCAL = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/;
/** Before conversion, which silently drops invisible characters: what looks like another domain is refused instead. */
const DOMAIN_TEXT = /^[\p{L}\p{M}\p{N}.-]+$/u;
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * Exactly one `local@domain`, without display name, route, quotes or address literal.
 * The mailbox given back has its domain in lower case and in ASCII (IDNA); the local part is as it was.
 */
export function checkMailbox(text: string): MailboxVerdict {
  const at = text.lastIndexOf('@');
  if (at < 0) return refuse('it has no @');
  const local = text.slice(0, at);
  if (local.length > MAX_LOCAL_CHARS) return refuse(`the part before the @ is longer than ${MAX_LOCAL_CHARS} characters`);
  if (/[^\x00-\x7f]/.test(local))
    return refuse('the part before the @ has a character beyond ASCII, which mail servers take only with SMTPUTF8');
  if (!LOCAL.test(local)) return refuse('the part before the @ is not a plain name');
  const domain = asciiDomain(text.slice(at + 1));
  if (domain === undefined) return refuse('the part after the @ is not a domain');
  const mailbox = `${local}@${domain}`;
  return mailbox.length > MAX_MAILBOX_CHARS ? refuse(`it is longer than ${MAX_MAILBOX_CHARS} characters`) : { ok: true, mailbox };
}

/** One spelling for all of a mailbox: hosts that tell upper from lower case before the @ are not met any more. */
export function mailboxKey(text: string): string {
  const verdict = checkMailbox(text);
  return (verdict.ok ? verdict.mailbox : text).toLowerCase();
}

function refuse(reason: string): MailboxVerdict {
  return { ok: false, reason };
}

/** Undefined for what is no name of at least two labels. Numbers at the end would be an IPv4 address. */
function asciiDomain(text: string): string | undefined {
  if (text.length > MAX_DOMAIN_CHARS || !DOMAIN_TEXT.test(text)) return undefined;
  const domain = domainToASCII(text);
  const labels = domain.split('.');
  const valid = labels.length >= 2 && labels.every((label) => LABEL.test(label)) && !/^\d+$/.test(labels.at(-1) ?? '');
  return valid && domain.length <= MAX_DOMAIN_CHARS ? domain : undefined;
}

// RFC 5322 2.1.1 for a line; a longer subject is folded by the mail library, but nobody reads it.
const MAX_HEADER_CHARS = 998;

/** Why this text can't stand in a mail header (subject, display name), or undefined. */
export function checkHeaderText(text: string): string | undefined {
  if (/[\p{Cc}\u2028\u2029]/u.test(text)) return 'it contains a line break or another control character';
  if (!text.isWellFormed()) return 'it contains half a character';
  return text.length > MAX_HEADER_CHARS ? `it is longer than ${MAX_HEADER_CHARS} characters` : undefined;
}
