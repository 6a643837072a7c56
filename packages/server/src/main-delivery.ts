/** Delivery, wired: providers, the worker, and what both need. Part of the composition root. */
import { randomUUID } from 'node:crypto';
import { outboxProvider } from './channels/email/outbox.ts';
import { smtpProvider } from './channels/email/smtp.ts';
import { webhookHttp } from './channels/webhook/http.ts';
import type { Config } from './config.ts';
import type { Observed } from './delivery/attempt.ts';
import { prepare } from './delivery/prepare.ts';
import { makeWorker, type Claimed, type ClaimQuery, type Worker } from './delivery/worker.ts';
import type { Provider, ProviderChannel } from './domain/channel.ts';
import { channelOfLane, type DeliveryJob } from './domain/delivery.ts';
import type { Clock } from './lib/clock.ts';
import { deriveWebhookSecret } from './lib/crypto.ts';
import type { Egress } from './lib/egress.ts';
import { makeLru } from './lib/lru.ts';
import { isUnavailable, type Database } from './store/database.ts';
import {
  completeDeliveries,
  leaseRows,
  lockDue,
  nextDeliveryDueMs,
  releaseDeliveries,
  renewLeases,
  skipErased,
  suppressAddress,
} from './store/deliveries.ts';
import { loadJobs } from './store/jobs.ts';
import { recipientsFor } from './store/recipients.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

export interface DeliveryDeps {
  readonly config: Config;
  readonly database: Database;
  readonly clock: Clock;
  readonly egress: Egress;
  /** The tenant's raw key that users' webhook secrets are derived from. */
  readonly webhookKey: (tenantId: string) => Promise<Uint8Array>;
  readonly metrics: Metrics;
  readonly log: Log;
}

const DAY_MS = 86_400_000;
const SECRETS_KEPT = 10_000;
/** Leased deliveries in memory, for each slot: enough to stay busy between two claims. */
const HELD_PER_SLOT = 32;

export function makeProviders({ config, egress, clock }: DeliveryDeps): ReadonlyMap<ProviderChannel, Provider> {
  const providers = new Map<ProviderChannel, Provider>();
  if (config['webhook.enabled'])
    providers.set('webhook', webhookHttp({ egress, now: clock.now, headers: config['webhook.headers'] }) as Provider);
  const email = emailProvider(config);
  if (email && config['email.enabled'] !== false) providers.set('email', email as Provider);
  return providers;
}

function emailProvider(config: Config): Provider<'email'> | undefined {
  const host = config['email.smtp.host'];
  const from = config['email.smtp.from'];
  if (host === undefined || from === undefined) return config.env === 'development' ? outboxProvider() : undefined;
  return smtpProvider({
    host,
    port: config['email.smtp.port'],
    security: config['email.smtp.security'],
    user: config['email.smtp.user'],
    password: config['email.smtp.password'],
    from: { name: config.product_name, address: from },
    maxConnections: config['email.smtp.max_connections'],
    productHost: from.slice(from.lastIndexOf('@') + 1),
    connectTimeoutMs: config['delivery.connect_timeout'],
    totalTimeoutMs: config['delivery.total_timeout'],
  });
}

export function makeDelivery(deps: DeliveryDeps, providers: ReadonlyMap<ProviderChannel, Provider>): Worker {
  const { config, database, clock, metrics, log } = deps;
  const leaseMs = config['delivery.lease'];
  const webhookSecret = makeSecrets(deps.webhookKey);
  const detailed = config['log.level'] === 'debug'; // the line is not even made when nobody reads it
  const providerOf = (channel: ProviderChannel) => {
    const provider = providers.get(channel);
    if (!provider) throw new Error(`the channel ${channel} is not set up in this process`);
    return provider;
  };
  return makeWorker(
    {
      claim: (query) => claim(database, query, { leaseMs, monotonicMs: clock.monotonicMs }),
      nextDueMs: () => nextDeliveryDueMs(database.engine),
      prepare: (job) => prepare({ providerOf, webhookSecret, productName: config.product_name }, job),
      complete: (rows) => completeDeliveries(database.engine, rows),
      renew: (jobs) => renew(database, jobs, leaseMs),
      release: (jobs) => releaseDeliveries(database.engine, jobs),
      suppress: (job) => suppressAddress(database.engine, job),
      policyOf: ({ channel }) => ({ delaysMs: config[`${channel}.retry`] }),
      until: ({ expiresAt, event }) => {
        const dropped = new Date(event.acceptedAt.getTime() + (config['retention.days'] - 1) * DAY_MS);
        return expiresAt !== null && expiresAt < dropped ? expiresAt : dropped;
      },
      observe: (attempt) => {
        observe(metrics, clock, attempt);
        if (detailed) log('delivery.attempted', fieldsOf(attempt));
      },
      leaseLost: metrics.leaseLost,
      isUnavailable,
      now: clock.now,
      monotonicMs: clock.monotonicMs,
      random: Math.random,
      log,
    },
    {
      slots: config['delivery.slots'],
      laneLimitOf: laneLimits(config),
      held: config['delivery.slots'] * HELD_PER_SLOT,
      leaseMs,
      totalTimeoutMs: config['delivery.total_timeout'],
    },
  );
}

/** Mails wait for a connection within their total timeout: no more of a tenant's than there are. */
function laneLimits(config: Config): (lane: string) => number {
  const [any, email] = [config['delivery.lane_limit'], Math.min(config['delivery.lane_limit'], config['email.smtp.max_connections'])];
  return (lane) => (channelOfLane(lane) === 'email' ? email : any);
}

/** Lock, lease and load in one transaction: what cannot be loaded is not leased. */
function claim(
  database: Database,
  query: ClaimQuery,
  { leaseMs, monotonicMs }: { leaseMs: number; monotonicMs: () => number },
): Promise<Claimed> {
  const token = randomUUID();
  const leaseEndsAtMs = monotonicMs() + leaseMs;
  return database.transaction(async (tx) => {
    const due = await lockDue(tx, query);
    if (due.length === 0) return { jobs: [], locked: 0, firstDue: null, leaseEndsAtMs };
    const leased = await leaseRows(tx, due, { token, leaseMs });
    const jobs = await loadJobs(tx, leased, token);
    if (jobs.length < leased.length) {
      const loaded = new Set(jobs.map((job) => job.id));
      await skipErased(
        tx,
        leased.filter((row) => !loaded.has(row.id)).map((row) => row.id),
      );
    }
    return { jobs, locked: due.length, firstDue: due[0]?.due_at ?? null, leaseEndsAtMs };
  });
}

/** Whose recipient was erased is let go: the sweep ends it. */
async function renew(database: Database, jobs: readonly DeliveryJob[], leaseMs: number): Promise<DeliveryJob[]> {
  const ours = new Set(await renewLeases(database.engine, jobs, leaseMs));
  const kept = jobs.filter((job) => ours.has(job.id));
  const recipients = await database.transaction((tx) => recipientsFor(tx, kept, { create: false }));
  return kept.flatMap((job) => {
    const recipient = recipients.get(`${job.tenantId}\0${job.userId}`);
    return recipient ? [{ ...job, recipient }] : [];
  });
}

/** Derived once per user: HKDF on every attempt would be work for nothing. */
function makeSecrets(webhookKey: DeliveryDeps['webhookKey']): (tenantId: string, userId: string) => Promise<Uint8Array> {
  const known = makeLru<Uint8Array>(SECRETS_KEPT);
  return async (tenantId, userId) => {
    const name = `${tenantId}\0${userId}`;
    const cached = known.get(name);
    if (cached) return cached;
    const secret = deriveWebhookSecret(await webhookKey(tenantId), userId);
    known.set(name, secret);
    return secret;
  };
}

function observe(metrics: Metrics, clock: Clock, { job, provider, result, outcome }: Observed): void {
  const { channel } = job;
  metrics.attempted({ channel, provider, outcome: result.kind });
  if (outcome.state === 'delivered') metrics.deliveredAfter(channel, (clock.now().getTime() - job.createdAt.getTime()) / 1_000);
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
