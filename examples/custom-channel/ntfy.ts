/** A channel for ntfy (https://ntfy.sh): a message to everyone who listens to a topic. */
import type { AttemptReason, CreateChannel, SendResult, Telling } from '@carillon/server/provider';

interface NtfyMessage {
  readonly title: string;
  readonly message: string;
  readonly priority: number;
  readonly tags: readonly string[];
  readonly click?: string;
}

const PRIORITIES: Readonly<Record<Telling['severity'], number>> = { low: 2, medium: 3, high: 4, urgent: 5 };
const MAX_CHARACTERS = 3_000;

export const createChannel: CreateChannel = (options, { request }) => {
  const url = urlOf(options);
  return {
    title: 'ntfy',
    // Whoever knows a topic can read and write it: it is a secret.
    address: { field: 'topic', format: 'text', pattern: '^[-_A-Za-z0-9]{1,64}$', words: 'the name of a topic', secret: true },
    render: ({ subject, body, severity, tags, actionUrl }): NtfyMessage => ({
      title: subject,
      message: body.slice(0, MAX_CHARACTERS),
      priority: PRIORITIES[severity],
      tags,
      ...(actionUrl?.startsWith('http') && { click: actionUrl }),
    }),
    providers: [
      {
        id: 'ntfy.http',
        async send({ address: topic, content }, signal): Promise<SendResult> {
          const body = JSON.stringify({ topic, ...(content as NtfyMessage) });
          try {
            const { status, body: response } = await request(url, { method: 'POST', headers: {}, body, signal });
            return resultOf(status, response.replaceAll(topic, '***'));
          } catch (error) {
            return failureOf(error, signal);
          }
        },
        close: () => Promise.resolve(),
      },
    ],
  };
};

/** What is thrown here stops the start of the server, and is shown as it is. */
function urlOf(options: unknown): string {
  const { url } = (options ?? {}) as { url?: unknown };
  if (typeof url !== 'string' || !URL.canParse(url)) throw new Error('options.url must be the address of an ntfy server');
  return url;
}

/** Every answer becomes one of four kinds: accepted, transient (try again), permanent (never will), unknown (may have arrived). */
function resultOf(status: number, response: string): SendResult {
  if (status === 200) return { kind: 'accepted', status, response };
  const detail = `HTTP ${status}`;
  if (status === 413) return { kind: 'permanent', reason: 'content_rejected', detail, status, response };
  const reason: AttemptReason = status === 429 ? 'rate_limited' : status === 401 || status === 403 ? 'unauthorized' : 'provider_error';
  return { kind: 'transient', reason, detail, status, response };
}

/** The guarded client says what went wrong, and whether the message had left by then. */
function failureOf(error: unknown, signal: AbortSignal): SendResult {
  if (signal.aborted || !(error instanceof Error) || error.name !== 'EgressError') throw error;
  const { kind, bodySent } = error as Error & { kind: 'blocked' | 'timeout' | 'unreachable'; bodySent: boolean };
  if (kind === 'blocked') return { kind: 'permanent', reason: 'egress_blocked', detail: error.message };
  return { kind: bodySent ? 'unknown' : 'transient', reason: kind, detail: error.message };
}
