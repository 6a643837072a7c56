/** One mail as it goes on the wire: what the headers say, and the text beside the HTML. */
import type { SendMailOptions } from 'nodemailer';
import { htmlToText } from '../../lib/html-text.ts';
import type { UnsubscribeLinks } from './channel.ts';
import type { RenderedEmail } from './render.ts';

export interface MailEnds {
  readonly from: { readonly name: string; readonly address: string };
  /** Checked: `local@domain`, the domain in ASCII. */
  readonly to: string;
  readonly deliveryId: string;
  readonly messageId: string;
  readonly unsubscribe?: UnsubscribeLinks | undefined;
}

/** Addresses are objects, never text: nothing is there to be parsed into a second recipient. */
export function composeMail(
  { subject, html, text = htmlToText(html) }: RenderedEmail,
  { from, to, deliveryId, messageId, unsubscribe }: MailEnds,
): SendMailOptions {
  return {
    from,
    to: { name: '', address: to },
    envelope: { from: { name: '', address: from.address }, to: [{ name: '', address: to }] },
    messageId,
    dsn: { id: deliveryId, return: 'headers' }, // RFC 3461: a bounce names it, where the server knows how
    ...(isLiteral(subject) ? { subject } : {}),
    text,
    html,
    headers: {
      ...(isLiteral(subject) ? {} : { Subject: { prepared: true, foldLines: true, value: encodedWords(subject) } }),
      'Auto-Submitted': 'auto-generated', // RFC 3834: no out-of-office answers
      ...unsubscribeHeaders(unsubscribe),
    },
    xMailer: false,
  };
}

/** RFC 2369 and RFC 8058. */
function unsubscribeHeaders({
  url,
  mailto,
}: UnsubscribeLinks = {}): Record<string, string | { prepared: true; foldLines: true; value: string }> {
  const links = [url, mailto].flatMap((link) => (link === undefined ? [] : [`<${link}>`]));
  if (links.length === 0) return {};
  // A link is never folded within: its line is as long as it is.
  const list = { 'List-Unsubscribe': { prepared: true, foldLines: true, value: links.join(', ') } } as const;
  return url?.startsWith('https:') ? { ...list, 'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click' } : list;
}

const LONGEST_WORD = 900;

/** False for what the mail library would pass on as it is, though readers take it for an encoded word or a line can't hold it. */
function isLiteral(subject: string): boolean {
  return !subject.includes('=?') && subject.split(/\s/).every((word) => word.length < LONGEST_WORD);
}

/** Of one encoded word (RFC 2047 2): 75 characters, 12 of them around the base64. */
const WORD_BYTES = 45;

/** Between two of them white space does not count; no character is cut in two. */
function encodedWords(text: string): string {
  const words = [''];
  for (const character of text) {
    const longer = (words.at(-1) ?? '') + character;
    if (Buffer.byteLength(longer) <= WORD_BYTES) words[words.length - 1] = longer;
    else words.push(character);
  }
  return words.map((word) => `=?UTF-8?B?${Buffer.from(word).toString('base64')}?=`).join(' ');
}
