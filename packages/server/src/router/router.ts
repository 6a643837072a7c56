/**
 * Routing: events become notifications and deliveries, with one recorded decision per recipient and channel.
 * The same function runs inside the accepting transaction and, later, for events claimed from the queue.
 */
import { IN_APP, NO_CHANNEL } from '../domain/channel.ts';
import type { DeliveryJob, NewDelivery } from '../domain/delivery.ts';
import type { Destination } from '../domain/destination.ts';
import type { NewItem } from '../domain/digest.ts';
import type { CarillonEvent, Tx } from '../domain/event.ts';
import type { InboxChange, NewNotification } from '../domain/notification.ts';
import type { QuietHours } from '../domain/quiet-hours.ts';
import type { MadeText, Reader } from '../domain/event-type.ts';
import type { Recipient } from '../domain/user.ts';
import { derivedId } from '../lib/id.ts';
import { decide, type Addressee, type Decision, type Rules } from './decide.ts';
import { closingTime, type NextRun } from './digest.ts';
import { planDestinations, type Announced } from './destinations.ts';
import { nextChunk, withCounts, type AudienceDeps, type Progress, type Step } from './audience.ts';
import { addressed, type Addressed } from './recipients.ts';
import { withList, type Decided, type SuppressionDeps } from './suppression.ts';
import { notificationFor, readerOf, textsFor, withoutText, type WriteTexts } from './texts.ts';
import { withThrottle, type ThrottleDeps } from './throttle.ts';

export interface RouterDeps extends AudienceDeps, SuppressionDeps, ThrottleDeps {
  /** By tenant. A tenant without any may be missing. */
  readonly destinations: (tx: Tx, tenantIds: readonly string[]) => Promise<ReadonlyMap<string, readonly Destination[]>>;
  /** Subject and body for each reader, of an event whose type has templates. */
  readonly texts: WriteTexts;
  readonly insertNotifications: (tx: Tx, rows: readonly NewNotification[]) => Promise<InboxChange[]>;
  readonly insertDeliveries: (tx: Tx, rows: readonly NewDelivery[], token: string) => Promise<void>;
  /** What was inserted for these events waits for its turn. Resolves with the queues. */
  readonly enqueue: (tx: Tx, ordered: readonly CarillonEvent[]) => Promise<readonly number[]>;
  /** Deliveries that this transaction inserts wait in a digest: one that is open, or a new one. */
  readonly joinDigests: (tx: Tx, items: readonly NewItem[]) => Promise<void>;
  readonly nextRun: NextRun;
  /** On the monotonic clock, of a lease that begins now. */
  readonly leaseEndsAtMs: () => number;
  /** What the tenants say of everybody's preferences. */
  readonly defaults: (tx: Tx, tenantIds: ReadonlySet<string>) => Promise<Rules['defaultsOf']>;
  readonly quietUntil: (hours: QuietHours, when: { zone: string; at: Date }) => Date | null;
  /** Deciding for one user threw: what is stored of him is not as it should be. */
  readonly decisionFailed: (eventId: string, userId: string, error: unknown) => void;
  readonly newToken: () => string;
  readonly now: () => Date;
}

/** What came of a batch. It counts only once the transaction has committed. */
export interface Routed {
  readonly progress: readonly Progress[];
  /** Already leased to this process. */
  readonly jobs: readonly DeliveryJob[];
  readonly leaseEndsAtMs: number;
  readonly changes: readonly InboxChange[];
  /** Where deliveries wait for their turn. */
  readonly queues: readonly number[];
  /** Deliveries that wait in the queue. */
  readonly waiting: number;
  /** How often each channel and reason was decided. */
  readonly decisions: readonly { readonly channel: string; readonly reason: string; readonly count: number }[];
}

const recipientKey = (tenantId: string, userId: string): string => `${tenantId}\0${userId}`;

/** Takes a place at this process's worker for one more delivery in that lane; false when there is no room. */
export type Reserve = (lane: string) => boolean;

interface Plan {
  readonly decide: (event: CarillonEvent, addressee: Addressee) => readonly Decision[];
  readonly token: string;
  readonly reserve: Reserve;
  readonly decided: Decided[];
  readonly notifications: NewNotification[];
  readonly deliveries: NewDelivery[];
  readonly jobs: DeliveryJob[];
  readonly digested: NewItem[];
}

export interface RouteOptions {
  readonly reserve: Reserve;
  /** Called in the tick of the last statement: the caller may have COMMIT follow at once. */
  readonly onLast?: () => void;
  /** Told what is decided, before it is written. */
  readonly onDecided?: (decided: readonly Decided[]) => void;
}

/** Decides and writes. Throws what the database throws: the caller's transaction is then lost as a whole, and gives the places back. */
export async function route(
  deps: RouterDeps,
  tx: Tx,
  events: readonly CarillonEvent[],
  { reserve, onLast, onDecided }: RouteOptions,
): Promise<Routed> {
  const parts = events.map((event) => ({ event, ...addressed(event.request.to) }));
  const keys = parts
    .filter(({ audience }) => !audience)
    .flatMap(({ event, named }) => [...named.keys()].map((userId) => ({ tenantId: event.tenantId, userId })));
  const [users, rules, destinations] = await Promise.all([
    keys.length > 0 ? deps.recipients(tx, keys) : new Map<string, Recipient>(),
    rulesFor(deps, tx, events),
    deps.destinations(tx, [...new Set(events.map(({ tenantId }) => tenantId))]),
  ]);

  const plan: Plan = {
    decide: deciderOf(deps, rules),
    token: deps.newToken(),
    reserve,
    decided: [],
    notifications: [],
    deliveries: [],
    jobs: [],
    digested: [],
  };
  const progress = await planAll(deps, { tx, plan, users }, parts);
  await planDestinations(deps, tx, plan, announcedOf(parts, progress, destinations));
  const allowed = await withList(deps, tx, plan.decided, plan.decide);
  const decided = await withThrottle(deps, tx, allowed, rules.closesAt);
  onDecided?.(decided);
  const texts = await textsFor(deps.texts, tx, decided);
  for (const one of decided) planDecided(plan, one, texts.get(one));
  const leaseEndsAtMs = deps.leaseEndsAtMs();
  const changes = await writePlan(deps, tx, plan, onLast);
  const ordered = events.filter(({ ordering }) => ordering !== undefined);
  return {
    progress: withCounts(progress, decided, texts),
    jobs: plan.jobs,
    leaseEndsAtMs,
    changes,
    queues: ordered.length > 0 ? await deps.enqueue(tx, ordered) : [],
    waiting: plan.deliveries.filter(({ state }) => state === 'pending' || state === 'held').length,
    decisions: tally(plan.deliveries),
  };
}

async function writePlan(deps: RouterDeps, tx: Tx, plan: Plan, onLast: RouteOptions['onLast']): Promise<InboxChange[]> {
  const { notifications, deliveries, digested, token } = plan;
  const joining = digested.length > 0;
  const writing = Promise.all([
    deps.insertNotifications(tx, notifications),
    deps.insertDeliveries(tx, deliveries, token),
    joining ? deps.joinDigests(tx, digested) : null,
  ]);
  if (joining) await writing; // which digests those are is known once they are locked
  onLast?.();
  return (await writing)[0];
}

function hasExpired({ expiresAt }: CarillonEvent, { now }: RouterDeps): boolean {
  return expiresAt !== null && expiresAt <= now();
}

interface Part extends Addressed {
  readonly event: CarillonEvent;
}

/** Decides on everybody whom these events address now. Returns where each event then stands. */
async function planAll(
  deps: RouterDeps,
  { tx, plan, users }: { readonly tx: Tx; readonly plan: Plan; readonly users: ReadonlyMap<string, Recipient> },
  parts: readonly Part[],
): Promise<readonly Step[]> {
  const steps: Step[] = [];
  for (const { event, named, audience } of parts) {
    if (hasExpired(event, deps)) {
      steps.push({ id: event.id, state: 'expired', cursor: event.cursor });
      continue;
    }
    if (audience) {
      const { addressees, upTo, size } = await nextChunk(deps, tx, { event, named, audience });
      for (const addressee of addressees) planFor(plan, event, addressee);
      steps.push({ id: event.id, state: upTo === null ? 'routed' : 'accepted', cursor: upTo, size });
      continue;
    }
    for (const [userId, inline] of named) planFor(plan, event, { userId, inline, user: users.get(recipientKey(event.tenantId, userId)) });
    steps.push({ id: event.id, state: 'routed', cursor: null });
  }
  return steps;
}

async function rulesFor(
  { channels, defaults, quietUntil, nextRun, now }: RouterDeps,
  tx: Tx,
  events: readonly CarillonEvent[],
): Promise<Rules> {
  const at = now();
  const defaultsOf = await defaults(tx, new Set(events.map(({ tenantId }) => tenantId)));
  return {
    channels,
    defaultsOf,
    quietUntil: (hours, zone) => quietUntil(hours, { zone, at }),
    closesAt: (times, zone) => closingTime(times, { zone, at }, nextRun),
  };
}

/** Whether or not anybody is told; of a large audience, with its first users. */
function announcedOf(
  parts: readonly { readonly event: CarillonEvent }[],
  progress: Routed['progress'],
  destinations: ReadonlyMap<string, readonly Destination[]>,
): Announced[] {
  return parts.flatMap(({ event }, index) => {
    const ofTenant = event.request.destinations === false ? [] : (destinations.get(event.tenantId) ?? []);
    return ofTenant.length > 0 && event.cursor === null && progress[index]?.state !== 'expired' ? [{ event, destinations: ofTenant }] : [];
  });
}

function tally(rows: readonly NewDelivery[]): Routed['decisions'] {
  const counts = new Map<string, { channel: string; reason: string; count: number }>();
  for (const { channel, reason } of rows) {
    const name = `${channel} ${reason}`;
    const known = counts.get(name);
    if (known) known.count++;
    else counts.set(name, { channel, reason, count: 1 });
  }
  return [...counts.values()];
}

function planFor(plan: Plan, event: CarillonEvent, addressee: Addressee): void {
  plan.decided.push({ event, addressee, decisions: plan.decide(event, addressee) });
}

const UNDECIDED: readonly Decision[] = [{ kind: 'skip', channel: NO_CHANNEL, reason: 'decision_failed', layer: null }];

/** Whom it throws for is recorded as failed, and stops nobody else. */
function deciderOf({ decisionFailed }: RouterDeps, rules: Rules): Plan['decide'] {
  return (event, addressee) => {
    try {
      return decide(event, addressee, rules);
    } catch (error) {
      decisionFailed(event.id, addressee.userId, error);
      return UNDECIDED;
    }
  };
}

function planDecided(plan: Plan, { event, addressee, decisions: wanted }: Decided, text: MadeText | undefined): void {
  const decisions = text?.ok === false ? withoutText(wanted) : wanted;
  const dropped = decisions.some((decision) => decision.channel === NO_CHANNEL);
  const inApp = decisions.some((decision) => decision.kind === 'deliver' && decision.channel === IN_APP);
  const notification = dropped ? undefined : notificationFor(event, addressee.userId, { inApp, text });
  if (notification) plan.notifications.push(notification);
  for (const decision of decisions)
    plan.deliveries.push(
      deliveryFor(
        plan,
        { event, userId: addressee.userId, notification, reader: event.version === null ? undefined : readerOf({ addressee }) },
        decision,
      ),
    );
}

interface Target {
  readonly event: CarillonEvent;
  readonly userId: string;
  readonly notification: NewNotification | undefined;
  /** Of an event whose type has templates. */
  readonly reader: Reader | undefined;
}

function deliveryFor(plan: Plan, target: Target, decision: Decision): NewDelivery {
  const { event, notification } = target;
  const base = baseOf(target, decision);
  if (decision.kind === 'skip') return { ...base, lane: null, state: 'skipped', reason: decision.reason };
  const { channel, address, lane } = decision;
  if (decision.kind === 'digest' || decision.kind === 'hold') return laterFor(plan, { ...base, lane }, decision);
  if (address === null || lane === null || !notification) return { ...base, lane: null, state: 'delivered', reason: 'sent' };

  if (event.ordering || !plan.reserve(lane)) return { ...base, lane, state: 'pending', reason: 'queued' };
  plan.jobs.push(
    jobFor(event, notification, {
      ...base,
      reader: target.reader,
      channel,
      address,
      lane,
      notificationId: notification.id,
      token: plan.token,
    }),
  );
  return { ...base, lane, state: 'sending', reason: 'sending' };
}

type Later = Extract<Decision, { kind: 'digest' | 'hold' }>;

function laterFor(plan: Plan, base: Omit<NewDelivery, 'state' | 'reason'>, decision: Later): NewDelivery {
  const { reason, until } = decision;
  if (decision.kind === 'hold')
    return { ...base, state: reason === 'delayed' ? 'pending' : 'held', reason, dueAt: earlier(until, base.expiresAt) };
  const { id: deliveryId, tenantId, userId, channel, address } = base;
  plan.digested.push({ deliveryId, tenantId, userId: userId ?? '', channel, address: address ?? '', key: decision.key, closesAt: until });
  return { ...base, state: 'held', reason };
}

function baseOf({ event, userId, notification }: Target, decision: Decision): Omit<NewDelivery, 'lane' | 'state' | 'reason'> {
  const { channel } = decision;
  const { critical, max_retries: maxRetries } = event.request;
  const address = decision.kind === 'skip' ? null : decision.address;
  return {
    id: derivedId(event.dueAt, event.id, userId, channel, address ?? ''),
    tenantId: event.tenantId,
    eventId: event.id,
    notificationId: notification?.id ?? null,
    userId,
    destinationId: null,
    channel,
    address,
    critical: critical ?? false,
    expiresAt: event.expiresAt,
    createdAt: event.dueAt,
    maxAttempts: maxRetries === undefined ? null : maxRetries + 1,
    dueAt: null,
  };
}

/** What is held past its expiry is looked at when it expires. */
function earlier(time: Date, expiresAt: Date | null): Date {
  return expiresAt !== null && expiresAt < time ? expiresAt : time;
}

type JobFields = Omit<DeliveryJob, 'attempt' | 'last' | 'destination' | 'event' | 'content' | 'recipient' | 'cancelled'>;

/** Its decision is made in the transaction that leases it: the gate has nothing to add. */
export function jobFor(event: CarillonEvent, notification: NewNotification, fields: JobFields): DeliveryJob {
  const { type, acceptedAt, request } = event;
  return {
    ...fields,
    destination: null,
    attempt: 1,
    last: null,
    event: { type, category: request.category ?? null, acceptedAt, data: request.data, version: event.version },
    content: notification,
    recipient: null,
    cancelled: false,
  };
}
