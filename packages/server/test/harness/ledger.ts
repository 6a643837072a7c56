/**
 * Two ledgers: what Carillon acknowledged, and what the receiver got. Whatever happens in between, the first must be
 * contained in the second, and what stands twice in the second must have been in flight when somebody was killed.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

export interface Arrival {
  /** Of the receiver's monotonic clock, like every time here. */
  readonly atMs: number;
  /** `webhook-id` */
  readonly deliveryId: string;
  readonly eventId: string;
  readonly userId: string;
}

export interface Receiver {
  readonly urlOf: (userId: string) => string;
  readonly arrivals: readonly Arrival[];
  readonly close: () => Promise<void>;
}

/** When to answer 200: `done` ends the request. */
export type Answering = (arrival: Arrival, done: () => void) => void;

export async function startReceiver(answering: Answering): Promise<Receiver> {
  const arrivals: Arrival[] = [];
  const server = createServer((request, response) => {
    void receive(request, response, (arrival) => {
      arrivals.push(arrival);
      answering(arrival, () => response.end());
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    urlOf: (userId) => `http://127.0.0.1:${port}/${userId}`,
    arrivals,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

async function receive(request: IncomingMessage, response: ServerResponse, arrived: (arrival: Arrival) => void): Promise<void> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of request) chunks.push(chunk as Buffer);
  } catch {
    return; // killed while it wrote: nothing has arrived
  }
  const { data } = JSON.parse(Buffer.concat(chunks).toString()) as { data: { event_id: string; user_id: string } };
  response.on('error', () => undefined);
  arrived({ atMs: performance.now(), deliveryId: String(request.headers['webhook-id']), eventId: data.event_id, userId: data.user_id });
}

export interface Acknowledged {
  readonly atMs: number;
  readonly eventId: string;
  /** What the sender calls it: the same over all tries of one request. */
  readonly mark: string;
  readonly users: readonly string[];
}

export interface Answer {
  readonly sentMs: number;
  readonly atMs: number;
  /** 0: the connection broke. */
  readonly status: number;
  readonly retryAfter: string | null;
}

export interface Load {
  readonly acknowledged: readonly Acknowledged[];
  readonly answers: readonly Answer[];
  /** Resolves when the last request has had its answer. */
  readonly stop: () => Promise<void>;
}

export interface LoadOptions {
  /** Where Carillon listens; each request goes to one of them. */
  readonly urls: readonly string[];
  readonly key: string;
  readonly users: readonly string[];
  readonly urlOf: (userId: string) => string;
  readonly random: () => number;
  /** Connections that post one event each, with an Idempotency-Key and until it is acknowledged. */
  readonly singles: number;
  /** Connections that post batches of ten and never repeat one. */
  readonly batches: number;
  /** Between an answer and the next request of the same connection. */
  readonly pauseMs: number;
}

const BATCH = 10;
const GIVE_UP_MS = 60_000;

export function startLoad(options: LoadOptions): Load {
  const acknowledged: Acknowledged[] = [];
  const answers: Answer[] = [];
  const stopping = new AbortController();
  const post = poster(options, answers);

  async function single(): Promise<void> {
    const item = itemFor(options);
    const body = JSON.stringify(item.wire);
    // An unanswered request is repeated past the end of the load, so that what became of it is known.
    for (const end = performance.now() + GIVE_UP_MS; performance.now() < end; ) {
      const answer = (await post('/v1/notifications', body, item.mark)) as { id: string } | undefined;
      if (answer) {
        acknowledged.push({ atMs: performance.now(), eventId: answer.id, mark: item.mark, users: item.users });
        return;
      }
      await pause(options.pauseMs);
    }
    throw new Error(`nobody took ${item.mark} for ${GIVE_UP_MS} ms`);
  }

  async function batch(): Promise<void> {
    const items = Array.from({ length: BATCH }, () => itemFor(options));
    const answer = (await post('/v1/notifications/batch', JSON.stringify(items.map(({ wire }) => wire)))) as
      | { results: { id: string }[] }
      | undefined;
    answer?.results.forEach(({ id }, index) => {
      const { mark, users } = items[index]!;
      acknowledged.push({ atMs: performance.now(), eventId: id, mark, users });
    });
  }

  async function repeat(work: () => Promise<void>): Promise<void> {
    while (!stopping.signal.aborted) {
      await work();
      await pause(options.pauseMs * (0.5 + options.random()));
    }
  }

  const loops = [
    ...Array.from({ length: options.singles }, () => repeat(single)),
    ...Array.from({ length: options.batches }, () => repeat(batch)),
  ];
  return {
    acknowledged,
    answers,
    stop: async () => {
      stopping.abort();
      await Promise.all(loops);
    },
  };
}

function itemFor({ users, urlOf, random }: LoadOptions) {
  const count = random() < 0.3 ? 2 : 1;
  const first = Math.floor(random() * users.length);
  const chosen = Array.from({ length: count }, (_, index) => users[(first + index) % users.length]!);
  const mark = randomUUID();
  return {
    mark,
    users: chosen,
    wire: { to: chosen.map((id) => ({ user_id: id, webhook_url: urlOf(id) })), subject: 'Chaos', metadata: { mark } },
  };
}

/** Resolves with the body of a 202, else with undefined. */
function poster({ urls, key, random }: LoadOptions, answers: Answer[]) {
  return async (path: string, body: string, idempotencyKey?: string): Promise<unknown> => {
    const sentMs = performance.now();
    const url = urls[Math.floor(random() * urls.length)]!;
    const noted = (status: number, retryAfter: string | null) => answers.push({ sentMs, atMs: performance.now(), status, retryAfter });
    const headers = {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      ...(idempotencyKey && { 'idempotency-key': idempotencyKey }),
    };
    try {
      const response = await fetch(url + path, { method: 'POST', headers, body });
      const answer: unknown = await response.json(); // an answer that breaks off is none
      noted(response.status, response.headers.get('retry-after'));
      return response.status === 202 ? answer : undefined;
    } catch {
      noted(0, null);
      return undefined;
    }
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Acknowledged and not delivered: `event user` each. */
export function missing(acknowledged: readonly Acknowledged[], arrivals: readonly Arrival[]): string[] {
  const got = new Set(arrivals.map(({ eventId, userId }) => `${eventId} ${userId}`));
  return acknowledged.flatMap(({ eventId, users }) => users.map((user) => `${eventId} ${user}`)).filter((pair) => !got.has(pair));
}

/** Something was killed: nothing it had sent is recorded after `fromMs`, and its successor sends from `untilMs` at the latest. */
export interface Kill {
  readonly what: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

export interface Repeat {
  readonly deliveryId: string;
  readonly firstMs: number;
  readonly againMs: number;
  /** The kill that lies between; undefined: none does, and it is an error. */
  readonly kill: Kill | undefined;
}

/** Each arrival of a delivery that had arrived before. */
export function repeats(arrivals: readonly Arrival[], kills: readonly Kill[]): Repeat[] {
  const byDelivery = Map.groupBy(arrivals, ({ deliveryId }) => deliveryId);
  return [...byDelivery].flatMap(([deliveryId, all]) =>
    all.slice(1).map(({ atMs: againMs }, index) => {
      const firstMs = all[index]!.atMs;
      return { deliveryId, firstMs, againMs, kill: kills.find(({ fromMs, untilMs }) => firstMs <= untilMs && againMs >= fromMs) };
    }),
  );
}
