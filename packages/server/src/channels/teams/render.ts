/** A notification as an Adaptive Card 1.4 in a message, as a Workflows webhook of Microsoft Teams takes it. Pure. */
import type { RenderContext, Telling } from '../../domain/channel.ts';
import type { Severity } from '../../domain/event.ts';
import { cutText, cutToFit } from '../../lib/cut.ts';
import { linkOf } from '../../lib/link.ts';

/** What Teams takes, in bytes of the whole message. */
export const TEAMS_MAX_BYTES = 28_000;
const MAX_TITLE = 500;

interface TextBlock {
  readonly type: 'TextBlock';
  readonly text: string;
  readonly wrap: true;
  readonly weight?: 'Bolder';
  readonly size?: 'Medium';
  readonly color?: 'Default' | 'Accent' | 'Warning' | 'Attention';
}

interface Card {
  readonly $schema: string;
  readonly type: 'AdaptiveCard';
  readonly version: '1.4';
  readonly body: readonly TextBlock[];
  readonly actions?: readonly { readonly type: 'Action.OpenUrl'; readonly title: string; readonly url: string }[];
  readonly msteams: { readonly width: 'Full' };
}

export interface TeamsMessage {
  readonly type: 'message';
  readonly attachments: readonly { readonly contentType: string; readonly contentUrl: null; readonly content: Card }[];
}

const COLOURS: Readonly<Record<Severity, TextBlock['color']>> = { low: 'Default', medium: 'Accent', high: 'Warning', urgent: 'Attention' };

export function renderTeams(telling: Telling, context: RenderContext): TeamsMessage {
  const short = { ...telling, subject: cutText(telling.subject, MAX_TITLE) };
  const body = cutToFit(telling.body, (cut) => sizeOf(message({ ...short, body: cut }, context)) <= TEAMS_MAX_BYTES);
  return message({ ...short, body }, context);
}

function message({ subject, body, actionUrl, severity }: Telling, { productName }: RenderContext): TeamsMessage {
  const url = linkOf(actionUrl);
  const text = paragraphs(body);
  const card: Card = {
    $schema: 'http://adaptivecards.io/schemas/adaptive-card.json',
    type: 'AdaptiveCard',
    version: '1.4',
    body: [
      {
        type: 'TextBlock',
        text: escapeTeams(subject.replace(/\s+/g, ' ').trim()),
        weight: 'Bolder',
        size: 'Medium',
        color: COLOURS[severity],
        wrap: true,
      },
      ...(text === '' ? [] : [{ type: 'TextBlock', text, wrap: true } as const]),
    ],
    ...(url === undefined ? {} : { actions: [{ type: 'Action.OpenUrl', title: `Open in ${productName}`, url }] }),
    msteams: { width: 'Full' },
  };
  return { type: 'message', attachments: [{ contentType: 'application/vnd.microsoft.card.adaptive', contentUrl: null, content: card }] };
}

function sizeOf(value: unknown): number {
  const text = JSON.stringify(value);
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit > 0x7f) bytes += unit > 0x7ff && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return bytes;
}

/**
 * Everything that its Markdown knows; a list or a heading begins at the start of a line. No pattern looks past its line: many
 * empty ones would cost their square.
 */
export function escapeTeams(text: string): string {
  return text
    .replace(/[\\`*_[\]()~<>|]/g, String.raw`\$&`)
    .replace(/^([^\S\n\r\u2028\u2029]*)([-+#])/gm, String.raw`$1\$2`)
    .replace(/^([^\S\n\r\u2028\u2029]*\d+)([.)])/gm, String.raw`$1\$2`);
}

/** A single line break is none in Markdown. */
function paragraphs(body: string): string {
  return escapeTeams(body.replace(/\r\n?/g, '\n').trim()).replace(/\n+/g, '\n\n');
}
