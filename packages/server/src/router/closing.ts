/** Digests that are due: each becomes one message, or waits for the end of quiet hours, or ends because nothing is left to say. */
import type { ChannelFacts, ChannelName } from '../domain/channel.ts';
import type { NewDelivery } from '../domain/delivery.ts';
import { DIGEST_TYPE, type DueDigest, type ListedItem, type WaitingItem } from '../domain/digest.ts';
import { laneOf } from '../domain/delivery.ts';
import type { CarillonEvent, Tx } from '../domain/event.ts';
import type { NewNotification } from '../domain/notification.ts';
import type { Preferences } from '../domain/preference.ts';
import type { QuietHours } from '../domain/quiet-hours.ts';
import type { Recipient } from '../domain/user.ts';
import { derivedId, publicId } from '../lib/id.ts';
import { closing, versionOf, weightOf, wordsOf, type Closing, type Dropped } from './digest.ts';

export interface ClosingDeps {
  readonly inTransaction: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;
  /** Locks those that are due until the end of the transaction, passing over what somebody else has. */
  readonly claimDigests: (tx: Tx, limit: number) => Promise<readonly DueDigest[]>;
  readonly itemsOf: (tx: Tx, digests: readonly DueDigest[]) => Promise<readonly WaitingItem[]>;
  readonly recipients: (tx: Tx, keys: readonly { tenantId: string; userId: string }[]) => Promise<ReadonlyMap<string, Recipient>>;
  readonly defaults: (tx: Tx, tenantIds: ReadonlySet<string>) => Promise<(tenantId: string) => Preferences | undefined>;
  readonly channels: ReadonlyMap<ChannelName, ChannelFacts>;
  readonly quietUntil: (hours: QuietHours, when: { zone: string; at: Date }) => Date | null;
  /** Of a tenant whose defaults have been read: where links that are paths lead. */
  readonly baseUrlOf: (tenantId: string) => string | null;
  /** `2026-03-29 09:00`, by the clock of that zone; null: UTC. */
  readonly clock: (at: Date, zone: string | null) => string;
  readonly write: (tx: Tx, closed: Closed) => Promise<void>;
  /** Looked at again after a while, apart from the others. */
  readonly postpone: (tx: Tx, digest: DueDigest) => Promise<void>;
  readonly isUnavailable: (error: unknown) => boolean;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

interface Message {
  readonly event: CarillonEvent;
  readonly notification: NewNotification;
  readonly delivery: NewDelivery;
}

/** What a batch comes to. */
export interface Closed {
  readonly held: readonly { readonly digest: DueDigest; readonly until: Date }[];
  readonly dropped: readonly Dropped[];
  /** On their way from now on. */
  readonly begun: readonly WaitingItem[];
  readonly messages: readonly Message[];
  /** Without a message where nothing was left to say. */
  readonly closed: readonly { readonly digest: DueDigest; readonly message: NewDelivery | null }[];
}

/** A large one has hundreds of items. */
const BATCH = 20;

/** Closes all that is due. Resolves with how many messages there are to send. */
export async function closeDigests(deps: ClosingDeps): Promise<number> {
  let messages = 0;
  for (;;) {
    const done = await closeBatch(deps, BATCH).catch(async (error: unknown) => {
      if (deps.isUnavailable(error)) throw error;
      deps.log('digests.batch-failed', { error });
      return closeApart(deps);
    });
    messages += done.messages;
    if (done.claimed < BATCH) return messages;
  }
}

interface Done {
  readonly claimed: number;
  readonly messages: number;
}

function closeBatch(deps: ClosingDeps, limit: number): Promise<Done> {
  return deps.inTransaction(async (tx) => {
    const digests = await deps.claimDigests(tx, limit);
    if (digests.length === 0) return { claimed: 0, messages: 0 };
    const closed = await close(deps, tx, digests);
    await deps.write(tx, closed);
    return { claimed: digests.length, messages: closed.messages.length };
  });
}

/** One that throws waits alone. */
async function closeApart(deps: ClosingDeps): Promise<Done> {
  let messages = 0;
  for (let claimed = 0; claimed < BATCH; claimed++) {
    let tried: DueDigest | undefined;
    try {
      const done = await closeBatch(
        {
          ...deps,
          claimDigests: async (tx, limit) => {
            const digests = await deps.claimDigests(tx, limit);
            [tried] = digests;
            return digests;
          },
        },
        1,
      );
      if (done.claimed === 0) return { claimed, messages };
      messages += done.messages;
    } catch (error) {
      const failed = tried;
      if (deps.isUnavailable(error) || !failed) throw error;
      deps.log('digests.failed', { digestId: failed.id, error });
      await deps.inTransaction((tx) => deps.postpone(tx, failed));
    }
  }
  return { claimed: BATCH, messages };
}

async function close(deps: ClosingDeps, tx: Tx, digests: readonly DueDigest[]): Promise<Closed> {
  const [items, people, defaultsOf] = await Promise.all([
    deps.itemsOf(tx, digests),
    deps.recipients(tx, digests),
    deps.defaults(tx, new Set(digests.map(({ tenantId }) => tenantId))),
  ]);
  const byDigest = Map.groupBy(items, ({ digestId }) => digestId);
  const result = {
    held: [] as Closed['held'][number][],
    dropped: [] as Dropped[],
    begun: [] as WaitingItem[],
    messages: [] as Message[],
    closed: [] as Closed['closed'][number][],
  };
  for (const digest of digests) {
    const at = digest.claimedAt;
    const person = people.get(`${digest.tenantId}\0${digest.userId}`);
    const outcome = closing(digest, byDigest.get(digest.id) ?? [], {
      now: at,
      person,
      defaults: defaultsOf(digest.tenantId),
      quietUntil: (hours, zone) => deps.quietUntil(hours, { zone, at }),
    });
    result.dropped.push(...outcome.dropped);
    if (outcome.heldUntil) {
      result.held.push({ digest, until: outcome.heldUntil });
      continue;
    }
    const message = person && outcome.kept.length > 0 ? messageOf(deps, { digest, kept: outcome.kept, person, at }) : null;
    if (message) {
      result.messages.push(message);
      result.begun.push(...outcome.kept);
    }
    result.closed.push({ digest, message: message?.delivery ?? null });
  }
  return result;
}

interface Kept {
  readonly digest: DueDigest;
  readonly kept: Closing['kept'];
  readonly person: Recipient;
  readonly at: Date;
}

/** An event, a notification and a delivery like any other; their ids are those of this closing. */
function messageOf(deps: ClosingDeps, { digest, kept, person, at }: Kept): Message {
  const { tenantId, userId, channel, address } = digest;
  const facts = deps.channels.get(channel);
  const clock = (time: Date) => deps.clock(time, person.timeZone);
  const words = wordsOf(kept, { brief: isBrief(facts), clock, baseUrl: deps.baseUrlOf(tenantId) });
  const event = eventOf(digest, kept, at);
  const notification: NewNotification = {
    ...{ id: derivedId(at, event.id, userId), tenantId, eventId: event.id, userId, type: DIGEST_TYPE, ...words },
    ...{ actionUrl: onlyLink(kept), severity: event.severity, tags: event.tags, metadata: {}, createdAt: at, inApp: false },
  };
  const lane = laneOf(tenantId, channel, facts?.lane === 'address' ? address : '');
  return { event, notification, delivery: deliveryOf(notification, { channel, address, lane, expiresAt: event.expiresAt }) };
}

/** Text messages and the like take a few lines. */
function isBrief(facts: ChannelFacts | undefined): boolean {
  return facts?.address?.format === 'phone' || facts?.address?.format === 'json';
}

function onlyLink([only, ...more]: Closing['kept']): string | null {
  return more.length === 0 && only ? only.actionUrl : null;
}

function eventOf({ id, tenantId, userId, channel, key, openedAt }: DueDigest, kept: Closing['kept'], at: Date): CarillonEvent {
  const digest = { id: publicId('dgs', id), key, channel, opened_at: openedAt.toISOString(), count: kept.length };
  return {
    ...{ id: derivedId(at, DIGEST_TYPE, id), tenantId, type: DIGEST_TYPE, ...weightOf(kept) },
    ...{ acceptedAt: at, dueAt: at, scheduledFor: null, correlationId: null, traceparent: null, version: versionOf(kept), cursor: null },
    request: { to: [userId], channels: [channel], data: { digest, items: kept.map(toListed) } },
  };
}

function deliveryOf(
  { id: notificationId, tenantId, eventId, userId, createdAt }: NewNotification,
  { channel, address, lane, expiresAt }: { channel: string; address: string; lane: string; expiresAt: Date | null },
): NewDelivery {
  return {
    ...{ id: derivedId(createdAt, eventId, userId, channel, address), tenantId, eventId, notificationId, userId, channel, address, lane },
    ...{ destinationId: null, state: 'pending', reason: 'queued', dueAt: null, critical: false, expiresAt, createdAt, maxAttempts: null },
  };
}

function toListed(item: WaitingItem): ListedItem {
  const { type, category, severity, critical, tags, subject, body, actionUrl, at, data } = item;
  return {
    notification_id: publicId('ntf', item.notificationId),
    event_id: publicId('evt', item.eventId),
    ...{ type, category, severity, critical, tags, subject, body, action_url: actionUrl, at: at.toISOString(), data },
  };
}
