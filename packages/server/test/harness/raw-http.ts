/** HTTP as bytes on a socket, for requests that no library would send. */
import { connect, type Socket } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** An open connection; what is written to it may be anything. */
export interface RawConnection {
  readonly socket: Socket;
  readonly write: (bytes: string | Buffer) => void;
  /** Everything that came until the server closed, as answers in their order. */
  readonly answers: () => Promise<RawAnswer[]>;
}

export function openConnection(url: string): RawConnection {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => undefined); // the server may close while something is still being sent: what it said before counts
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      resolve();
    });
  });
  return {
    socket,
    write: (bytes) => void socket.write(bytes),
    answers: async () => {
      await closed;
      return parseAnswers(Buffer.concat(chunks));
    },
  };
}

/** One request on a connection of its own. `head` is the request line and the header fields without the last empty line. */
export async function exchange(url: string, head: readonly string[], body: string | Buffer = ''): Promise<RawAnswer> {
  const { write, answers } = openConnection(url);
  write(`${[...head, 'connection: close'].join('\r\n')}\r\n\r\n`);
  if (body.length > 0) write(body);
  const [answer] = await answers();
  if (!answer) throw new Error('the server closed the connection without an answer');
  return answer;
}

function parseAnswers(bytes: Buffer): RawAnswer[] {
  const answers: RawAnswer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf('\r\n\r\n', at);
    if (end < 0) break;
    const [first = '', ...lines] = bytes.toString('latin1', at, end).split('\r\n');
    const headers = Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    );
    const length = headers['content-length'] === undefined ? bytes.length - end - 4 : Number(headers['content-length']);
    answers.push({ status: Number(first.split(' ')[1]), headers, body: bytes.toString('utf8', end + 4, end + 4 + length) });
    at = end + 4 + length;
  }
  return answers;
}
