/** The channels of this installation, wired from its settings. Part of the composition root. */
import { emailChannel, type EmailAddress } from './channels/email/channel.ts';
import { outboxProvider } from './channels/email/outbox.ts';
import type { RenderedEmail } from './channels/email/render.ts';
import { smtpProvider } from './channels/email/smtp.ts';
import { makeRegistry, type Registry } from './channels/registry.ts';
import { webhookChannel } from './channels/webhook/channel.ts';
import { webhookHttp } from './channels/webhook/http.ts';
import type { Config } from './config.ts';
import type { Channel, Owner, Provider } from './domain/channel.ts';
import { deriveWebhookSecret } from './lib/crypto.ts';
import { makeLru } from './lib/lru.ts';
import type { Core } from './main-core.ts';

const SECRETS_KEPT = 10_000;

export function makeChannels(core: Core): Registry {
  return makeRegistry([emailOf(core.config), webhookOf(core)]);
}

function webhookOf({ config, egress, clock, webhookKey }: Core): Channel {
  const http = () =>
    webhookHttp({
      egress,
      now: clock.now,
      headers: config['webhook.headers'],
      schemes: config['webhook.signatures'],
      plain: plainOf(config),
    });
  const providers = config['webhook.enabled'] ? [http()] : [];
  return webhookChannel({ providers, delaysMs: config['webhook.retry'], secretsOf: makeSecrets(webhookKey) });
}

function plainOf({ 'webhook.secret_header': header, 'webhook.secret': secret }: Config) {
  return header === undefined ? undefined : { header, secret: secret === undefined ? undefined : Buffer.from(secret) };
}

function emailOf(config: Config): Channel {
  const provider = config['email.enabled'] === false ? undefined : mailProvider(config);
  const maxInFlight = config['email.smtp.max_connections'];
  return emailChannel({ providers: provider ? [provider] : [], delaysMs: config['email.retry'], maxInFlight });
}

function mailProvider(config: Config): Provider<EmailAddress, RenderedEmail> | undefined {
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

/** Derived once per user: HKDF on every attempt would be work for nothing. */
function makeSecrets(webhookKey: Core['webhookKey']): (owner: Owner) => Promise<readonly Uint8Array[]> {
  const known = makeLru<readonly Uint8Array[]>(SECRETS_KEPT);
  return async ({ tenantId, userId }) => {
    const name = `${tenantId}\0${userId}`;
    const cached = known.get(name);
    if (cached) return cached;
    const secrets = [deriveWebhookSecret(await webhookKey(tenantId), userId)];
    known.set(name, secrets);
    return secrets;
  };
}
