/** A notification as a message of Telegram's bots, in its HTML. Pure. */
import type { RenderContext, Telling } from '../../domain/channel.ts';
import { cutText, cutToFit } from '../../lib/cut.ts';
import { linkOf, webLinkOf } from '../../lib/link.ts';

/** Counted after Telegram has read the markup; counted before, it is at most as much. */
const MAX_TEXT = 4_096;
const MAX_TITLE = 500;

export interface TelegramMessage {
  readonly text: string;
  readonly parse_mode: 'HTML';
  readonly link_preview_options: { readonly is_disabled: true };
  readonly reply_markup?: { readonly inline_keyboard: readonly (readonly { readonly text: string; readonly url: string }[])[] };
}

export function renderTelegram({ subject, body, actionUrl }: Telling, { productName }: RenderContext): TelegramMessage {
  const url = webLinkOf(actionUrl);
  const mail = url === undefined ? linkOf(actionUrl) : undefined;
  const title = `<b>${escapeTelegram(cutText(subject.replace(/\s+/g, ' ').trim(), MAX_TITLE))}</b>`;
  const end = mail === undefined ? '' : `\n\n${escapeTelegram(mail)}`;
  const room = MAX_TEXT - title.length - end.length - 2;
  const text = escapeTelegram(cutToFit(body.trim(), (cut) => escapeTelegram(cut).length <= room));
  return {
    text: (text === '' ? title : `${title}\n\n${text}`) + end,
    parse_mode: 'HTML',
    link_preview_options: { is_disabled: true },
    ...(url === undefined ? {} : { reply_markup: { inline_keyboard: [[{ text: `Open in ${productName}`, url }]] } }),
  };
}

function escapeTelegram(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
