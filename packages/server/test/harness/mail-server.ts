/** A real SMTP server on a free port of the loopback interface, for tests of mail. */
import type { AddressInfo, Socket } from 'node:net';
import { type SMTPServerAuthentication, SMTPServer, type SMTPServerOptions } from 'smtp-server';

export interface ReceivedMail {
  readonly from: string;
  readonly to: readonly string[];
  readonly user: string | undefined;
  /** The connection was encrypted when the mail came. */
  readonly secure: boolean;
  readonly raw: string;
}

export interface MailServer {
  readonly port: number;
  readonly mails: readonly ReceivedMail[];
  readonly connections: () => number;
  readonly openSockets: () => number;
  /** Cuts every open connection. */
  readonly drop: () => void;
  readonly close: () => Promise<void>;
}

type Refuse = { readonly status: number; readonly text: string } | undefined;

export interface MailBehaviour {
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Speaks TLS from the first byte instead of offering STARTTLS. */
  readonly implicitTls?: boolean;
  readonly auth?: (auth: SMTPServerAuthentication) => Refuse;
  readonly greet?: () => Refuse;
  readonly mailFrom?: (address: string) => Refuse;
  readonly rcptTo?: (address: string) => Refuse;
  /** After the whole message has come. `hang` never answers, `drop` cuts the connection. */
  readonly data?: (mail: ReceivedMail) => Refuse | 'hang' | 'drop';
}

export async function startMailServer(behaviour: MailBehaviour = {}): Promise<MailServer> {
  const mails: ReceivedMail[] = [];
  let connections = 0;
  const server = new SMTPServer(optionsOf(behaviour, mails, drop));
  server.on('error', () => undefined); // a client that goes away in the middle is part of the tests
  server.server.on('connection', () => {
    connections += 1;
  });
  /** The library's own list: after STARTTLS it knows which socket is the outer one. */
  function open(): Set<{ _socket: Socket }> {
    return (server as unknown as { connections: Set<{ _socket: Socket }> }).connections;
  }
  function drop(): void {
    for (const { _socket } of open()) _socket.destroy();
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.server.address() as AddressInfo).port,
    mails,
    connections: () => connections,
    openSockets: () => open().size,
    drop,
    close: () =>
      new Promise((resolve) => {
        drop();
        server.close(resolve);
      }),
  };
}

function optionsOf(behaviour: MailBehaviour, mails: ReceivedMail[], drop: () => void): SMTPServerOptions {
  const { tls, implicitTls = false, auth, greet, mailFrom, rcptTo, data } = behaviour;
  return {
    ...tls,
    secure: implicitTls,
    disabledCommands: [...(tls === undefined ? ['STARTTLS'] : []), ...(auth === undefined ? ['AUTH'] : [])],
    authOptional: auth === undefined,
    allowInsecureAuth: tls === undefined,
    disableReverseLookup: true,
    closeTimeout: 100,
    onConnect: (_, done) => done(errorOf(greet?.())),
    onAuth: (given, _, done) => {
      const refusal = auth?.(given);
      if (refusal === undefined) done(null, { user: given.username });
      else done(errorOf(refusal));
    },
    onMailFrom: ({ address }, _, done) => done(errorOf(mailFrom?.(address))),
    onRcptTo: ({ address }, _, done) => done(errorOf(rcptTo?.(address))),
    onData: (stream, session, done) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const { mailFrom: from, rcptTo: to } = session.envelope;
        const mail = {
          from: from === false ? '' : from.address,
          to: to.map(({ address }) => address),
          user: session.user,
          secure: session.secure,
          raw: Buffer.concat(chunks).toString(),
        };
        mails.push(mail);
        const outcome = data?.(mail);
        if (outcome === 'drop') drop();
        else if (outcome !== 'hang') done(errorOf(outcome));
      });
    },
  };
}

function errorOf(refusal: Refuse): Error | undefined {
  return refusal && Object.assign(new Error(refusal.text), { responseCode: refusal.status });
}
