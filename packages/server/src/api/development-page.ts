/** The pages of development mode. Pure: rows in, HTML out. */
import { ENTRY_KINDS, deliveryState, nameOf } from '../domain/delivery.ts';
import { REASONS, reasonOf } from '../domain/reason.ts';
import { html, type Markup } from '../lib/html.ts';
import type { OutboxRow } from '../store/outbox.ts';
import { maskAddress } from './event-view.ts';

/** No scripts at all; a mail's own styles work inside its frame, which inherits this. */
export const PAGE_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

export interface RenderedMail {
  readonly html: string;
  readonly text: string;
}

export interface ReceivedRequest {
  readonly at: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** What it was answered. */
  readonly status: number;
}

export function outboxPage(rows: readonly OutboxRow[], renderMail: (row: OutboxRow) => RenderedMail): string {
  const intro = html`<p>The last ${rows.length} deliveries by mail and webhook. Without an SMTP server, mail goes no further than this page. <a href="/dev/receiver">Receiver</a></p>`;
  return frame('Outbox', html`${intro}${rows.map((row) => delivery(row, renderMail))}`);
}

export function receiverPage(requests: readonly ReceivedRequest[]): string {
  const intro = html`<p>The last ${requests.length} requests to <code>POST /dev/receiver</code>, newest first. <code>?status=503</code> has it answer that. <a href="/dev/outbox">Outbox</a></p>`;
  const items = requests.map(
    ({ at, status, headers, body }) => html`<details><summary>${at} answered ${status}</summary>
<pre>${Object.entries(headers)
      .map(([name, value]) => `${name}: ${value}`)
      .join('\n')}</pre><pre>${body}</pre></details>`,
  );
  return frame('Receiver', html`${intro}${items}`);
}

function delivery(row: OutboxRow, renderMail: (row: OutboxRow) => RenderedMail): Markup {
  const status = deliveryState(row.status);
  return html`<details><summary><b>${row.subject}</b> ${row.channel} to ${addressOf(row)}: ${status} <small>${row.createdAt.toISOString()} ${row.tenantId}</small></summary>
<p>${REASONS[reasonOf(row.reason)].sentence}</p>
<ol>${row.attempts.map(attempt)}</ol>
${row.channel === 'email' ? mail(renderMail(row)) : html`<pre>${row.body}</pre>`}</details>`;
}

/** A URL may be all that it takes to send to somebody: of mailboxes alone the whole address is shown. */
function addressOf({ channel, address }: OutboxRow): string {
  return (channel === 'email' ? address : maskAddress(address)) ?? 'nowhere';
}

function attempt({ at, kind, reason, status, durationMs, detail, response }: OutboxRow['attempts'][number]): Markup {
  const facts = [nameOf(ENTRY_KINDS, kind), reasonOf(reason), status, durationMs === null ? null : `${durationMs} ms`, detail].filter(
    (fact) => fact !== null,
  );
  return html`<li>${at.toISOString()} ${facts.join(', ')}${response ? html`<pre>${response}</pre>` : null}</li>`;
}

function mail({ html: page, text }: RenderedMail): Markup {
  return html`<iframe sandbox title="Mail" srcdoc="${page}"></iframe><pre>${text}</pre>`;
}

const STYLE = {
  markup:
    'body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}details{border-top:1px solid #ccc;padding:.5rem 0}pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f4f4f4;padding:.5rem}iframe{width:100%;height:24rem;border:1px solid #ccc}small{color:#666}',
};

function frame(title: string, content: Markup): string {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${title} · Carillon</title><meta name="viewport" content="width=device-width"><style>${STYLE}</style></head>
<body><h1>${title}</h1>${content}</body></html>`.markup;
}
