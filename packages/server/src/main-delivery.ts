/** Delivery, wired: the worker, with the channels it sends through. Part of the composition root. */
import { randomUUID } from 'node:crypto';
import type { CatalogParts } from './main-catalog.ts';
import type { Registry } from './channels/registry.ts';
import type { Config } from './config.ts';
import type { Observed } from './delivery/attempt.ts';
import { prepare } from './delivery/prepare.ts';
import { makeWorker, type Claimed, type ClaimQuery, type Worker } from './delivery/worker.ts';
import { channelOfLane, type Completion, type DeliveryJob } from './domain/delivery.ts';
import { retryDelaysOf } from './domain/destination.ts';
import type { QuietHours } from './domain/quiet-hours.ts';
import type { Clock } from './lib/clock.ts';
import type { Vault } from './lib/crypto.ts';
import type { Destinations } from './main-destinations.ts';
import { makeDigestOutcomes, type DigestOutcomes } from './main-digests.ts';
import { suppressRefused, withSuppressions } from './main-suppressions.ts';
import type { When } from './router/quiet-hours.ts';
import { isUnavailable, type Database } from './store/database.ts';
import {
  completeDeliveries,
  leaseRows,
  lockDue,
  nextDeliveryDueMs,
  releaseDeliveries,
  renewLeases,
  skipErased,
} from './store/deliveries.ts';
import { withDelays } from './store/delays.ts';
import { noteWarnings } from './store/delivery-warnings.ts';
import { loadDestinations } from './store/destinations.ts';
import { loadJobs } from './store/jobs.ts';
import type { Defaults } from './store/preferences.ts';
import { recipientsFor } from './store/recipients.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

export interface DeliveryDeps {
  readonly catalog: Pick<CatalogParts, 'texts' | 'written'>;
  readonly config: Config;
  readonly database: Database;
  readonly clock: Clock;
  readonly vault: Vault;
  readonly channels: Registry;
  readonly defaults: Defaults;
  readonly quietUntil: (hours: QuietHours, when: When) => Date | null;
  readonly destinations: Destinations;
  readonly metrics: Metrics;
  readonly log: Log;
}

const DAY_MS = 86_400_000;
/** So that a provider's own time limit, which knows more, comes first. */
const SEND_GRACE_MS = 1_000;
/** A channel that was taken out of the configuration while deliveries waited. */
const NO_POLICY = { delaysMs: [] };
/** Leased deliveries in memory, for each slot: enough to stay busy between two claims. */
const HELD_PER_SLOT = 32;

/** `ended`: in these queues the next may have its turn. */
export function makeDelivery(deps: DeliveryDeps, ended: (queues: readonly number[]) => void): Worker {
  const { config, database, clock, channels, metrics, log } = deps;
  const leaseMs = config['delivery.lease'];
  const digests = makeDigestOutcomes(deps);
  const detailed = config['log.level'] === 'debug'; // the line is not even made when nobody reads it
  const context = { productName: config.product_name };
  const written = writing(deps);
  const baseUrlOf = (tenantId: string) => deps.defaults.settingsOf(tenantId).base_url;
  return makeWorker(
    {
      claim: async (query) => {
        const claimed = await claim(deps, query);
        digests.leased(claimed.jobs);
        return claimed;
      },
      nextDueMs: () => nextDeliveryDueMs(database.engine),
      prepare: (job) => prepare({ channelFor: channels.channelFor, context, baseUrlOf, written }, job),
      complete: (rows) => complete(deps, rows, { ended, digests }),
      renew: (jobs) => renew(deps, jobs, leaseMs),
      release: (jobs) => releaseDeliveries(database.engine, jobs),
      suppress: (job) => suppressRefused(database, channels.facts, job),
      policyOf: ({ destination, channel }) =>
        destination ? { delaysMs: retryDelaysOf(destination) } : (channels.facts.get(channel) ?? NO_POLICY),
      until: ({ expiresAt, event }) => {
        const dropped = new Date(event.acceptedAt.getTime() + (config['retention.days'] - 1) * DAY_MS);
        return expiresAt !== null && expiresAt < dropped ? expiresAt : dropped;
      },
      defaultsOf: deps.defaults.of,
      quietUntil: deps.quietUntil,
      observe: (attempt) => {
        observe(metrics, clock, attempt);
        if (detailed || attempt.outcome.state === 'failed') log('delivery.attempted', fieldsOf(attempt));
      },
      sendTimeoutMs: config['delivery.total_timeout'] + SEND_GRACE_MS,
      leaseLost: metrics.leaseLost,
      isUnavailable,
      now: clock.now,
      monotonicMs: clock.monotonicMs,
      random: Math.random,
      log,
    },
    {
      slots: config['delivery.slots'],
      laneLimitOf: laneLimits(config, channels),
      held: config['delivery.slots'] * HELD_PER_SLOT,
      leaseMs,
      totalTimeoutMs: config['delivery.total_timeout'],
    },
  );
}

/** What the templates missed is written before the message leaves, so that no crash loses it; it never stops the send. */
function writing({ catalog, database, log }: DeliveryDeps): DeliveryDeps['catalog']['written'] {
  return async (job) => {
    const written = await catalog.written(job);
    const { warnings = [] } = written ?? {};
    if (warnings.length > 0) {
      await noteWarnings(database.engine, { ...job, warnings }).catch((error: unknown) => {
        log('delivery.warnings-not-noted', { deliveryId: job.id, error });
      });
    }
    return written;
  };
}

async function complete(
  { config, database, destinations, log }: DeliveryDeps,
  rows: readonly Completion[],
  { ended, digests }: { ended: (queues: readonly number[]) => void; digests: DigestOutcomes },
): Promise<string[]> {
  const done = await completeDeliveries(database.engine, rows);
  if (config['log.level'] === 'debug') log('delivery.recorded', countsOf(rows, done));
  await destinations.settle(rows);
  void digests.ended(rows);
  const queues = rows.flatMap(({ queue, state }) => (queue === undefined || state === 'pending' || state === 'held' ? [] : [queue]));
  if (queues.length > 0) ended(queues);
  return done;
}

/** What was found to be recorded, and what of it was truly delivered. */
function countsOf(rows: readonly Completion[], done: readonly string[]): Record<string, number> {
  const recorded = new Set(done);
  return { found: rows.length, delivered: rows.filter(({ id, state }) => state === 'delivered' && recorded.has(id)).length };
}

function laneLimits(config: Config, { maxInFlightOf }: Registry): (lane: string) => number {
  const any = config['delivery.lane_limit'];
  return (lane) => Math.min(any, maxInFlightOf(channelOfLane(lane)) ?? any);
}

/** Lock, lease and load in one transaction: what cannot be loaded is not leased. */
function claim({ config, database, clock, vault, defaults, channels }: DeliveryDeps, query: ClaimQuery): Promise<Claimed> {
  const token = randomUUID();
  const leaseMs = config['delivery.lease'];
  const leaseEndsAtMs = clock.monotonicMs() + leaseMs;
  return database.transaction(async (tx) => {
    const due = await lockDue(tx, query);
    if (due.length === 0) return { jobs: [], locked: 0, firstDue: null, leaseEndsAtMs };
    const leased = await leaseRows(tx, due, { token, leaseMs });
    const [loaded] = await Promise.all([
      loadJobs(tx, leased, { token, vault }),
      defaults.read(tx, new Set(leased.map((row) => row.tenant_id))),
    ]);
    const jobs = await withSuppressions(channels.facts, tx, await withDelays(tx, loaded));
    if (jobs.length < leased.length) {
      const kept = new Set(jobs.map((job) => job.id));
      await skipErased(
        tx,
        leased.filter((row) => !kept.has(row.id)).map((row) => row.id),
      );
    }
    return { jobs, locked: due.length, firstDue: due[0]?.due_at ?? null, leaseEndsAtMs };
  });
}

/** Whose recipient was erased is let go: the sweep ends it. */
async function renew({ database, vault, channels }: DeliveryDeps, jobs: readonly DeliveryJob[], leaseMs: number): Promise<DeliveryJob[]> {
  const ours = new Set(await renewLeases(database.engine, jobs, leaseMs));
  const kept = jobs.filter((job) => ours.has(job.id));
  const users = kept.flatMap(({ tenantId, userId }) => (userId === null ? [] : [{ tenantId, userId }]));
  const keys = kept.flatMap(({ tenantId, destinationId: id }) => (id === null ? [] : [{ tenantId, id }]));
  return database.transaction(async (tx) => {
    const [recipients, destinations] = await Promise.all([recipientsFor(tx, users, { create: false }), loadDestinations(tx, vault, keys)]);
    const known = kept.flatMap((job) => {
      if (job.destinationId !== null) return [{ ...job, destination: destinations.get(job.destinationId) ?? null }];
      const recipient = recipients.get(`${job.tenantId}\0${job.userId ?? ''}`);
      return recipient ? [{ ...job, recipient }] : [];
    });
    return withSuppressions(channels.facts, tx, await withDelays(tx, known));
  });
}

function observe(metrics: Metrics, clock: Clock, { job, provider, result, outcome }: Observed): void {
  const { channel } = job;
  metrics.attempted({ channel, provider, outcome: result.kind });
  if (outcome.state === 'delivered')
    metrics.deliveredAfter(channel, job.content.severity, (clock.now().getTime() - job.createdAt.getTime()) / 1_000);
}

function fieldsOf({ job, provider, result, outcome, durationMs }: Observed): Record<string, unknown> {
  const { id: deliveryId, eventId, tenantId, channel, attempt } = job;
  const { state, reason } = outcome;
  return {
    deliveryId,
    eventId,
    tenantId,
    channel,
    attempt,
    provider,
    durationMs,
    result: result.kind,
    status: result.status,
    state,
    reason,
  };
}
