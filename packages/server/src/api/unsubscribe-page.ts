/** What somebody sees who follows the unsubscribe link of a mail. Pure. */
import { createHash } from 'node:crypto';
import { html, type Markup } from '../lib/html.ts';

const STYLE =
  'body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}button{font:inherit;padding:.5rem 1.25rem}';

/** No script, nothing from elsewhere, and a form that leads back here only. */
export const UNSUBSCRIBE_POLICY = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`;

/** Following a link changes nothing: programs follow links too. The button does, with what a mail program would post (RFC 8058). */
export function askPage(productName: string): string {
  return frame(
    productName,
    html`<p>Do you no longer want e-mail from ${productName}? What is urgent for your account may still be sent.</p>
<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click"><button>Unsubscribe</button></form>`,
  );
}

export function donePage(productName: string): string {
  return frame(
    productName,
    html`<p>You are unsubscribed. ${productName} sends you no more e-mail, except what is urgent for your account.</p>`,
  );
}

function frame(productName: string, content: Markup): string {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex"><title>Unsubscribe · ${productName}</title><style>${{ markup: STYLE }}</style></head>
<body><h1>Unsubscribe</h1>${content}</body></html>`.markup;
}
