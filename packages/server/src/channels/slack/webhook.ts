/** Slack's incoming webhooks: a POST to a secret URL, answered with `ok` or one word. */
import type { Message, Provider } from '../../domain/channel.ts';
import { exchange, urlSecrets, type ExchangeDeps, type Judgement } from '../exchange.ts';
import type { SlackMessage } from './render.ts';

export interface SlackAddress {
  readonly url: string;
}

export function slackWebhook(deps: ExchangeDeps): Provider<SlackAddress, SlackMessage> {
  return {
    id: 'slack.webhook',
    send: ({ address: { url }, content }: Message<SlackAddress, SlackMessage>, signal) =>
      exchange(
        deps,
        { url, body: JSON.stringify(content), secrets: urlSecrets(url), judge: ({ status, body }) => judge(status, body.trim()) },
        signal,
      ),
    close: () => Promise.resolve(),
  };
}

/** The webhook or its workspace is no more. */
const GONE = new Set([
  'no_service',
  'no_service_id',
  'no_team',
  'team_disabled',
  'channel_is_archived',
  'user_not_found',
  'channel_not_found',
]);
const BAD_CONTENT = new Set([
  'invalid_payload',
  'invalid_blocks',
  'invalid_blocks_format',
  'invalid_attachments',
  'too_many_attachments',
  'msg_too_long',
  'no_text',
]);

/** 200 with another body than `ok` is no success. */
function judge(status: number, word: string): Judgement | undefined {
  if (status === 200 && word === 'ok') return { kind: 'accepted' };
  if (GONE.has(word)) return { kind: 'permanent', reason: 'address_gone' };
  return BAD_CONTENT.has(word) ? { kind: 'permanent', reason: 'content_rejected' } : undefined;
}
