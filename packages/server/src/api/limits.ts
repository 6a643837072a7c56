/**
 * Rate limits per key and per tenant, shared by all processes on a database. Requests are lent to a process some at a time and
 * then counted in its memory: what is lent is off the limit, so that all together never admit more than it.
 */
import type { FastifyReply } from 'fastify';
import { CarillonError } from '../domain/error.ts';
import type { RateLimit } from '../domain/tenant.ts';
import { makeLru } from '../lib/lru.ts';
import type { Caller } from './auth.ts';

export interface LimitDeps {
  readonly lease: (wanted: { tenantId: string; name: string; limit: RateLimit; wanted: number }) => Promise<{
    readonly granted: number;
    readonly left: number;
    readonly endsInMs: number;
  }>;
  /** Of a key that has none of its own. */
  readonly keyLimit: RateLimit | undefined;
  /** Of a tenant that has none of its own. */
  readonly tenantLimit: RateLimit | undefined;
  readonly monotonicMs: () => number;
}

/** Throws or rejects with `rate_limited`. Sets the headers of the answer either way. At once while something is lent. */
export type Admit = (caller: Caller, reply: Pick<FastifyReply, 'header'>) => void | Promise<void>;

/** What one key, or one tenant, has in this process. */
interface Bucket {
  readonly tenantId: string;
  readonly name: string;
  /** In the headers. */
  readonly policy: 'default' | 'tenant';
  readonly limit: RateLimit;
  lent: number;
  /** With the database, as of the last time it was asked. */
  left: number;
  /** Monotonic. */
  endsAtMs: number;
  asking: Promise<void> | undefined;
}

/** A window's limit is lent in so many parts: as often does a process ask, and so much of it can lie unused in another one. */
const PARTS = 20;
const MAX_BUCKETS = 20_000;

export function makeLimits(deps: LimitDeps): Admit {
  const { monotonicMs } = deps;
  const known = makeLru<Bucket>(MAX_BUCKETS);
  const bucketsOf = new WeakMap<Caller, { buckets: readonly Bucket[]; policies: string }>();

  function bucket(caller: Caller, policy: Bucket['policy'], limit: RateLimit | undefined): Bucket[] {
    if (!limit) return [];
    const { tenantId, keyId } = caller;
    const name = policy === 'tenant' ? policy : keyId;
    const id = `${tenantId}\0${name}\0${limit.requests}/${limit.window_seconds}`;
    const found = known.get(id) ?? { tenantId, name, policy, limit, lent: 0, left: limit.requests, endsAtMs: 0, asking: undefined };
    known.set(id, found);
    return [found];
  }

  function limitsOf(caller: Caller): { buckets: readonly Bucket[]; policies: string } {
    const found = bucketsOf.get(caller);
    if (found) return found;
    const buckets = [
      ...bucket(caller, 'default', caller.keyLimit ?? deps.keyLimit),
      ...bucket(caller, 'tenant', caller.tenantLimit ?? deps.tenantLimit),
    ];
    const made = {
      buckets,
      policies: buckets.map(({ policy, limit }) => `"${policy}";q=${limit.requests};w=${limit.window_seconds}`).join(', '),
    };
    bucketsOf.set(caller, made);
    return made;
  }

  return (caller, reply) => {
    if (!caller.keyLimit && !caller.tenantLimit && !deps.keyLimit && !deps.tenantLimit) return undefined;
    const { buckets, policies } = limitsOf(caller);
    const settle = (refused: Bucket | undefined) => {
      const nowMs = monotonicMs();
      reply.header('ratelimit-policy', policies).header('ratelimit', buckets.map((one) => stateOf(one, nowMs)).join(', '));
      if (refused) throw tooMany(refused, nowMs);
    };
    const taken = takeFrom(deps, buckets);
    if (taken instanceof Promise) return taken.then(settle);
    return settle(taken);
  };
}

/** One of each, or of none: resolves with the bucket that had nothing. */
function takeFrom(deps: LimitDeps, buckets: readonly Bucket[]): Bucket | undefined | Promise<Bucket | undefined> {
  const nowMs = deps.monotonicMs();
  const short = buckets.find((bucket) => bucket.lent === 0 || bucket.endsAtMs <= nowMs);
  if (!short) {
    for (const bucket of buckets) bucket.lent--;
    return undefined;
  }
  if (short.left === 0 && short.endsAtMs > nowMs) return short;
  return ask(deps, short).then(() => takeFrom(deps, buckets));
}

/** Once, whoever waits for it. The time is taken before: on this side the window ends no later than on the other. */
function ask({ lease, monotonicMs }: LimitDeps, bucket: Bucket): Promise<void> {
  bucket.asking ??= (async () => {
    const { tenantId, name, limit } = bucket;
    const askedAtMs = monotonicMs();
    try {
      const { granted, left, endsInMs } = await lease({ tenantId, name, limit, wanted: Math.ceil(limit.requests / PARTS) });
      Object.assign(bucket, { lent: granted, left, endsAtMs: askedAtMs + endsInMs });
    } finally {
      bucket.asking = undefined;
    }
  })();
  return bucket.asking;
}

/** As this process knows it: what others use meanwhile is seen when the next part is lent. */
function stateOf({ policy, lent, left, endsAtMs }: Bucket, nowMs: number): string {
  return `"${policy}";r=${lent + left};t=${secondsUntil(endsAtMs, nowMs)}`;
}

function secondsUntil(atMs: number, nowMs: number): number {
  return Math.max(1, Math.ceil((atMs - nowMs) / 1_000));
}

function tooMany({ policy, limit, endsAtMs }: Bucket, nowMs: number): CarillonError {
  const whose = policy === 'tenant' ? 'All keys of this tenant together' : 'This key';
  return new CarillonError('rate_limited', `${whose} may send ${limit.requests} requests in ${limit.window_seconds} s.`, {
    retryAfterS: secondsUntil(endsAtMs, nowMs),
  });
}
