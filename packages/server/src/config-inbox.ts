/** The inbox: whether there is one, its streams, and the pages that show it. */
import { duration, flag, list, setting, size, text } from './lib/setting.ts';

export const INBOX_SETTINGS = [
  setting('inapp.enabled', flag(), [
    true,
    'Whether anything is put into inboxes; off, it is skipped as `channel_disabled`, and the start warns of that.',
  ]),
  setting('stream.heartbeat', duration('1s', '5m'), [
    20_000,
    'How often an idle stream gets a comment, so that nothing in between closes it.',
  ]),
  setting('stream.max_buffer', size(16 * 1024, 16 * 1024 * 1024), [256 * 1024, 'Unread bytes at which a stream is cut.']),
  setting('stream.stall', duration('1s', '5m'), [5_000, 'How long a reader may take nothing before its stream is cut.']),
  setting('inbox.cors_origins', list(text('an origin such as https://app.example.org', isOrigin), { min: 0, max: 100 }), [
    [],
    'Web pages that may call the inbox routes.',
  ]),
] as const;

function isOrigin(value: string): boolean {
  const url = URL.parse(value);
  return url !== null && ['http:', 'https:'].includes(url.protocol) && url.origin === value;
}
