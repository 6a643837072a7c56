/** `Idempotency-Key` for POSTs other than accepting events: the effect and its first answer commit together, or neither does. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { CarillonError } from '../domain/error.ts';
import type { KnownKey, RequestKey, Tx } from '../domain/event.ts';
import { sameBytes } from '../lib/crypto.ts';
import { claimKeys, storeAnswer } from '../store/idempotency.ts';

export interface Answer<Body = unknown> {
  /** Only success is stored: an error is thrown, and takes the claim back with everything else. */
  readonly status: 200 | 201 | 202;
  readonly body: Body;
  /** What a repeat is told, when `body` holds a secret. */
  readonly replayBody?: Body;
  readonly location?: string;
  /** Set by `once`: this is the first answer again. */
  readonly replayed?: boolean;
}

export interface OnceDeps {
  /** `Database.asTenant`, or for operators' work one that ignores the tenant. */
  readonly inTransaction: <T>(tenantId: string, work: (tx: Tx) => Promise<T>) => Promise<T>;
  readonly ttlMs: number;
}

const LOCK_TIMEOUT = '55P03';
/** Each waits as long as the transaction's lock timeout, 1 s. */
const MAX_WAITS = 5;

class StillRunning extends Error {}

/** Throws `idempotency_mismatch` for a key that was used with another body, `idempotency_busy` when the first request runs for over 5 s. */
export async function once<Body>(deps: OnceDeps, request: FastifyRequest, work: (tx: Tx) => Promise<Answer<Body>>): Promise<Answer<Body>> {
  const { tenantId } = request.facts.user ?? request.caller;
  const key = request.idempotencyKey();
  if (key === null) return deps.inTransaction(tenantId, work);

  for (let waits = 1; ; waits += 1) {
    try {
      return await deps.inTransaction(tenantId, (tx) => claimAndWork(tx, { ...key, tenantId, ttlMs: deps.ttlMs }, work));
    } catch (error) {
      if (!(error instanceof StillRunning)) throw error;
      if (waits >= MAX_WAITS)
        throw new CarillonError('idempotency_busy', 'The first request with this key has not ended yet.', { retryAfterS: 1 });
    }
  }
}

/** Sends what `once` resolved with. */
export function sendAnswer(reply: FastifyReply, { status, body, location, replayed }: Answer): FastifyReply {
  if (location !== undefined) reply.header('location', location);
  if (replayed) reply.header('idempotent-replayed', 'true');
  return reply.code(status).send(body);
}

async function claimAndWork<Body>(
  tx: Tx,
  key: RequestKey & { tenantId: string; ttlMs: number },
  work: (tx: Tx) => Promise<Answer<Body>>,
): Promise<Answer<Body>> {
  const [known] = await claim(tx, key);
  if (known) {
    if (!sameBytes(known.hash, key.hash))
      throw new CarillonError('idempotency_mismatch', 'The first request with this key had another body.');
    return { ...(known.answer as Answer<Body>), replayed: true };
  }
  const answer = await work(tx);
  const { status, location, body, replayBody = body } = answer;
  await storeAnswer(tx, { tenantId: key.tenantId, route: key.route, key: key.key, answer: { status, body: replayBody, location } });
  return answer;
}

async function claim(tx: Tx, key: RequestKey & { tenantId: string; ttlMs: number }): Promise<KnownKey[]> {
  try {
    return await claimKeys(tx, [{ ...key, answer: null }]);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === LOCK_TIMEOUT)
      throw new StillRunning('the first request is still running', { cause: error });
    throw error;
  }
}
