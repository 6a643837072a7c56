/** New or a repeat: idempotency keys of whole requests and of items, claimed in the transaction of what they stand for. */
import { CarillonError } from '../domain/error.ts';
import type {
  AcceptAnswer,
  AcceptItem,
  AcceptRequest,
  AcceptResult,
  CarillonEvent,
  KeyClaim,
  KnownKey,
  RequestKey,
  Tx,
} from '../domain/event.ts';
import { sameBytes } from '../lib/crypto.ts';

export interface KeyDeps {
  /** Inserts the keys, and returns those that were known already. Waits for a transaction that holds one. */
  readonly claimKeys: (tx: Tx, claims: readonly KeyClaim[]) => Promise<readonly KnownKey[]>;
  /** The same for keys that are all taken for new: rejects when one was known, and the transaction is then aborted. */
  readonly claimNewKeys: (tx: Tx, claims: readonly KeyClaim[]) => Promise<void>;
  /** Whether that is what an error says. */
  readonly isKnownKey: (error: unknown) => boolean;
  readonly recallKey: (tenantId: string, key: RequestKey) => Promise<KnownKey | undefined>;
  readonly keyTtlMs: number;
}

/** A request on its way in. */
export interface Asked {
  readonly request: AcceptRequest;
  readonly rows: readonly { readonly item: AcceptItem; readonly requestJson: string }[];
}

export function keyName(tenantId: string, { route, key }: Pick<RequestKey, 'route' | 'key'>): string {
  return `${tenantId}\0${route}\0${key}`;
}

/**
 * Claims the keys of requests and of items together, without looking whether a request is a repeat: what is written beside
 * does not wait for the answer. Rejects, and the transaction is aborted, when anything was known: `isKnownKey`.
 */
export function claimAsNew(deps: KeyDeps, tx: Tx, batch: readonly Asked[]): Promise<unknown> {
  const claims = [claimsOfRequests(deps, batch), claimsOfItems(deps, batch)].map(distinct);
  return Promise.all(claims.filter((some) => some.length > 0).map((some) => deps.claimNewKeys(tx, some)));
}

/**
 * Keys that were known before this transaction, by name. The items' keys are claimed after those of whole requests, and only for
 * requests that are new: a repeat, or a mismatch, leaves nothing behind. Names sort the same way, so that nobody deadlocks.
 */
export async function claimAll(deps: KeyDeps, tx: Tx, batch: readonly Asked[]): Promise<ReadonlyMap<string, KnownKey>> {
  const known = await claim(deps, tx, claimsOfRequests(deps, batch));
  const fresh = batch.filter(({ request: { tenantId, requestKey } }) => !requestKey || !known.has(keyName(tenantId, requestKey)));
  return new Map([...known, ...(await claim(deps, tx, claimsOfItems(deps, fresh)))]);
}

function claimsOfRequests({ keyTtlMs: ttlMs }: KeyDeps, batch: readonly Asked[]): KeyClaim[] {
  return batch.flatMap(({ request: { tenantId, requestKey, items, compose } }) => {
    const asAssumed = () => compose(items.map(({ event }) => ({ id: event.id, duplicate: false })));
    return requestKey ? [{ ...requestKey, tenantId, answer: asAssumed(), ttlMs }] : [];
  });
}

function claimsOfItems({ keyTtlMs: ttlMs }: KeyDeps, batch: readonly Asked[]): KeyClaim[] {
  return batch.flatMap(({ request: { tenantId, items } }) =>
    items.flatMap(({ event, itemKey }) =>
      itemKey ? [{ ...itemKey, tenantId, answer: { id: event.id }, ttlMs: itemKey.ttlMs ?? ttlMs }] : [],
    ),
  );
}

async function claim(deps: KeyDeps, tx: Tx, claims: readonly KeyClaim[]): Promise<Map<string, KnownKey>> {
  if (claims.length === 0) return new Map();
  const known = await deps.claimKeys(tx, distinct(claims));
  return new Map(known.map((key) => [keyName(key.tenantId, key), key]));
}

/** Of equal keys the first one counts. */
function distinct(claims: readonly KeyClaim[]): KeyClaim[] {
  return [...new Map(claims.toReversed().map((one) => [keyName(one.tenantId, one), one])).values()];
}

/** `refused`: its key stands for another body. One bad request fails alone: its neighbours share the transaction. */
export type PlannedAnswer = AcceptAnswer | { readonly kind: 'refused'; readonly error: CarillonError };

export interface RequestPlan {
  readonly answer: PlannedAnswer;
  readonly fresh: readonly { readonly event: CarillonEvent; readonly requestJson: string }[];
  /** The request's stored answer, when its items came out otherwise than first assumed. */
  readonly corrected?: Omit<KeyClaim, 'hash' | 'ttlMs'> | undefined;
}

export function planRequest(waiting: Asked, known: ReadonlyMap<string, KnownKey>): RequestPlan {
  const { tenantId, requestKey, compose } = waiting.request;
  const first = requestKey ? known.get(keyName(tenantId, requestKey)) : undefined;
  if (requestKey && first) return { answer: replay(requestKey, first), fresh: [] };

  const seen = new Map<string, { id: string; hash: Uint8Array }>();
  const fresh: { event: CarillonEvent; requestJson: string }[] = [];
  const results = waiting.rows.map(({ item: { event, itemKey }, requestJson }): AcceptResult => {
    const earlier = itemKey ? (seen.get(itemKey.key) ?? firstItem(known.get(keyName(tenantId, itemKey)))) : undefined;
    if (itemKey && earlier)
      return sameBytes(earlier.hash, itemKey.hash) ? { id: earlier.id, duplicate: true } : { error: mismatch(itemKey) };
    if (itemKey) seen.set(itemKey.key, { id: event.id, hash: itemKey.hash });
    fresh.push({ event, requestJson });
    return { id: event.id, duplicate: false };
  });
  const asAssumed = fresh.length === results.length;
  const corrected = requestKey && !asAssumed ? { ...requestKey, tenantId, answer: compose(results) } : undefined;
  return { answer: { kind: 'accepted', results }, fresh, corrected };
}

function replay(key: RequestKey, first: KnownKey): PlannedAnswer {
  return sameBytes(first.hash, key.hash) ? { kind: 'replayed', answer: first.answer } : { kind: 'refused', error: mismatch(key) };
}

function firstItem(known: KnownKey | undefined): { id: string; hash: Uint8Array } | undefined {
  return known && { id: (known.answer as { id: string }).id, hash: known.hash };
}

export async function recall(deps: KeyDeps, tenantId: string, key: RequestKey): Promise<unknown> {
  const known = await deps.recallKey(tenantId, key);
  if (!known) return undefined;
  if (!sameBytes(known.hash, key.hash)) throw mismatch(key);
  return known.answer;
}

function mismatch({ key }: RequestKey): CarillonError {
  return new CarillonError('idempotency_mismatch', `the key ${JSON.stringify(key)} came first with another body`);
}

/** Items, or the whole request, that were repeats. */
export function repeatsIn(answer: PlannedAnswer): number {
  if (answer.kind === 'accepted') return answer.results.filter((result) => 'duplicate' in result && result.duplicate).length;
  return answer.kind === 'replayed' ? 1 : 0;
}
