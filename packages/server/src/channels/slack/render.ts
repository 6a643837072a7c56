/** A notification as Slack's blocks. Pure. Limits: docs.slack.dev, "Blocks" and "Truncating really long messages". */
import type { RenderContext, Telling } from '../../domain/channel.ts';
import type { Severity } from '../../domain/event.ts';
import { cutToFit } from '../../lib/cut.ts';
import { linkOf, webLinkOf } from '../../lib/link.ts';

const MAX_HEADER = 150;
const MAX_SECTION = 3_000;
const MAX_LABEL = 75;
const MAX_BLOCKS = 50;
/** Of all texts together; beyond it Slack cuts by itself, somewhere. */
const MAX_TOTAL = 13_000;
/** For what stands around the body. */
const RESERVED = 1_000;

export const SLACK_COLOURS: Readonly<Record<Severity, string>> = { low: '#8a94a6', medium: '#2f6fde', high: '#e8912d', urgent: '#d72b3f' };

interface Text {
  readonly type: 'plain_text' | 'mrkdwn';
  readonly text: string;
  /** Slack then neither links nor mentions what looks like it. */
  readonly verbatim?: true;
}

interface Block {
  readonly type: 'header' | 'section' | 'actions' | 'context';
  readonly text?: Text;
  readonly elements?: readonly (Text | Button)[];
}

interface Button {
  readonly type: 'button';
  readonly text: Text;
  readonly url: string;
}

export interface SlackMessage {
  /** What notifications and screen readers say. */
  readonly text: string;
  readonly blocks: readonly Block[];
  /** The coloured bar. */
  readonly attachments: readonly { readonly color: string; readonly fallback: string; readonly blocks: readonly Block[] }[];
  readonly unfurl_links: false;
  readonly unfurl_media: false;
}

export function renderSlack({ subject, body, actionUrl, severity, type }: Telling, { productName }: RenderContext): SlackMessage {
  const link = linkOf(actionUrl);
  const label = `Open in ${productName}`;
  const title = cutToFit(`🔔 ${oneLine(subject)}`, (cut) => escapeSlack(cut).length <= MAX_HEADER);
  const blocks: Block[] = [
    { type: 'header', text: { type: 'plain_text', text: escapeSlack(title) } },
    ...sections(body, link).map((text): Block => ({ type: 'section', text: mrkdwn(text) })),
    ...(link === undefined ? [] : action(link, label)),
  ];
  const about = escapeSlack(`Severity: ${severity} · ${type}`);
  return {
    text: escapeSlack(title),
    blocks: blocks.slice(0, MAX_BLOCKS),
    attachments: [{ color: SLACK_COLOURS[severity], fallback: about, blocks: [{ type: 'context', elements: [mrkdwn(about)] }] }],
    unfurl_links: false,
    unfurl_media: false,
  };
}

/** With these three escaped, nothing in the text can be a link, a mention or a command. */
export function escapeSlack(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function mrkdwn(text: string): Text {
  return { type: 'mrkdwn', text, verbatim: true };
}

/** Buttons take pages only. */
function action(link: string, label: string): Block[] {
  const url = webLinkOf(link);
  const text = cutToFit(label, (cut) => escapeSlack(cut).length <= MAX_LABEL);
  if (url !== undefined)
    return [{ type: 'actions', elements: [{ type: 'button', text: { type: 'plain_text', text: escapeSlack(text) }, url }] }];
  const written = slackLink(link, text);
  return written === undefined ? [] : [{ type: 'section', text: mrkdwn(written) }];
}

/** Undefined for one that grows too long when it is escaped: a part of it would lead elsewhere. */
function slackLink(url: string, label: string): string | undefined {
  const link = `<${escapeSlack(url).replaceAll('|', '%7C')}|${escapeSlack(label)}>`;
  return link.length < MAX_SECTION ? link : undefined;
}

/** The escaped body in parts that a section takes; what is over the total is cut, with a link to the rest. */
function sections(body: string, link: string | undefined): string[] {
  const text = body.trim();
  if (text === '') return [];
  const more = link === undefined ? undefined : slackLink(link, 'Read the rest');
  const rest = more === undefined ? '' : `\n${more}`;
  const room = MAX_TOTAL - RESERVED - 2 * rest.length;
  const cut = cutToFit(text, (part) => escapeSlack(part).length <= room);
  const parts = split(cut);
  if (cut === text || rest === '') return parts;
  const last = parts.pop() ?? '';
  return last.length + rest.length <= MAX_SECTION ? [...parts, last + rest] : [...parts, last, rest.trim()];
}

/** At line ends where there are some. */
function split(text: string): string[] {
  const parts: string[] = [];
  let rest = text;
  while (rest !== '') {
    const longest = longestFit(rest);
    const lineEnd = longest === rest.length ? -1 : rest.lastIndexOf('\n', longest);
    const end = lineEnd > longest / 2 ? lineEnd : longest;
    parts.push(escapeSlack(rest.slice(0, end)));
    rest = rest.slice(end).replace(/^\n/, '');
  }
  return parts;
}

/** How many units of `text` fit into a section once they are escaped. */
function longestFit(text: string): number {
  let used = 0;
  let end = 0;
  for (const character of text) {
    used += escapeSlack(character).length;
    if (used > MAX_SECTION) break;
    end += character.length;
  }
  return end;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
