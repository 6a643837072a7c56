/** A real HTTP receiver on a free port of the loopback interface, for tests of what leaves. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

export interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export interface Receiver {
  readonly port: number;
  /** Connections ever opened, requests or not. */
  readonly connections: () => number;
  readonly openSockets: () => number;
  readonly requests: readonly Received[];
  readonly close: () => Promise<void>;
}

/** Called with each request once its body is there. Not answering is an answer, too. */
export type Answer = (response: ServerResponse, request: Received) => void;

export async function startReceiver(answer: Answer, tls?: { key: string; cert: string }): Promise<Receiver> {
  const requests: Received[] = [];
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    void readAll(request).then((body) => {
      const received = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body };
      requests.push(received);
      answer(response, received);
    });
  };
  const server = tls === undefined ? createServer(onRequest) : createTlsServer(tls, onRequest);
  const sockets = watchSockets(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    connections: sockets.ever,
    openSockets: sockets.open,
    requests,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

async function readAll(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

function watchSockets(server: Server) {
  const sockets = new Set<Socket>();
  let ever = 0;
  server.on('connection', (socket: Socket) => {
    ever += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
  });
  return { ever: () => ever, open: () => sockets.size };
}
