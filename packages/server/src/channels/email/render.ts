/** Inline content as a mail. Pure: the same input gives the same bytes on every attempt. */
import { linkOf } from '../../lib/link.ts';

export interface EmailInput {
  readonly subject: string;
  /** Plain text; line breaks are kept. */
  readonly body: string;
  /** A button when it is an http, https or mailto URL. A path means nothing in a mail and is left out. */
  readonly actionUrl?: string | null | undefined;
  readonly productName: string;
  /** BCP 47, for screen readers and hyphenation. */
  readonly locale?: string | null | undefined;
}

export interface RenderedEmail {
  readonly subject: string;
  readonly html: string;
  /** Not given: made from the HTML. */
  readonly text?: string | undefined;
}

/** Nothing in the input is ever HTML: all of it is escaped. */
export function renderEmail({ subject, body, actionUrl, productName, locale }: EmailInput): Required<RenderedEmail> {
  const url = linkOf(actionUrl);
  return { subject, html: emailHtml({ subject, body, url, productName, lang: langOf(locale) }), text: emailText(body, url, productName) };
}

interface EmailParts {
  readonly subject: string;
  readonly body: string;
  readonly url: string | undefined;
  readonly productName: string;
  readonly lang: string;
}

const FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif";
const BUTTON =
  'display:inline-block;padding:12px 20px;border-radius:6px;background:#1f4fd8;color:#ffffff;font-weight:600;text-decoration:none';

function emailHtml({ subject, body, url, productName, lang }: EmailParts): string {
  const title = escapeHtml(subject);
  const button =
    url === undefined ? '' : `\n<p style="margin:24px 0"><a href="${escapeHtml(url)}" style="${BUTTON}">${labelOf(url)}</a></p>`;
  return `<!doctype html>
<html lang="${lang}" dir="auto">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
</head>
<body style="margin:0;padding:24px;${FONT};font-size:16px;line-height:1.5">
<main style="max-width:560px;margin:0 auto">
<h1 dir="auto" style="margin:0 0 16px;font-size:20px;line-height:1.3">${title}</h1>
${paragraphs(body)}${button}
<p style="margin:32px 0 0;font-size:13px">${escapeHtml(productName)}</p>
</main>
</body>
</html>
`;
}

/** A blank line begins a paragraph, any other line break stays one. */
function paragraphs(body: string): string {
  const blocks = unixLines(body)
    .split(/\n{2,}/)
    .filter((block) => block.trim() !== '');
  return blocks.map((block) => `<p dir="auto" style="margin:0 0 16px">${escapeHtml(block).replaceAll('\n', '<br>\n')}</p>`).join('\n');
}

/** The host tells where the button leads before it is pressed. */
function labelOf(url: string): string {
  if (/^mailto:/i.test(url)) return 'Reply by e-mail';
  const host = /^https?:\/\/([^/?#]+)/i.exec(url)?.[1] ?? '';
  return `Open ${escapeHtml(host)}`;
}

function emailText(body: string, url: string | undefined, productName: string): string {
  const parts = [unixLines(body).trim(), url, `-- \n${productName}`]; // the signature mark of RFC 3676 4.3
  return `${parts.filter((part) => part !== undefined && part !== '').join('\n\n')}\n`;
}

function langOf(locale: string | null | undefined): string {
  return typeof locale === 'string' && /^[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*$/.test(locale) ? locale : 'en';
}

function unixLines(text: string): string {
  return text.replace(/\r\n?/g, '\n');
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
