/** An event's deliveries to its account's destinations: one recorded decision for each that has the event switched on. */
import type { ChannelFacts, ChannelName } from '../domain/channel.ts';
import { contentOf } from '../domain/content.ts';
import type { DeliveryJob, NewDelivery } from '../domain/delivery.ts';
import { answerOf, isSwitchedOn, laneOfDestination, writtenAddressesOf, type Destination } from '../domain/destination.ts';
import type { CarillonEvent, Tx } from '../domain/event.ts';
import type { ReasonCode } from '../domain/reason.ts';
import { isListed } from '../domain/suppression.ts';
import { derivedId } from '../lib/id.ts';
import type { SuppressionDeps } from './suppression.ts';

/** What a batch comes to: deliveries are added here. */
export interface DestinationPlan {
  readonly token: string;
  readonly reserve: (lane: string) => boolean;
  readonly deliveries: NewDelivery[];
  readonly jobs: DeliveryJob[];
}

type Decision =
  /** Held until a person releases it, when there is a reason. */
  { readonly address: string; readonly held: ReasonCode | null } | { readonly skipped: ReasonCode };

/** An event with all destinations of its tenant. */
export interface Announced {
  readonly event: CarillonEvent;
  readonly destinations: readonly Destination[];
}

interface Decided {
  readonly event: CarillonEvent;
  readonly destination: Destination;
  readonly decision: Decision;
}

export async function planDestinations(
  deps: SuppressionDeps,
  tx: Tx,
  plan: DestinationPlan,
  announced: readonly Announced[],
): Promise<void> {
  const decided = announced.flatMap(({ event, destinations }) =>
    destinations
      .filter((destination) => isSwitchedOn(destination, event.type)) // others are not considered: there is nothing to record
      .flatMap((destination) =>
        decideDestination(deps.channels, event, destination).map((decision): Decided => ({ event, destination, decision })),
      ),
  );
  if (decided.length === 0) return;
  for (const { event, destination, decision } of await withoutSuppressed(deps, tx, decided))
    plan.deliveries.push(deliveryFor(plan, event, destination, decision));
}

/** Mailboxes on the suppression list get nothing, from destinations either. */
async function withoutSuppressed(deps: SuppressionDeps, tx: Tx, decided: readonly Decided[]): Promise<readonly Decided[]> {
  const asked = decided.flatMap((one) => {
    const { tenantId, channel } = one.destination;
    return 'address' in one.decision && isListed(deps.channels.get(channel) ?? { address: null })
      ? [{ one, address: { tenantId, channel, address: one.decision.address } }]
      : [];
  });
  if (asked.length === 0) return decided;
  const answers = await deps.areSuppressed(
    tx,
    asked.map(({ address }) => address),
  );
  const struck = new Set(asked.filter((_, index) => answers[index]).map(({ one }) => one));
  return decided.map((one) => (struck.has(one) ? { ...one, decision: { skipped: 'suppressed' } } : one));
}

/** A mailing list gets one decision for each mailbox. */
function decideDestination(known: ReadonlyMap<ChannelName, ChannelFacts>, event: CarillonEvent, destination: Destination): Decision[] {
  const answer = answerOf(destination, event);
  if (answer.kind === 'stop') return [{ skipped: answer.reason }];
  if (!known.get(destination.channel)?.available) return [{ skipped: 'channel_disabled' }];
  const held = answer.kind === 'hold' ? answer.reason : null;
  const addresses = writtenAddressesOf(destination);
  return addresses.length > 0 ? addresses.map((address) => ({ address, held })) : [{ skipped: 'no_address' }];
}

function deliveryFor(plan: DestinationPlan, event: CarillonEvent, destination: Destination, decision: Decision): NewDelivery {
  const base = baseOf(event, destination, 'address' in decision ? decision.address : null);
  if ('skipped' in decision) return { ...base, lane: null, state: 'skipped', reason: decision.skipped };
  const lane = laneOfDestination(destination);
  if (decision.held) return { ...base, lane, state: 'held', reason: decision.held, dueAt: event.expiresAt };
  if (event.ordering || !plan.reserve(lane)) return { ...base, lane, state: 'pending', reason: 'queued' };
  plan.jobs.push(jobFor(event, destination, { ...base, address: decision.address, lane, token: plan.token }));
  return { ...base, lane, state: 'sending', reason: 'sending' };
}

function baseOf(event: CarillonEvent, { id, channel, list }: Destination, address: string | null) {
  return {
    id: derivedId(event.dueAt, event.id, id, list && address !== null ? address : ''),
    tenantId: event.tenantId,
    eventId: event.id,
    notificationId: null,
    userId: null,
    destinationId: id,
    channel,
    address,
    dueAt: null,
    critical: event.request.critical ?? false,
    expiresAt: event.expiresAt,
    createdAt: event.dueAt,
    maxAttempts: null, // its own policy, as it is when an attempt has failed
  };
}

type JobFields = Omit<DeliveryJob, 'attempt' | 'last' | 'destination' | 'event' | 'content' | 'recipient' | 'cancelled'>;

export function jobFor(event: CarillonEvent, destination: Destination, fields: JobFields): DeliveryJob {
  const { type, acceptedAt, request, version } = event;
  return {
    ...fields,
    destination,
    attempt: 1,
    last: null,
    event: { type, category: request.category ?? null, acceptedAt, data: request.data, version },
    content: contentOf(event),
    recipient: null,
    cancelled: false,
  };
}
