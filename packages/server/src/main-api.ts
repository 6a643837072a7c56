/** The HTTP side: routes with the functions they declared, and the server that listens. Part of the composition root. */
import { randomBytes } from 'node:crypto';
import { buildApp, type App } from './api/app.ts';
import type { ReadAssertion } from './api/access.ts';
import { makeAuth, type UserCaller } from './api/auth.ts';
import type { DoorDeps } from './api/door.ts';
import type { AddressChecks } from './api/event-schema.ts';
import { makeLimits, type Admit } from './api/limits.ts';
import { buildOpenApi } from './api/openapi.ts';
import type { PreferenceDeps } from './api/preferences.ts';
import { atMost } from './api/overload.ts';
import { apiKeyRoutes } from './api/routes/api-keys.ts';
import { bounceRoutes } from './api/routes/bounces.ts';
import { deliveryRoutes } from './api/routes/deliveries.ts';
import { destinationRoutes } from './api/routes/destinations.ts';
import { developmentRoutes } from './api/routes/development.ts';
import { docsRoutes } from './api/routes/docs.ts';
import { eventTypeRoutes } from './api/routes/event-types.ts';
import { eventRoutes } from './api/routes/events.ts';
import { healthRoutes } from './api/routes/health.ts';
import { inboxRoutes, type InboxDeps } from './api/routes/inbox.ts';
import { notificationAliasRoutes } from './api/routes/notifications-alias.ts';
import { notificationRoutes } from './api/routes/notifications.ts';
import { previewRoutes } from './api/routes/preview.ts';
import { preferenceRoutes } from './api/routes/preferences.ts';
import { recurringRoutes } from './api/routes/recurring-events.ts';
import { referenceRoutes } from './api/routes/reference.ts';
import { suppressionRoutes } from './api/routes/suppressions.ts';
import { tenantRoutes } from './api/routes/tenants.ts';
import { topicRoutes, type TopicDeps } from './api/routes/topics.ts';
import { unsubscribeRoutes } from './api/routes/unsubscribe.ts';
import { throttleRoutes } from './api/routes/throttles.ts';
import { userRoutes } from './api/routes/users.ts';
import { webhookSecretRoutes } from './api/routes/webhook-secrets.ts';
import { makeUserTokens } from './api/user-token.ts';
import { renderEmail } from './channels/email/render.ts';
import type { Registry } from './channels/registry.ts';
import type { Config } from './config.ts';
import type { ChannelName } from './domain/channel.ts';
import type { InboxChange } from './domain/notification.ts';
import type { ListedAddress } from './domain/suppression.ts';
import type { Clock } from './lib/clock.ts';
import { nextRun } from './lib/cron.ts';
import { hashApiKey, type Vault } from './lib/crypto.ts';
import type { Egress } from './lib/egress.ts';
import { checkMailbox } from './lib/mailbox.ts';
import type { UnsubscribeTokens } from './lib/unsubscribe.ts';
import type { CatalogParts } from './main-catalog.ts';
import type { Core } from './main-core.ts';
import type { Signing } from './main-signing.ts';
import { makeSendTest, type Destinations } from './main-destinations.ts';
import { makePreview } from './main-preview.ts';
import type { Recurring } from './main-recurring.ts';
import type { Stages } from './main-stages.ts';
import { listedAddress } from './main-suppressions.ts';
import type { Feed } from './realtime/feed.ts';
import type { Hints } from './realtime/hints.ts';
import { explain } from './router/decide.ts';
import { closingTime } from './router/digest.ts';
import { findByHash, touchKeys } from './store/api-keys.ts';
import type { Database } from './store/database.ts';
import { appliedMigration } from './store/health.ts';
import { migrationsIn } from './store/migrate.ts';
import { recipientsFor } from './store/recipients.ts';
import type { Defaults } from './store/preferences.ts';
import { leaseRequests } from './store/rate-limits.ts';
import type { SealedSecret, SecretPurpose } from './store/tenants.ts';
import { getUser } from './store/users.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

export interface ApiDeps {
  readonly config: Config;
  readonly database: Database;
  readonly clock: Clock;
  readonly egress: Egress;
  readonly pepper: Uint8Array;
  readonly unsubscribeTokens: UnsubscribeTokens;
  readonly tenantKey: (tenantId: string, purpose: SecretPurpose) => Promise<Uint8Array | undefined>;
  readonly webhookKey: (tenantId: string) => Promise<Uint8Array>;
  readonly signing: Signing;
  readonly vault: Vault;
  readonly channels: Registry;
  readonly newSecrets: (tenantId: string) => SealedSecret[];
  readonly defaults: Defaults;
  readonly quietUntil: Core['quietUntil'];
  readonly destinations: Destinations;
  readonly stages: Stages;
  readonly recurring: Recurring;
  readonly feed: Feed;
  readonly catalog: CatalogParts;
  readonly hints: Pick<Hints, 'catalog'>;
  readonly publish: (changes: readonly InboxChange[]) => void;
  /** False once the process is stopping. */
  readonly processIsReady: () => boolean;
  readonly metrics: Metrics;
  readonly log: Log;
}

const MAX_KEY_SET_BYTES = 64 * 1024;
const VERSION = '0.1.0';

/** Some 50 ms of work for the connections of the API. */
const MAX_WAITING_REQUESTS = 256;

export interface Api {
  readonly url: string;
  readonly openApi: () => unknown;
  /** Stops listening and waits for requests under way. */
  readonly close: () => Promise<void>;
}

/** Listens when it resolves. */
export async function serveApi(deps: ApiDeps): Promise<Api> {
  const app = makeApp({ ...deps, database: bounded(deps.database) }, await accessOf(deps));
  const url = await app.listen({ host: deps.config.host, port: deps.config.port });
  return { url, openApi: () => buildOpenApi(app.routeList, VERSION), close: () => app.close() };
}

/** Requests wait for a connection in a line that has an end; streams, which wait by themselves, are not in it. */
function bounded(database: Database): Database {
  const within = atMost(MAX_WAITING_REQUESTS);
  return { ...database, asTenant: (tenantId, work) => within(() => database.asTenant(tenantId, work)) };
}

function makeApp(deps: ApiDeps, readAssertion: ReadAssertion | undefined): App {
  const { config, database, clock, metrics, log, pepper } = deps;
  const tokens = makeUserTokens({ tokenSecret: (tenantId) => deps.tenantKey(tenantId, 'token'), now: clock.now });
  const hashKey = (key: string) => hashApiKey(pepper, key);
  const auth = makeAuth({
    hashKey,
    findKey: (hash) => findByHash(database.engine, hash),
    readAssertion,
    verifyUserToken: tokens.verify,
    isAccountAdmin: (user) => isAccountAdmin(database, user),
    touchKeys: (uses) => touchKeys(database.engine, uses),
    now: clock.now,
    monotonicMs: clock.monotonicMs,
    log,
  });
  const idempotencyTtlMs = config['idempotency.ttl'];
  const shared = { database, once: { inTransaction: database.asTenant, ttlMs: idempotencyTtlMs }, published: deps.publish };

  return buildApp({ auth, admit: limitsOf(deps), log, observe: metrics.requested, logsSuccess: config['log.level'] === 'debug' }, (app) => {
    producerRoutes(app, deps, {
      ...shared,
      accepted: (caller, events) => {
        auth.accepted(caller, events);
        metrics.messagesAccepted(caller.client, events);
      },
    });
    inboxRoutes(app, { ...shared, ...inboxSettings(deps), preferences: preferenceDeps(deps), tokens, feed: deps.feed });
    const keyMaker = { database, hashKey, random: randomBytes, now: clock.now, idempotencyTtlMs, forget: auth.forget };
    apiKeyRoutes(app, keyMaker);
    tenantRoutes(app, {
      ...keyMaker,
      newSecrets: deps.newSecrets,
      forget: forgetting(auth.forget, deps.defaults.forget, deps.catalog.catalog.forget, deps.hints.catalog),
    });
    operatorRoutes(app, deps);
    app.addHook('onClose', auth.close);
  });
}

type Shared = Pick<InboxDeps, 'once' | 'published'> & Pick<DoorDeps, 'accepted'> & { readonly database: Database };

function producerRoutes(app: App, deps: ApiDeps, shared: Shared): void {
  const { config, clock, stages, egress } = deps;
  const { accept, recall } = stages.acceptor;
  const checks = { ...addressChecks(egress), channelNames: [...deps.channels.facts.keys()] };
  const { catalog, makeVersion } = deps.catalog;
  const door = { accept, recall, eventType: catalog.find, now: clock.now, maxScheduleDays: config['schedule.max_days'], ...checks };
  eventRoutes(app, { ...shared, ...door });
  recurringRoutes(app, { ...shared, ...door, wakeRecurring: deps.recurring.changed });
  previewRoutes(app, { ...door, preview: makePreview(deps) });
  notificationRoutes(app, { ...shared, ...door });
  notificationAliasRoutes(app, { ...shared, ...door });
  const changed = (tenantId: string) => {
    catalog.forget(tenantId);
    deps.hints.catalog();
  };
  eventTypeRoutes(app, { ...shared, makeVersion, changed });
  deliveryRoutes(app, { ...shared, attemptsOf: attemptsOf(deps.channels), wakeWorker: stages.wake });
  preferenceRoutes(app, preferenceDeps(deps));
  destinationRoutes(app, { ...shared, ...checks, ...destinationDeps(deps) });
  throttleRoutes(app, shared);
  userRoutes(app, { ...shared, ...checks, look: deps.feed.look, wake: stages.wake });
  const { facts } = deps.channels;
  const listed = (address: ListedAddress) => listedAddress(facts, address);
  topicRoutes(app, { ...shared, mention: mentionIn(config) });
  suppressionRoutes(app, { ...shared, ...checks, channels: facts, listed });
  bounceRoutes(app, { ...shared, channels: facts, listed, idempotencyTtlMs: config['idempotency.ttl'] });
  unsubscribeRoutes(app, { ...shared, listed, readToken: deps.unsubscribeTokens.read, productName: config.product_name });
  webhookSecretRoutes(app, {
    ...shared,
    tenantSecret: deps.webhookKey,
    rotated: deps.signing.rotated,
    overlapMs: config['webhook.rotation_overlap'],
    now: clock.now,
  });
}

/** After a tenant's settings have changed. */
function forgetting(...caches: readonly (() => void)[]): () => void {
  return () => {
    for (const forget of caches) forget();
  };
}

function preferenceDeps({ database, channels, defaults, quietUntil, egress, clock, stages }: ApiDeps): PreferenceDeps {
  return {
    ...addressChecks(egress),
    database,
    channels: channels.facts,
    defaults,
    explain: ({ tenantId, user }, subject, { at, defaults: ofTenant }) =>
      explain(tenantId, subject, user, {
        channels: channels.facts,
        defaultsOf: () => ofTenant,
        quietUntil: (hours, zone) => quietUntil(hours, { zone, at }),
        closesAt: (times, zone) => closingTime(times, { zone, at }, nextRun),
      }),
    now: clock.now,
    wake: stages.wake,
  };
}

function addressChecks(egress: Egress): AddressChecks {
  return { checkMailbox, checkUrl: (url) => verdictOf(egress.refusal(url)) };
}

function inboxSettings({
  config,
  clock,
  metrics,
  log,
}: ApiDeps): Pick<InboxDeps, 'createUsers' | 'corsOrigins' | 'random' | 'log' | 'sse'> {
  return {
    createUsers: config['users.create'] === 'on_mention',
    corsOrigins: config['inbox.cors_origins'],
    random: Math.random,
    log,
    sse: {
      monotonicMs: clock.monotonicMs,
      log,
      heartbeatMs: config['stream.heartbeat'],
      maxUnsent: config['stream.max_buffer'],
      maxStallMs: config['stream.stall'],
      cut: metrics.streamCut,
    },
  };
}

function operatorRoutes(app: App, { config, database, clock, metrics, processIsReady }: ApiDeps): void {
  healthRoutes(app, {
    appliedMigration: () => appliedMigration(database.engine),
    knownMigration: migrationsIn().at(-1)?.number ?? 0,
    draining: () => !processIsReady(),
    metrics,
  });
  referenceRoutes(app, { version: VERSION });
  docsRoutes(app);
  if (config.env !== 'development') return;
  developmentRoutes(app, { database, renderMail: (row) => renderEmail({ ...row, productName: config.product_name }), now: clock.now });
}

/** Undefined without the settings. Throws when the address of the keys is one that is never called. */
async function accessOf({ config, egress, clock, log }: ApiDeps): Promise<ReadAssertion | undefined> {
  const { 'access.keys_url': keysUrl, 'access.issuer': issuer, 'access.audience': audience } = config;
  if (keysUrl === undefined || issuer === undefined || audience === undefined) return undefined;
  const refusal = egress.refusal(keysUrl);
  if (refusal !== undefined) throw new Error(`access.keys_url can't be called: ${refusal}`);
  const request = { method: 'GET', headers: { accept: 'application/json' }, keepBytes: MAX_KEY_SET_BYTES } as const;
  const { makeAccess } = await import('./api/access.ts');
  return makeAccess({
    keysUrl,
    issuer,
    audience,
    now: clock.now,
    log,
    fetch: (url, signal) => egress.request(url, { ...request, signal }),
  });
}

function limitsOf({ config, database, clock }: ApiDeps): Admit {
  return makeLimits({
    lease: (wanted) => leaseRequests(database.engine, wanted),
    keyLimit: config['limits.key'],
    tenantLimit: config['limits.tenant'],
    monotonicMs: clock.monotonicMs,
  });
}

function destinationDeps(deps: ApiDeps) {
  const { config, clock, vault, channels, destinations, stages } = deps;
  return {
    vault,
    channels: channels.facts,
    corsOrigins: config['inbox.cors_origins'],
    random: randomBytes,
    now: clock.now,
    refusedTypes: deps.catalog.catalog.refused,
    changed: destinations.forget,
    wakeWorker: stages.wake,
    sendTest: makeSendTest(deps),
  };
}

const ADMIN_ROLES: ReadonlySet<string> = new Set(['owner', 'admin']);

/** Asked on every request: who has lost the role has lost it at once. */
async function isAccountAdmin(database: Database, { tenantId, userId: id }: UserCaller): Promise<boolean> {
  const user = await database.asTenant(tenantId, (tx) => getUser(tx, { tenantId, id }));
  return user !== undefined && user.active && user.roles.some((role) => ADMIN_ROLES.has(role));
}

function verdictOf(refusal: string | undefined): { ok: true } | { ok: false; reason: string } {
  return refusal === undefined ? { ok: true } : { ok: false, reason: refusal };
}

/** After a person's retry: one policy more. */
function attemptsOf({ facts }: Registry): Record<ChannelName, number> {
  return Object.fromEntries([...facts.values()].map(({ name, delaysMs }) => [name, delaysMs.length + 1]));
}

/** Users not seen before are made, where the installation wants that. */
function mentionIn(config: Config): TopicDeps['mention'] {
  return async (tx, users) => {
    await recipientsFor(tx, users, { create: config['users.create'] === 'on_mention' });
  };
}
