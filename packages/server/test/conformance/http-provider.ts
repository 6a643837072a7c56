/** The contract, for providers that are one HTTP request: the far end is a real receiver that behaves as told. */
import { createServer, type Socket } from 'node:net';
import type { Provider } from '../../src/domain/channel.ts';
import type { ExchangeDeps } from '../../src/channels/exchange.ts';
import { makeEgress } from '../../src/lib/egress.ts';
import { type Answer, startReceiver } from '../harness/receiver.ts';
import type { Behaviour, ProviderCase, Subject } from './contract.ts';
import { providerContract } from './provider.ts';

export interface HttpCase<Address, Content> extends Omit<ProviderCase<Address, Content>, 'make'> {
  /** `base` is the far end's origin. */
  readonly provider: (deps: ExchangeDeps, base: string) => Provider<Address, Content> | Promise<Provider<Address, Content>>;
  readonly address: (base: string) => Address;
  readonly content: Content;
  /** What the service answers with this status. */
  readonly body: (status: number) => string;
}

const answers: Readonly<Record<string, Answer>> = {
  hang: () => undefined,
  drop: (response) => response.destroy(),
  huge: (response) => response.writeHead(503).end('x'.repeat(1_000_000)),
  echo: (response, request) => response.writeHead(500).end(JSON.stringify(request)),
};

export function httpContract<Address, Content>(subject: HttpCase<Address, Content>): void {
  providerContract(httpSubject(subject));
}

export function httpSubject<Address, Content>(subject: HttpCase<Address, Content>): ProviderCase<Address, Content> {
  return { ...subject, make: (behaviour) => (behaviour === 'silent' ? silent(subject) : speaking(subject, behaviour)) };
}

async function speaking<A, C>(subject: HttpCase<A, C>, behaviour: Exclude<Behaviour, 'silent'>): Promise<Subject<A, C>> {
  const status =
    (code: number): Answer =>
    (response) =>
      response.writeHead(code).end(code === 204 ? undefined : subject.body(code));
  const answer = typeof behaviour === 'number' ? status(behaviour) : (answers[behaviour] ?? (() => undefined));
  const receiver = await startReceiver(answer);
  if (behaviour === 'closed') await receiver.close();
  return {
    ...(await made(subject, `http://127.0.0.1:${receiver.port}`, behaviour === 'closed' ? () => Promise.resolve() : receiver.close)),
    arrived: () => receiver.requests.length,
    openSockets: receiver.openSockets,
  };
}

/** TLS to a port that never says hello. */
async function silent<A, C>(subject: HttpCase<A, C>): Promise<Subject<A, C>> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  const { port } = server.address() as { port: number };
  return { ...(await made(subject, `https://127.0.0.1:${port}`, stop)), arrived: () => 0, openSockets: () => sockets.size };
}

async function made<A, C>({ provider, address, content }: HttpCase<A, C>, base: string, stopFarEnd: () => Promise<void>) {
  const egress = makeEgress({ allowLoopback: true, allowRanges: [], totalTimeoutMs: 150, connectTimeoutMs: 100, maxResponseBytes: 65_536 });
  return {
    provider: await provider({ request: egress.request, now: () => new Date() }, base),
    message: { deliveryId: 'dlv_1', address: address(base), content },
    stop: async () => {
      await egress.close();
      await stopFarEnd();
    },
  };
}

/** One message to a far end that answers as the service would; what arrived there, and what came of it. */
export async function talk<A, C>(
  subject: Pick<HttpCase<A, C>, 'provider' | 'address' | 'content'>,
  answer: { status: number; body?: string; headers?: Record<string, string> },
) {
  const receiver = await startReceiver((response) => response.writeHead(answer.status, answer.headers).end(answer.body));
  const egress = makeEgress({
    allowLoopback: true,
    allowRanges: [],
    totalTimeoutMs: 5_000,
    connectTimeoutMs: 5_000,
    maxResponseBytes: 65_536,
  });
  const base = `http://127.0.0.1:${receiver.port}`;
  const provider = await subject.provider({ request: egress.request, now: () => new Date() }, base);
  const message = { deliveryId: 'dlv_1', address: subject.address(base), content: subject.content };
  const result = await provider.send(message, new AbortController().signal);
  await egress.close();
  await receiver.close();
  return { result, request: receiver.requests[0] };
}
