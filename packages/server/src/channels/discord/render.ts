/** A notification as an embed of Discord. Pure. */
import type { RenderContext, Telling } from '../../domain/channel.ts';
import type { Severity } from '../../domain/event.ts';
import { cutText, cutToFit } from '../../lib/cut.ts';
import { linkOf, webLinkOf } from '../../lib/link.ts';

const MAX_TITLE = 256;
const MAX_DESCRIPTION = 4_096;
const MAX_FOOTER = 256;

const COLOURS: Readonly<Record<Severity, number>> = { low: 0x8a94a6, medium: 0x2f6fde, high: 0xe8912d, urgent: 0xd72b3f };

export interface DiscordMessage {
  readonly embeds: readonly [
    {
      readonly title: string;
      readonly description?: string;
      readonly url?: string;
      readonly color: number;
      readonly footer: { readonly text: string };
    },
  ];
  /** Whatever the text says, nobody is mentioned. */
  readonly allowed_mentions: { readonly parse: readonly [] };
}

export function renderDiscord({ subject, body, actionUrl, severity }: Telling, { productName }: RenderContext): DiscordMessage {
  const url = webLinkOf(actionUrl);
  const link = linkOf(actionUrl);
  const open = link === undefined ? '' : `\n\n[${escapeDiscord(`Open in ${productName}`)}](<${link}>)`;
  const room = MAX_DESCRIPTION - open.length;
  const description = (escapeDiscord(cutToFit(body.trim(), (cut) => escapeDiscord(cut).length <= room)) + open).trim();
  const title = escapeDiscord(cutToFit(subject.replace(/\s+/g, ' ').trim(), (cut) => escapeDiscord(cut).length <= MAX_TITLE));
  return {
    embeds: [
      {
        title,
        ...(description === '' ? {} : { description }),
        ...(url === undefined ? {} : { url }),
        color: COLOURS[severity],
        footer: { text: cutText(productName, MAX_FOOTER) },
      },
    ],
    allowed_mentions: { parse: [] },
  };
}

export function escapeDiscord(text: string): string {
  return text.replace(/[\\`*_~|[\]()<>@#]/g, String.raw`\$&`).replace(/^([^\S\n\r\u2028\u2029]*)([-+])/gm, String.raw`$1\$2`);
}
