/** The preview: the router itself with its writers unplugged. What it would write is handed back instead. */
import { NO_CHANNEL } from '../domain/channel.ts';
import type { DeliveryJob, NewDelivery } from '../domain/delivery.ts';
import type { Destination } from '../domain/destination.ts';
import type { NewItem } from '../domain/digest.ts';
import type { CarillonEvent, Tx } from '../domain/event.ts';
import type { NewNotification } from '../domain/notification.ts';
import { NO_PREFERENCES, type Layer } from '../domain/preference.ts';
import type { Recipient } from '../domain/user.ts';
import { jobFor as destinationJobFor } from './destinations.ts';
import { addressed, type Audience } from './recipients.ts';
import { jobFor, route, type RouterDeps } from './router.ts';
import type { Decided } from './suppression.ts';
import { readerOf } from './texts.ts';
import type { Asked } from './throttle.ts';

type Readers =
  | 'areSuppressed'
  | 'audience'
  | 'audienceSize'
  | 'channels'
  | 'decisionFailed'
  | 'defaults'
  | 'destinations'
  | 'nextRun'
  | 'quietUntil'
  | 'texts'
  | 'throttleOf';

export interface PreviewDeps extends Pick<RouterDeps, Readers> {
  /** Those that exist. */
  readonly load: RouterDeps['recipients'];
  /** Whether the installation makes users that an event names. */
  readonly createsUsers: boolean;
  /** How many of each may still be told at that time. Counts nothing. */
  readonly foreseeThrottled: (tx: Tx, asked: readonly Asked[], at: Date) => Promise<readonly number[]>;
  /** When the digests close that each would wait in. Opens none. */
  readonly foreseeDigests: (tx: Tx, items: readonly NewItem[], at: Date) => Promise<readonly Date[]>;
  readonly now: () => Date;
}

export interface ForeseenDelivery {
  readonly row: NewDelivery;
  /** Who has said it in the preferences; null when nobody has. */
  readonly layer: Layer | null;
  /** What would be sent, also where it is held or skipped; null where there is no channel to say it on. */
  readonly job: DeliveryJob | null;
}

export interface ForeseenRecipient {
  readonly userId: string;
  /** Undefined for somebody who is not told at all. */
  readonly notification: NewNotification | undefined;
  readonly deliveries: readonly ForeseenDelivery[];
}

export interface Foreseen {
  /** Everybody whom the event addresses, once. */
  readonly recipientCount: number;
  /** The first `limit` of them. */
  readonly recipients: readonly ForeseenRecipient[];
  readonly destinations: readonly (ForeseenDelivery & { readonly name: string })[];
}

/** What routing would make of the event at its due time. `limit`: recipients that are decided; the others are counted. */
export async function preview(deps: PreviewDeps, tx: Tx, event: CarillonEvent, limit: number): Promise<Foreseen> {
  const { named, audience } = addressed(event.request.to);
  const written: Written = { decided: [], notifications: [], deliveries: [], destinations: new Map(), closing: new Map() };
  const first = audience
    ? event
    : { ...event, request: { ...event.request, to: [...named].slice(0, limit).map(([id, inline]) => inline ?? id) } };
  const recipientCount = audience ? await sizeOf(deps, tx, event, { audience, named: [...named.keys()] }) : named.size;
  const { jobs } = await route(unplugged(deps, event, { limit, written }), tx, [first], {
    reserve: () => true,
    onDecided: (decided) => written.decided.push(...decided),
  });
  const jobById = new Map(jobs.map((job) => [job.id, job]));
  return {
    recipientCount,
    recipients: written.decided.slice(0, limit).map((one) => recipientOf(one, written, jobById)),
    destinations: written.deliveries.flatMap((row) => {
      const destination = row.destinationId === null ? undefined : written.destinations.get(row.destinationId);
      const job = jobById.get(row.id) ?? (destination && destinationJobFor(event, destination, { ...unsent(row), notificationId: null }));
      return destination ? [{ row, layer: null, job: job ?? null, name: destination.name }] : [];
    }),
  };
}

/** What the router gave to its writers. */
interface Written {
  readonly decided: Decided[];
  readonly notifications: NewNotification[];
  readonly deliveries: NewDelivery[];
  readonly destinations: Map<string, Destination>;
  /** Of digests, by the delivery that waits in one. */
  readonly closing: Map<string, Date | null>;
}

function unplugged(deps: PreviewDeps, event: CarillonEvent, { limit, written }: { limit: number; written: Written }): RouterDeps {
  const at = event.dueAt;
  return {
    ...deps,
    recipients: async (tx, keys) => withNew(deps, await deps.load(tx, keys), keys),
    audience: async (tx, query) => {
      const found = await deps.audience(tx, asOf(deps, at, { ...query, limit }));
      const keys = query.named.map((userId) => ({ tenantId: query.tenantId, userId }));
      const missing = deps.createsUsers ? keys.filter(({ userId }) => !found.some(({ id }) => id === userId)) : [];
      const known = missing.length > 0 ? await deps.load(tx, missing) : NOBODY;
      return [...found, ...missing.filter((key) => !known.has(keyOf(key))).map(({ userId }) => newUser(userId))];
    },
    destinations: async (tx, tenantIds) => {
      const found = await deps.destinations(tx, tenantIds);
      for (const destination of [...found.values()].flat()) written.destinations.set(destination.id, destination);
      return found;
    },
    admit: (tx, asked) => deps.foreseeThrottled(tx, asked, at),
    insertNotifications: (_, rows) => {
      written.notifications.push(...rows);
      return Promise.resolve([]);
    },
    insertDeliveries: (_, rows) => {
      written.deliveries.push(...rows);
      return Promise.resolve();
    },
    enqueue: () => Promise.resolve([]),
    joinDigests: async (tx, items) => {
      const closing = await deps.foreseeDigests(tx, items, at);
      for (const [index, { deliveryId }] of items.entries()) written.closing.set(deliveryId, closing[index] ?? null);
    },
    leaseEndsAtMs: () => 0,
    newToken: () => '',
    now: () => at,
  };
}

const NOBODY: ReadonlyMap<string, Recipient> = new Map();

interface UserKey {
  readonly tenantId: string;
  readonly userId: string;
}

function keyOf({ tenantId, userId }: UserKey): string {
  return `${tenantId}\0${userId}`;
}

/** Users not seen before are as they would be made. */
function withNew(
  { createsUsers }: PreviewDeps,
  found: ReadonlyMap<string, Recipient>,
  keys: readonly UserKey[],
): ReadonlyMap<string, Recipient> {
  if (!createsUsers) return found;
  return new Map([...keys.map((key) => [keyOf(key), newUser(key.userId)] as const), ...found]);
}

function newUser(id: string): Recipient {
  return { id, email: null, phone: null, webhookUrl: null, timeZone: null, active: true, preferences: NO_PREFERENCES, suppressed: {} };
}

/** `active_within` is counted back from that time. */
function asOf<Q extends Pick<Audience, 'activeWithinMs'>>({ now }: PreviewDeps, at: Date, query: Q): Q {
  const { activeWithinMs } = query;
  return activeWithinMs === null ? query : { ...query, activeWithinMs: activeWithinMs - (at.getTime() - now().getTime()) };
}

async function sizeOf(
  deps: PreviewDeps,
  tx: Tx,
  { tenantId, dueAt }: CarillonEvent,
  { audience, named }: { audience: Audience; named: readonly string[] },
): Promise<number> {
  const known =
    named.length > 0
      ? await deps.load(
          tx,
          named.map((userId) => ({ tenantId, userId })),
        )
      : NOBODY;
  const found = await deps.audienceSize(tx, asOf(deps, dueAt, { ...audience, tenantId, named }));
  return found + named.length - known.size;
}

function recipientOf(one: Decided, written: Written, jobs: ReadonlyMap<string, DeliveryJob>): ForeseenRecipient {
  const { event, addressee } = one;
  const { userId } = addressee;
  const notification = written.notifications.find((row) => row.userId === userId);
  const jobOf = (row: NewDelivery) => {
    if (!notification || row.channel === NO_CHANNEL) return null;
    return jobFor(event, notification, { ...unsent(row), notificationId: notification.id, reader: readerOf(one) });
  };
  const deliveries = written.deliveries
    .filter((row) => row.userId === userId)
    .map((row): ForeseenDelivery => {
      const dueAt = written.closing.get(row.id) ?? row.dueAt; // what waits in a digest has no due time of its own
      return { row: { ...row, dueAt }, layer: layerOf(one, row), job: jobs.get(row.id) ?? jobOf(row) };
    });
  return { userId, notification, deliveries };
}

/** Nobody's word when its text could not be made. */
function layerOf({ decisions }: Decided, { channel, state }: NewDelivery): Layer | null {
  const decision = decisions.find((one) => one.channel === channel);
  return decision && (decision.kind === 'skip') === (state === 'skipped') ? (decision.layer ?? null) : null;
}

/** As a job without a lease. */
function unsent(row: NewDelivery) {
  return { ...row, address: row.address ?? '', lane: row.lane ?? '', token: '' };
}
