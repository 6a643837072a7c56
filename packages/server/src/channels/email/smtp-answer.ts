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
  const { command = 'CONN', response } = failure;
  const detail = `SMTP ${status} after ${command}`;
  const answer = { detail, status, response };
  const ours = reasonOfSession(failure, status);
  if (ours !== undefined) return { kind: 'transient', reason: ours, ...answer };
  if (status < 500) return { kind: 'transient', reason: 'provider_error', ...answer };
  return { kind: 'permanent', reason: reasonOfRefusal(failure), ...answer };
}

/**
 * What the server has against us and not against this mail: it turns every client away, offers no encryption, or refuses the
 * credentials. The operator mends that, so no mail is lost to it. Undefined for an answer about the mail.
 */
function reasonOfSession({ code, command = 'CONN' }: SmtpFailure, status: number): AttemptReason | undefined {
  if (code === 'ETLS') return 'unreachable';
  if (code === 'EAUTH' || [530, 534, 535, 538].includes(status)) return status < 500 ? 'provider_error' : 'unauthorized';
  const outOfOrder = status === 503;
  return outOfOrder || ['CONN', 'EHLO', 'HELO', 'LHLO', 'STARTTLS', 'RSET'].includes(command) ? 'provider_error' : undefined;
}

type Refusal = 'address_gone' | 'address_rejected' | 'content_rejected' | 'provider_error';

/** No such mailbox, moved without a trace, a domain that takes no mail (RFC 3463, RFC 7505): no later mail will arrive either. */
const GONE = ['5.1.1', '5.1.6', '5.1.10'];

/** The enhanced code (RFC 3463) is more exact than the reply code; without one, the command says what was refused. */
function reasonOfRefusal({ command, response, responseCode: status = 0 }: SmtpFailure): Refusal {
  const enhanced = enhancedCode(response);
  if (['5.2.3', '5.3.4'].includes(enhanced) || status === 552) return enhanced === '5.2.2' ? 'address_rejected' : 'content_rejected';
  if (command === 'MAIL FROM') return 'provider_error'; // our sender was refused, not the recipient
  if (GONE.includes(enhanced)) return 'address_gone';
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
