/** What an SMTP failure means for a delivery. Pure. */
import type { SendResult } from '../../domain/channel.ts';
import type { AttemptReason } from '../../domain/reason.ts';

/** The fields that nodemailer puts on its errors. */
export interface SmtpFailure {
  readonly message: string;
  /** `ETIMEDOUT`, `ECONNECTION`, `EAUTH`, `EENVELOPE`, `EMESSAGE` … */
  readonly code?: string | undefined;
  /** The server's reply code, when it replied. */
  readonly responseCode?: number | undefined;
  readonly response?: string | undefined;
  /** The command that was answered; `CONN` before the first one. */
  readonly command?: string | undefined;
}

const MAX_DETAIL_CHARS = 300;

/** `messageLeft`: the text of the mail had been sent completely. Undefined when the failure is none of SMTP's. */
export function fromSmtpFailure(failure: SmtpFailure, messageLeft: boolean): SendResult | undefined {
  return failure.responseCode === undefined ? fromSilence(failure, messageLeft) : fromReply(failure, failure.responseCode);
}

const REASON_OF_SILENCE: Readonly<Record<string, AttemptReason>> = {
  ETIMEDOUT: 'timeout',
  ECONNECTION: 'unreachable',
  ESOCKET: 'unreachable',
  EDNS: 'unreachable',
  ETLS: 'unreachable',
  EPROTOCOL: 'provider_error',
  EAUTH: 'unauthorized',
};

function fromSilence({ code = '', message }: SmtpFailure, messageLeft: boolean): SendResult | undefined {
  const detail = message.slice(0, MAX_DETAIL_CHARS);
  // Larger than the size that the server announced: nodemailer does not even try.
  if (code === 'EMESSAGE') return { kind: 'permanent', reason: 'content_rejected', detail };
  const reason = REASON_OF_SILENCE[code];
  return reason && { kind: messageLeft ? 'unknown' : 'transient', reason, detail };
}

function fromReply(failure: SmtpFailure, status: number): SendResult {
  const { code, command = 'CONN', response } = failure;
  const detail = `SMTP ${status} after ${command}`;
  const answer = { detail, status, response };
  if (code === 'ETLS') return { kind: 'transient', reason: 'unreachable', ...answer };
  const final = status >= 500 && status !== 503 && !aboutTheSession(command);
  if (!final) return { kind: 'transient', reason: 'provider_error', ...answer };
  return { kind: 'permanent', reason: reasonOfRefusal(failure, status), ...answer };
}

/** A server that turns every client away says nothing about this message. 503 (commands out of order) does not either. */
function aboutTheSession(command: string): boolean {
  return ['CONN', 'EHLO', 'HELO', 'STARTTLS', 'RSET'].includes(command);
}

type Refusal = 'unauthorized' | 'address_rejected' | 'content_rejected' | 'provider_error';

/** The enhanced code (RFC 3463) is more exact than the reply code; without one, the command says what was refused. */
function reasonOfRefusal({ code, command, response }: SmtpFailure, status: number): Refusal {
  const enhanced = enhancedCode(response);
  if (code === 'EAUTH' || [530, 534, 535, 538].includes(status)) return 'unauthorized';
  if (['5.2.3', '5.3.4'].includes(enhanced) || status === 552) return enhanced === '5.2.2' ? 'address_rejected' : 'content_rejected';
  if (command === 'MAIL FROM') return 'provider_error'; // our sender was refused, not the recipient
  return bySubject(enhanced) ?? byReplyCode(status, command);
}

function bySubject(enhanced: string): Refusal | undefined {
  if (/^5\.[12]\./.test(enhanced)) return 'address_rejected';
  return /^5\.[67]\./.test(enhanced) ? 'content_rejected' : undefined;
}

function byReplyCode(status: number, command: string | undefined): Refusal {
  if (command === 'DATA' || status === 554) return 'content_rejected';
  return [550, 551, 553].includes(status) ? 'address_rejected' : 'provider_error';
}

function enhancedCode(response = ''): string {
  return /^\d{3}[ -](5\.\d{1,3}\.\d{1,3})\b/.exec(response)?.[1] ?? '';
}
