/** A notification as a text message. Pure. */
import type { Telling } from '../../domain/channel.ts';
import { cutToFit } from '../../lib/cut.ts';
import { linkOf } from '../../lib/link.ts';

/** Ten parts of a long message: what carriers take. */
const MAX_TEXT = 1_600;
/** A longer one would leave no room for what it is about, and cut it would lead nowhere. */
const MAX_LINK = 1_000;

export interface SmsMessage {
  readonly text: string;
}

/** The link last, so that a cut never takes it; one that is too long is left out. */
export function renderSms({ subject, body, actionUrl }: Telling): SmsMessage {
  const link = linkOf(actionUrl);
  const end = link === undefined || link.length > MAX_LINK ? '' : `\n${link}`;
  const text = [subject, body]
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .join('\n');
  return { text: (cutToFit(text, (cut) => cut.length + end.length <= MAX_TEXT) + end).trim() };
}
