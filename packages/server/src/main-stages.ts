/** Accepting and routing, wired, with the worker behind them. Part of the composition root. */
import { randomUUID } from 'node:crypto';
import type { Config } from './config.ts';
import type { Worker } from './delivery/worker.ts';
import type { CarillonEvent, Tx } from './domain/event.ts';
import type { Throttle } from './domain/throttle.ts';
import type { InboxChange } from './domain/notification.ts';
import type { ListedAddress } from './domain/suppression.ts';
import { makeAcceptor, type Acceptor } from './ingest/accept.ts';
import { makeAlarm, type Alarm } from './lib/alarm.ts';
import { nextRun } from './lib/cron.ts';
import { makeLru } from './lib/lru.ts';
import { makeDelivery, type DeliveryDeps } from './main-delivery.ts';
import { digestChores } from './main-digests.ts';
import { makeTurns, type Turns } from './main-ordering.ts';
import { areSuppressed } from './main-suppressions.ts';
import type { Hints } from './realtime/hints.ts';
import { runRouter } from './router/queue.ts';
import { route, type Routed, type RouteOptions } from './router/router.ts';
import type { Chore } from './scheduler/scheduler.ts';
import { isLockTimeout, isUnavailable, seal } from './store/database.ts';
import { insertDeliveries } from './store/deliveries.ts';
import { joinDigests } from './store/digest-joining.ts';
import { claimEvent, claimEvents, dueEventIds, insertEvents, nextEventDueMs, postponeEvent, recordProgress } from './store/events.ts';
import { claimKeys, claimNewKeys, isKnownKey, recallKeys, storeAnswer } from './store/idempotency.ts';
import { insertNotifications } from './store/notifications.ts';
import { enqueue, numberEvents } from './store/ordering.ts';
import { audienceChunk, audienceSize, insertMentioned, recipientsFor } from './store/recipients.ts';
import { admitThrottled } from './store/throttles.ts';

export interface StageDeps extends DeliveryDeps {
  readonly publish: (changes: readonly InboxChange[]) => void;
  readonly hints: Hints;
}

export interface Stages {
  readonly acceptor: Acceptor;
  /** Something is due, here or anywhere. */
  readonly wake: () => void;
  /** Each runs until `stop`; attempts in flight then have until `kill`. Never rejects. */
  readonly runRouter: (stop: AbortSignal) => Promise<void>;
  readonly runWorker: (stop: AbortSignal, kill: AbortSignal) => Promise<void>;
  /** Of deliveries with an ordering key. */
  readonly sweepTurns: () => Promise<void>;
  /** Upkeep, and so of the role `scheduler` alone. */
  readonly digestChores: readonly Chore[];
}

/** What accepting and routing share. */
interface Path {
  readonly worker: Worker;
  readonly alarm: Alarm;
  readonly places: Worker['places'];
  readonly recipients: (tx: Tx, keys: readonly UserKey[]) => ReturnType<typeof recipientsFor>;
  readonly route: (tx: Tx, events: readonly CarillonEvent[], options: RouteOptions) => Promise<Routed>;
  readonly handOver: (routed: Routed) => void;
}

interface UserKey {
  readonly tenantId: string;
  readonly userId: string;
}

/** Ids of users that exist. */
const KNOWN_USERS = 20_000;
const NO_PLACES = { reserve: () => false, giveBack: () => undefined };

export function makeStages(deps: StageDeps): Stages {
  const { config, clock } = deps;
  const worker = makeDelivery(deps, (queues) => void turns.take(queues));
  const turns = makeTurns(deps, worker.wake);
  const alarm = makeAlarm(clock.monotonicMs);
  const recipients: Path['recipients'] = (tx, keys) => recipientsFor(tx, keys, { create: config['users.create'] === 'on_mention' });
  const path: Path = {
    worker,
    alarm,
    places: config.roles.includes('delivery') ? worker.places : () => NO_PLACES,
    recipients,
    route: makeRoute(deps, recipients),
    handOver: (routed) => {
      handOver(deps, { worker, turns }, routed);
    },
  };
  return {
    acceptor: acceptorOn(deps, path),
    wake: () => {
      alarm.ring();
      worker.wake();
    },
    runRouter: (stop) => routerOn(deps, path, stop),
    runWorker: worker.run,
    sweepTurns: turns.sweep,
    digestChores: digestChores(deps, worker.wake),
  };
}

function makeRoute(parts: StageDeps, recipients: Path['recipients']): Path['route'] {
  const { config, clock } = parts;
  const leaseMs = config['delivery.lease'];
  const deps = {
    ...routingReads(parts),
    recipients,
    insertNotifications,
    insertDeliveries: (tx: Tx, rows: Parameters<typeof insertDeliveries>[1], token: string) =>
      insertDeliveries(tx, rows, { token, leaseMs }),
    enqueue,
    joinDigests,
    leaseEndsAtMs: () => clock.monotonicMs() + leaseMs,
    admit: admitThrottled,
    newToken: randomUUID,
    now: clock.now,
  };
  return (tx, events, options) => route(deps, tx, events, options);
}

/** What routing asks and what changes nothing: of the preview too. */
export function routingReads({ config, channels, catalog, destinations, defaults, quietUntil, log }: DeliveryDeps) {
  return {
    audience: audienceChunk,
    audienceSize,
    destinations: destinations.of,
    texts: catalog.texts,
    channels: channels.facts,
    areSuppressed: (tx: Tx, addresses: readonly ListedAddress[]) => areSuppressed(channels.facts, tx, addresses),
    defaults: defaults.read,
    throttleOf: throttlesOf(config, defaults),
    quietUntil,
    decisionFailed: (eventId: string, userId: string, error: unknown) => {
      log('router.decision-failed', { eventId, userId, error });
    },
    nextRun,
  };
}

/** The tenant's own, else the installation's. */
function throttlesOf(config: Config, defaults: StageDeps['defaults']): (tenantId: string) => Throttle | undefined {
  const max = config['throttle.max_per_window'];
  const ours = { max_per_window: max, window_seconds: config['throttle.window'] / 1_000, per: config['throttle.per'] };
  return (tenantId) => defaults.settingsOf(tenantId).throttle ?? (max > 0 ? ours : undefined);
}

function handOver(
  { publish, hints, metrics }: StageDeps,
  { worker, turns }: { worker: Worker; turns: Turns },
  { jobs, leaseEndsAtMs, changes, queues, waiting, decisions }: Routed,
): void {
  worker.take(jobs, leaseEndsAtMs);
  publish(changes);
  if (waiting > 0) {
    worker.wake();
    hints.work();
  }
  if (queues.length > 0) void turns.take(queues);
  for (const { channel, reason, count } of decisions) metrics.decided(channel, reason, count);
}

/** With their numbers, where they have an order to keep. */
export async function writeEvents(tx: Tx, rows: Parameters<typeof insertEvents>[1]): Promise<void> {
  const ordered = rows.flatMap(({ event }) => (event.request.ordering_key === undefined ? [] : [event]));
  await Promise.all([insertEvents(tx, rows), numberEvents(tx, ordered)]);
}

function acceptorOn({ config, database, clock, hints, metrics, log }: StageDeps, path: Path): Acceptor {
  return makeAcceptor<Routed>({
    inTransaction: database.transaction,
    seal,
    claimKeys,
    claimNewKeys,
    isKnownKey,
    recallKey: async (tenantId, key) => (await recallKeys(database.engine, [{ ...key, tenantId }]))[0],
    storeAnswer,
    insertEvents: writeEvents,
    mentionUsers: mentionerOf(config),
    routeNow: config.roles.includes('router') ? path.route : null,
    places: path.places,
    handOver: path.handOver,
    queued: (events) => {
      const nowMs = clock.now().getTime();
      for (const event of events) path.alarm.ringIn(event.dueAt.getTime() - nowMs);
      hints.work();
    },
    counted: (fresh, repeats) => {
      metrics.eventsAccepted(fresh);
      metrics.eventsDuplicate(repeats);
    },
    isUnavailable,
    isLockTimeout,
    keyTtlMs: config['idempotency.ttl'],
    monotonicMs: clock.monotonicMs,
    log,
  });
}

/** A user that was there is not looked for each time: one erased since then is made again when the event is routed. */
function mentionerOf(config: StageDeps['config']): (tx: Tx, events: readonly CarillonEvent[]) => Promise<void> {
  if (config['users.create'] === 'never') return () => Promise.resolve();
  const known = makeLru<true>(KNOWN_USERS);
  return async (tx, events) => {
    const users = new Map(events.flatMap(namedUsers).map((user) => [recipientKey(user), user]));
    for (const key of [...users.keys()].filter((one) => known.get(one))) users.delete(key);
    if (users.size === 0) return;
    const made = new Set((await insertMentioned(tx, [...users.values()])).map((row) => recipientKey({ ...row, userId: row.id })));
    for (const key of [...users.keys()].filter((one) => !made.has(one))) known.set(key, true); // those made here are not committed yet
  };
}

function recipientKey({ tenantId, userId }: UserKey): string {
  return `${tenantId}\0${userId}`;
}

function routerOn({ database, clock, metrics, log }: StageDeps, path: Path, stop: AbortSignal): Promise<void> {
  const deps = {
    inTransaction: database.transaction,
    claimEvents,
    claimEvent,
    dueEventIds,
    route: path.route,
    recordProgress,
    postpone: postponeEvent,
    places: path.places,
    handOver: path.handOver,
    nextDueMs: () => nextEventDueMs(database.engine),
    alarm: path.alarm,
    scheduledLate: (event: CarillonEvent) => {
      metrics.scheduledLate((clock.now().getTime() - event.dueAt.getTime()) / 1_000);
    },
    monotonicMs: clock.monotonicMs,
    isUnavailable,
    log,
  };
  return runRouter(deps, stop);
}

function namedUsers({ tenantId, request: { to } }: CarillonEvent): { tenantId: string; userId: string }[] {
  return to.flatMap((rule) =>
    typeof rule === 'string' ? [{ tenantId, userId: rule }] : 'user_id' in rule ? [{ tenantId, userId: rule.user_id }] : [],
  );
}
