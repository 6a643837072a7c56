/** E-mail over SMTP: one message, one mailbox, one conversation. Pooling and MIME are nodemailer's. */
import type { createTransport as CreateTransport } from 'nodemailer';
import type { Message, Provider, SendResult } from '../../domain/channel.ts';
import { onAbort, throwIfAborted } from '../../lib/abort.ts';
import { checkHeaderText, checkMailbox } from '../../lib/mailbox.ts';
import type { EmailAddress } from './channel.ts';
import type { RenderedEmail } from './render.ts';
import { fromSmtpFailure, type SmtpFailure } from './smtp-answer.ts';

export interface SmtpOptions {
  readonly host: string;
  readonly port: number;
  /** `starttls` refuses a server that does not offer it; `none` sends in the clear, credentials included. */
  readonly security: 'starttls' | 'tls' | 'none';
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  readonly from: { readonly name?: string | undefined; readonly address: string };
  /** More messages than this wait for a connection, within their total timeout. */
  readonly maxConnections: number;
  /** Domain of the Message-ID, and our name in EHLO. */
  readonly productHost: string;
  /** Name, TCP, TLS and greeting together. */
  readonly connectTimeoutMs: number;
  readonly totalTimeoutMs: number;
  /** Additional certificate authorities, PEM. There is no way to accept any certificate. */
  readonly ca?: string | undefined;
}

const IDLE_MS = 30_000;
const MAX_REPLY_BYTES = 64 * 1024;
const KEPT_CHARS = 4096;

/** Throws when the sender is not one plain mailbox with a printable name. */
export function smtpProvider(options: SmtpOptions): Provider<EmailAddress, RenderedEmail> {
  const from = senderOf(options.from);
  let loaded: ReturnType<typeof load> | undefined;
  const scrub = scrubber(options);

  async function send({ deliveryId, address, content }: Message<EmailAddress, RenderedEmail>, signal: AbortSignal): Promise<SendResult> {
    throwIfAborted(signal);
    const to = checkMailbox(address.mailbox);
    if (!to.ok) return { kind: 'permanent', reason: 'address_rejected', detail: `the address was not tried: ${to.reason}` };
    const badSubject = checkHeaderText(content.subject);
    if (badSubject !== undefined)
      return { kind: 'permanent', reason: 'content_rejected', detail: `the subject was not sent: ${badSubject}` };

    const { transport, watch, composeMail } = await (loaded ??= load(options));
    const attempt = beginAttempt(signal, options.totalTimeoutMs);
    const progress = watch(attempt.signal);
    try {
      const messageId = `<${deliveryId}@${options.productHost}>`; // the same on every attempt: receivers drop repeats by it
      const mail = composeMail(content, { from, to: to.mailbox, deliveryId, messageId, unsubscribe: address.unsubscribe });
      const { response } = await transport.sendMail({ ...mail, signal: attempt.signal });
      return { kind: 'accepted', status: Number(response.slice(0, 3)), response: scrub(response) };
    } catch (error) {
      throwIfAborted(signal);
      if (attempt.signal.aborted) return timedOut(progress.left, options.totalTimeoutMs);
      return fromError(error, progress.left, scrub);
    } finally {
      attempt.end();
    }
  }

  async function close(): Promise<void> {
    (await loaded)?.transport.close();
  }

  return { id: 'email.smtp', send, close };
}

function senderOf({ name = '', address }: SmtpOptions['from']): { name: string; address: string } {
  const mailbox = checkMailbox(address);
  if (!mailbox.ok) throw new Error(`the sender's address is not usable: ${mailbox.reason}`);
  const badName = checkHeaderText(name);
  if (badName !== undefined) throw new Error(`the sender's name is not usable: ${badName}`);
  return { name, address: mailbox.mailbox };
}

interface Progress {
  /** The last byte of the message was handed to the connection. */
  left: boolean;
}

/** With the first mail: an installation that sends none does without the mail library. */
async function load(options: SmtpOptions) {
  const [{ createTransport }, { composeMail }] = await Promise.all([import('nodemailer'), import('./message.ts')]);
  return { composeMail, ...makeTransport(createTransport, options) };
}

function makeTransport(createTransport: typeof CreateTransport, options: SmtpOptions) {
  const { host, port, security, user, password, productHost, connectTimeoutMs, totalTimeoutMs, ca } = options;
  const progressOf = new WeakMap<AbortSignal, Progress>();
  const transport = createTransport({
    pool: true,
    host,
    port,
    name: productHost,
    secure: security === 'tls',
    requireTLS: security === 'starttls',
    ignoreTLS: security === 'none',
    tls: ca === undefined ? {} : { ca },
    ...(user === undefined || password === undefined ? {} : { auth: { user, pass: password } }),
    maxConnections: options.maxConnections,
    maxRequeues: 1, // only for a kept connection that turns out to be dead before a byte was sent
    idleTimeout: IDLE_MS,
    dnsTimeout: connectTimeoutMs,
    connectionTimeout: connectTimeoutMs,
    greetingTimeout: connectTimeoutMs,
    socketTimeout: totalTimeoutMs,
    socketCloseTimeout: 0, // what was given up must not go on being sent
    maxResponseSize: MAX_REPLY_BYTES,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  transport.use('stream', (mail, done) => {
    const progress = mail.data.signal && progressOf.get(mail.data.signal);
    mail.message.processFunc((stream) => stream.once('end', () => progress && (progress.left = true)));
    done();
  });
  function watch(signal: AbortSignal): Progress {
    const progress = { left: false };
    progressOf.set(signal, progress);
    return progress;
  }
  return { transport, watch };
}

/** A signal for this attempt alone: aborted with the caller's, or when its time is up. */
function beginAttempt(signal: AbortSignal, totalTimeoutMs: number): { readonly signal: AbortSignal; readonly end: () => void } {
  const attempt = new AbortController();
  const stop = () => {
    attempt.abort();
  };
  const timer = setTimeout(stop, totalTimeoutMs);
  const forget = onAbort(signal, stop);
  return {
    signal: attempt.signal,
    end: () => {
      clearTimeout(timer);
      forget();
    },
  };
}

function timedOut(left: boolean, totalTimeoutMs: number): SendResult {
  return { kind: left ? 'unknown' : 'transient', reason: 'timeout', detail: `no answer within ${totalTimeoutMs} ms` };
}

function fromError(error: unknown, left: boolean, scrub: (text: string) => string): SendResult {
  if (!(error instanceof Error)) throw error;
  const failure: SmtpFailure = error;
  const result = fromSmtpFailure(
    { ...failure, message: scrub(error.message), response: failure.response && scrub(failure.response) },
    left,
  );
  if (result === undefined) throw error;
  return result;
}

/** Some servers quote what they refuse. Neither the credentials nor more than 4 KiB go into a timeline. */
function scrubber({ user = '', password = '' }: SmtpOptions): (text: string) => string {
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const secrets = password === '' ? [] : [base64(`\0${user}\0${password}`), base64(password), password];
  return (text) => {
    const clean = secrets.reduce((rest, secret) => rest.replaceAll(secret, '***'), text);
    return clean.replaceAll('\0', '\ufffd').slice(0, KEPT_CHARS).toWellFormed();
  };
}
