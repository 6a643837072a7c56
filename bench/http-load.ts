/** A small HTTP/1.1 client over plain sockets: the generator shares two cores with what it measures, and must not be the limit. */
import { connect, type Socket } from 'node:net';
import { nowMs } from './clock.ts';

interface Answer {
  readonly status: number;
  readonly body: string;
}

interface Connection {
  /** One request at a time. */
  readonly send: (request: string, onAnswer: (answer: Answer) => void) => void;
  readonly close: () => void;
}

/** `onError` is told when the connection breaks or the answer has no Content-Length. */
function openConnection(port: number, onError: (error: Error) => void): Connection {
  let waiting: ((answer: Answer) => void) | undefined;
  let received = '';
  let closed = false;
  const socket: Socket = connect({ host: '127.0.0.1', port, noDelay: true });
  socket.setEncoding('latin1'); // one character per byte
  socket.on('data', (chunk) => {
    received += String(chunk);
    const answer = parseAnswer(received);
    if (answer === 'incomplete') return;
    received = '';
    const done = waiting;
    waiting = undefined;
    if (answer === 'unreadable' || !done) onError(new Error('an answer without Content-Length, or without a request'));
    else done(answer);
  });
  socket.on('error', onError);
  socket.on('close', () => {
    if (!closed) onError(new Error('the server closed the connection'));
  });
  return {
    send: (request, onAnswer) => {
      waiting = onAnswer;
      socket.write(request, 'latin1');
    },
    close: () => {
      closed = true;
      socket.destroy();
    },
  };
}

function parseAnswer(text: string): Answer | 'incomplete' | 'unreadable' {
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd < 0) return 'incomplete';
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, headEnd))?.[1];
  if (length === undefined) return 'unreadable';
  const bodyStart = headEnd + 4;
  if (text.length < bodyStart + Number(length)) return 'incomplete';
  return { status: Number(text.slice(9, 12)), body: text.slice(bodyStart) };
}

export interface RequestParts {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Bodies are ASCII. */
export function requestText({ path, headers, body }: RequestParts): string {
  const lines = Object.entries({
    host: '127.0.0.1',
    'content-type': 'application/json',
    ...headers,
    'content-length': String(body.length),
  });
  return `POST ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`;
}

export interface Flooded {
  readonly accepted: number;
  readonly startedMs: number;
  readonly endedMs: number;
}

/** Closed loop: each connection sends its next request when it has the answer to the last. Rejects on anything but 202. */
export function flood(port: number, connections: number, next: () => string | undefined): Promise<Flooded> {
  return new Promise((resolve, reject) => {
    let open = connections;
    let accepted = 0;
    const startedMs = nowMs();
    const all = Array.from({ length: connections }, () => openConnection(port, fail));
    function fail(error: Error): void {
      for (const connection of all) connection.close();
      reject(error);
    }
    function step(connection: Connection): void {
      const request = next();
      if (request !== undefined) {
        connection.send(request, (answer) => take(connection, answer));
        return;
      }
      connection.close();
      if (--open === 0) resolve({ accepted, startedMs, endedMs: nowMs() });
    }
    function take(connection: Connection, { status, body }: Answer): void {
      if (status !== 202) {
        fail(new Error(`answered ${status}: ${body.slice(0, 500)}`));
        return;
      }
      accepted++;
      step(connection);
    }
    for (const connection of all) step(connection);
  });
}

/** Id from the 202, and when the request was written. */
export type Sent = readonly [id: string, atMs: number];

/** Open loop: requests leave at their time, whatever the answers do. */
export function pace(
  port: number,
  { perSecond, count, request }: { perSecond: number; count: number; request: (index: number) => string },
): Promise<Sent[]> {
  return new Promise((resolve, reject) => {
    const sent: Sent[] = [];
    const all: Connection[] = [];
    const idle: Connection[] = [];
    const startedMs = nowMs();
    let index = 0;
    const finish = (error?: Error): void => {
      for (const connection of all) connection.close();
      if (error) reject(error);
      else resolve(sent);
    };
    const open = (): Connection => {
      const connection = openConnection(port, finish);
      all.push(connection);
      return connection;
    };
    const sendOne = (): void => {
      const connection = idle.pop() ?? open();
      const text = request(index++);
      const atMs = nowMs();
      connection.send(text, ({ status, body }) => {
        if (status !== 202) {
          finish(new Error(`answered ${status}: ${body.slice(0, 500)}`));
          return;
        }
        idle.push(connection);
        sent.push([(JSON.parse(body) as { id: string }).id, atMs]);
        if (sent.length === count) finish();
      });
    };
    const tick = (): void => {
      while (index < count && nowMs() >= startedMs + (index * 1000) / perSecond) sendOne();
      if (index < count) setTimeout(tick, 1);
    };
    tick();
  });
}
