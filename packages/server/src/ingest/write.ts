/** One batch in one transaction: keys, events and, when there is room, what routing makes of them. */
import type { CarillonEvent, KeyClaim, KnownKey, Tx } from '../domain/event.ts';
import { claimAll, claimAsNew, planRequest, repeatsIn, type Asked, type KeyDeps, type PlannedAnswer } from './repeats.ts';

/** `R` is what routing says of a batch: accepting only hands it on. */
export interface WriteDeps<R> extends KeyDeps {
  readonly inTransaction: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;
  /** Nothing follows in this transaction: COMMIT leaves with the statements issued in this tick. */
  readonly seal: (tx: Tx) => void;
  readonly storeAnswer: (tx: Tx, answer: Omit<KeyClaim, 'hash' | 'ttlMs'>) => Promise<void>;
  readonly insertEvents: (tx: Tx, rows: readonly EventRow[]) => Promise<void>;
  /** Makes the users that these events name, where the installation wants that. */
  readonly mentionUsers: (tx: Tx, events: readonly CarillonEvent[]) => Promise<void>;
  /** Calls `onLast` when it has issued its last statement. Null in a process that does not route. */
  readonly routeNow: ((tx: Tx, events: readonly CarillonEvent[], options: RouteOptions) => Promise<R>) | null;
}

export interface RouteOptions {
  readonly reserve: Places['reserve'];
  readonly onLast: () => void;
}

export interface EventRow {
  readonly event: CarillonEvent;
  readonly requestJson: string;
  readonly state: 'accepted' | 'scheduled' | 'routed';
}

/** Room at this process's worker, taken before the commit and given back when there is none. */
export interface Places {
  readonly reserve: (lane: string) => boolean;
  readonly giveBack: () => void;
}

export interface Written<R> {
  readonly answers: readonly PlannedAnswer[];
  readonly routed: R | null;
  readonly queued: readonly CarillonEvent[];
  readonly fresh: number;
  readonly repeats: number;
}

export interface WriteOptions {
  /** Null: nothing is routed now. */
  readonly places: Places | null;
  /** Everything is taken for new until the keys say otherwise: keys, events and COMMIT then leave together. Rejects with what `isKnownKey` knows. */
  readonly asNew: boolean;
}

const NOTHING_KNOWN: ReadonlyMap<string, KnownKey> = new Map();
/** Routed in the accepting transaction up to here; larger events wait in the queue. */
const MAX_RECIPIENTS_NOW = 100;

export function write<R>(deps: WriteDeps<R>, batch: readonly Asked[], { places, asNew }: WriteOptions): Promise<Written<R>> {
  return deps.inTransaction(async (tx) => {
    const claimed = asNew ? claimAsNew(deps, tx, batch) : null;
    const known = claimed ? NOTHING_KNOWN : await claimAll(deps, tx, batch);
    const plans = batch.map((waiting) => planRequest(waiting, known));
    const fresh = plans.flatMap((plan) => plan.fresh);
    const routeNow = places ? deps.routeNow : null;
    const routable = (event: CarillonEvent) => routeNow !== null && isRoutableNow(event);
    const rows = fresh.map(
      ({ event, requestJson }): EventRow => ({
        event,
        requestJson,
        state: routable(event) ? 'routed' : event.scheduledFor ? 'scheduled' : 'accepted',
      }),
    );
    const now = rows.filter((row) => row.state === 'routed').map((row) => row.event);
    const later = rows.filter((row) => row.state !== 'routed').map((row) => row.event);

    const onLast = () => {
      if (asNew) deps.seal(tx);
    };
    const routing = routeNow && places && now.length > 0 ? routeNow(tx, now, { reserve: places.reserve, onLast }) : null;
    const writing = Promise.all([
      rows.length > 0 ? deps.insertEvents(tx, rows) : null,
      later.length > 0 ? deps.mentionUsers(tx, later) : null,
      ...plans.map((plan) => (plan.corrected === undefined ? null : deps.storeAnswer(tx, plan.corrected))),
    ]);
    if (!routing) onLast();
    const [routed] = await Promise.all([routing, writing, claimed]).catch(async (error: unknown) => {
      await claimed; // when it is the cause, the others only say that the transaction is aborted
      throw error;
    });
    const answers = plans.map((plan) => plan.answer);
    return { answers, routed, queued: later, fresh: rows.length, repeats: answers.reduce((sum, answer) => sum + repeatsIn(answer), 0) };
  });
}

/** No schedule, no order to keep, no texts that others would wait for, and recipients that are all named and few. */
function isRoutableNow({ scheduledFor, request: { to, ordering_key: key, tenant_templates: slow } }: CarillonEvent): boolean {
  return (
    scheduledFor === null &&
    key === undefined &&
    slow === undefined &&
    to.length <= MAX_RECIPIENTS_NOW &&
    to.every((rule) => typeof rule === 'string' || 'user_id' in rule)
  );
}
