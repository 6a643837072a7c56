/** A notification as the message that a page's service worker gets. Pure. */
import type { Telling } from '../../domain/channel.ts';
import type { Severity } from '../../domain/event.ts';
import { cutText, cutToFit } from '../../lib/cut.ts';
import { linkOf } from '../../lib/link.ts';

/** Push services take 4,096 bytes, encryption included (RFC 8030 7.2, RFC 8291 4). */
const MAX_BYTES = 3_900;
const MAX_TITLE = 200;
/** A longer link is left out: what it leads to can be said, and a part of it leads nowhere. */
const MAX_LINK_BYTES = 2_048;

/** RFC 8030 5.3: what a phone that saves its battery waits for. */
const URGENCIES = { low: 'low', medium: 'normal', high: 'high', urgent: 'high' } as const satisfies Record<Severity, string>;

export interface WebPushMessage {
  /** JSON: `title`, `body`, `url`, `tag` (the notification's id, so that a repeat replaces the first one), `severity`. */
  readonly payload: string;
  readonly urgency: (typeof URGENCIES)[Severity];
}

export function renderWebPush({ eventId, notificationId, subject, body, severity, actionUrl }: Telling): WebPushMessage {
  const link = linkOf(actionUrl) ?? (isPath(actionUrl) ? actionUrl : null);
  const url = link !== null && bytesOf(link) <= MAX_LINK_BYTES ? link : null;
  const payloadOf = (text: string) =>
    JSON.stringify({ title: cutText(subject, MAX_TITLE), body: text, url, tag: notificationId ?? eventId, severity });
  const text = cutToFit(body, (cut) => bytesOf(payloadOf(cut)) <= MAX_BYTES);
  return { payload: payloadOf(text), urgency: URGENCIES[severity] };
}

/** Below the page that has subscribed. */
function isPath(url: string | null): url is string {
  return url !== null && /^\/(?!\/)/.test(url);
}

function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}
