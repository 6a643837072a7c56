/** A notification as a text message. Pure. */
import type { Telling } from '../../domain/channel.ts';
import { cutToFit } from '../../lib/cut.ts';
import { linkOf } from '../../lib/link.ts';

/** Ten parts of a long message: what carriers take. */
const MAX_TEXT = 1_600;

export interface SmsMessage {
  readonly text: string;
}

/** The link last, so that a cut never takes it. */
export function renderSms({ subject, body, actionUrl }: Telling): SmsMessage {
  const link = linkOf(actionUrl);
  const end = link === undefined ? '' : `\n${link}`;
  const text = [subject, body]
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .join('\n');
  return { text: (cutToFit(text, (cut) => cut.length + end.length <= MAX_TEXT) + end).trim() };
}
