/** What every part stands on: the database, time, secrets, the way out. Part of the composition root. */
import { randomBytes } from 'node:crypto';
import { SCOPES } from './api/auth.ts';
import type { Config } from './config.ts';
import type { QuietHours } from './domain/quiet-hours.ts';
import type { Clock } from './lib/clock.ts';
import type { Vault } from './lib/crypto.ts';
import { makeEgress, type Egress } from './lib/egress.ts';
import { makeUnsubscribeTokens, type UnsubscribeTokens } from './lib/unsubscribe.ts';
import { addDays, instantsOf, localOf } from './lib/zone.ts';
import { quietUntil, type When } from './router/quiet-hours.ts';
import { openVault } from './main-keys.ts';
import { bootstrap } from './store/bootstrap.ts';
import type { Database } from './store/database.ts';
import type { Opened } from './store/open.ts';
import { rememberDefaults, type Defaults } from './store/preferences.ts';
import { makeDevelopmentKey, makeDevelopmentSecret } from './store/settings.ts';
import { newTenantSecrets, secretContext, tenantSecret, type SealedSecret, type SecretPurpose } from './store/tenants.ts';
import type { Log } from './telemetry/log.ts';
import { makeMetrics, type Metrics } from './telemetry/metrics.ts';

export interface Core {
  readonly config: Config;
  readonly opened: Opened;
  readonly database: Database;
  readonly clock: Clock;
  readonly egress: Egress;
  /** Seals what is secret at rest. */
  readonly vault: Vault;
  /** API keys are hashed with it. */
  readonly pepper: Uint8Array;
  /** Of the links in mails. */
  readonly unsubscribeTokens: UnsubscribeTokens;
  /** A tenant's raw key; undefined for a tenant that does not exist. */
  readonly tenantKey: (tenantId: string, purpose: SecretPurpose) => Promise<Uint8Array | undefined>;
  /** The one that users' webhook secrets are derived from. */
  readonly webhookKey: (tenantId: string) => Promise<Uint8Array>;
  /** For a tenant that is about to be made, and its sibling. */
  readonly newSecrets: (tenantId: string) => SealedSecret[];
  /** Of the very first start: nobody can read it again. */
  readonly bootstrapKey: string | undefined;
  /** What tenants say of everybody's preferences. */
  readonly defaults: Defaults;
  /** The end of quiet hours, when they are quiet. */
  readonly quietUntil: (hours: QuietHours, when: When) => Date | null;
  readonly metrics: Metrics;
  readonly log: Log;
}

const MAX_RESPONSE_BYTES = 64 * 1024;

export async function makeCore(opened: Opened, { config, clock, log }: { config: Config; clock: Clock; log: Log }): Promise<Core> {
  const { database } = opened;
  const { secret, madeKey } = await secretsOf(config, database);
  const vault = await openVault(config, database, madeKey);
  const pepper = Buffer.from(secret);
  const tenantKey = keysOf(database, vault);
  const webhookKey = async (tenantId: string) => {
    const key = await tenantKey(tenantId, 'webhook');
    if (!key) throw new Error(`tenant ${tenantId} has no webhook key`);
    return key;
  };
  const first = { vault, pepper, bootstrapKey: config.bootstrap_key, scopes: SCOPES, now: clock.now, random: randomBytes };
  const bootstrapKey = await bootstrap(database, first);
  return {
    config,
    opened,
    database,
    clock,
    egress: egressOf(config, log),
    vault,
    pepper,
    unsubscribeTokens: makeUnsubscribeTokens(pepper),
    tenantKey,
    webhookKey,
    newSecrets: (tenantId) => newTenantSecrets(tenantId, vault, randomBytes),
    bootstrapKey,
    defaults: rememberDefaults(clock.monotonicMs),
    quietUntil: (hours, when) => quietUntil({ localOf, instantsOf, addDays }, hours, when),
    metrics: makeMetrics(),
    log,
  };
}

/** Opened once per tenant and purpose. */
function keysOf(database: Database, vault: Vault): Core['tenantKey'] {
  const known = new Map<string, Uint8Array>();
  return async (tenantId, purpose) => {
    const context = secretContext(tenantId, purpose);
    const cached = known.get(context);
    if (cached) return cached;
    const sealed = await tenantSecret(database.engine, tenantId, purpose);
    if (!sealed) return undefined;
    const key = vault.open(sealed, context);
    known.set(context, key);
    return key;
  };
}

/** Production is given its secrets (config.ts refuses it without); development makes what is missing, and keeps it in the database. */
async function secretsOf(config: Config, { engine }: Database): Promise<{ secret: string; madeKey: string | undefined }> {
  return {
    secret: config.secret ?? (await makeDevelopmentSecret(engine, randomBytes)),
    madeKey: config.encryption_key === undefined ? await makeDevelopmentKey(engine, randomBytes) : undefined,
  };
}

function egressOf(config: Config, log: Log): Egress {
  const allowLoopback = config.env === 'development';
  if (allowLoopback) log('egress.loopback-allowed', { reason: 'development mode' });
  return makeEgress(egressLimits(config));
}

export function egressLimits(config: Config) {
  return {
    allowLoopback: config.env === 'development',
    allowRanges: [...config['egress.allow']],
    totalTimeoutMs: config['delivery.total_timeout'],
    connectTimeoutMs: config['delivery.connect_timeout'],
    maxResponseBytes: MAX_RESPONSE_BYTES,
  };
}
