/** The channels of this installation, wired from its settings. Part of the composition root. */
import type { z } from 'zod';
import { BUILT_IN } from './channels/built-in.ts';
import { emailChannel, type EmailAddress } from './channels/email/channel.ts';
import { outboxProvider } from './channels/email/outbox.ts';
import type { RenderedEmail } from './channels/email/render.ts';
import { smtpProvider, type SmtpOptions } from './channels/email/smtp.ts';
import { SmtpSettings } from './channels/email/smtp-settings.ts';
import { moduleChannel, moduleProvider, type ModuleDeps } from './channels/module/channel.ts';
import { makeRegistry, type Registry } from './channels/registry.ts';
import { readOptions } from './channels/options.ts';
import { distinct, makeProviders, setUp, type SetUpDeps } from './channels/set-up.ts';
import { webhookChannel } from './channels/webhook/channel.ts';
import { webhookHttp } from './channels/webhook/http.ts';
import { ConfigError, type Config } from './config.ts';
import { IN_APP, type Channel, type ChannelFacts, type Provider } from './domain/channel.ts';
import type { ChannelSetting } from './lib/channel-setting.ts';
import { nearest } from './lib/nearest.ts';
import { egressLimits, type Core } from './main-core.ts';
import type { Signing } from './main-signing.ts';

/** Of every channel that an installation with these settings can have, with the waits between its attempts. No module is loaded for it. */
export function channelsIn(config: Config): Pick<ChannelFacts, 'name' | 'delaysMs'>[] {
  const own = [
    { name: IN_APP, delaysMs: [] },
    { name: 'email', delaysMs: config['email.retry'] },
    { name: 'webhook', delaysMs: config['webhook.retry'] },
  ];
  const others = Object.entries(config.channels).map(([name, { retry }]) => ({
    name,
    delaysMs: retry ?? BUILT_IN.find((kind) => kind.name === name)?.delaysMs ?? [],
  }));
  return [...BUILT_IN, ...others.filter(({ name }) => name !== 'email'), ...own];
}

/** So that a request's own time limit, which knows more of it, comes first. */
const MODULE_GRACE_MS = 250;

/** Throws ConfigError with every channel that can't be set up, and why. */
export async function makeChannels(core: Core, signing: Signing): Promise<Registry> {
  const { config, egress, clock, log } = core;
  const modules = modulesOf(core);
  const tools = { request: egress.request, now: clock.now, productName: config.product_name, log };
  const deps = { tools, fromModule: (module: string, options: unknown) => moduleProvider(module, options, modules) };
  const builtIn = BUILT_IN.map((kind) => [kind.name, () => setUp(kind, config.channels[kind.name], deps)] as const);
  const names = [...OWN_SETTINGS, ...BUILT_IN.map(({ name }) => name)];
  const others = Object.entries(config.channels)
    .filter(([name]) => name !== 'email' && !BUILT_IN.some((kind) => kind.name === name))
    .map(([name, setting]) => [name, () => otherChannel(name, setting, { names, modules })] as const);
  const made = await allOf([['email', () => emailOf(core, deps)], ...builtIn, ...others]);
  const inbox = config['inapp.enabled'];
  if (!inbox) log('inapp.disabled', { reason: 'inapp.enabled is false', consequence: 'nothing is put into inboxes' });
  return makeRegistry([webhookOf(core, signing), ...made], { inbox });
}

/** What they are is in the settings of their names. */
const OWN_SETTINGS = ['in_app', 'email', 'webhook'];

async function otherChannel(
  name: string,
  setting: ChannelSetting,
  { names, modules }: { names: readonly string[]; modules: ModuleDeps },
): Promise<Channel> {
  if (OWN_SETTINGS.includes(name)) throw new Error(`it has settings of its own, ${name}.*`);
  if (setting.module !== undefined) return moduleChannel(name, setting.module, setting, modules);
  throw new Error(`it is no channel, and names no module; the nearest known one is ${nearest(name, names) ?? '(none)'}`);
}

/** Every problem is found, not only the first; what was started is then closed again. */
async function allOf(making: readonly (readonly [name: string, make: () => Promise<Channel>])[]): Promise<Channel[]> {
  const settled = await Promise.all(
    making.map(async ([name, make]) => {
      try {
        return await make();
      } catch (error) {
        return `channels.${name}: ${error instanceof Error ? error.message : String(error)}`;
      }
    }),
  );
  const made = settled.filter((one) => typeof one !== 'string');
  const problems = settled.filter((one) => typeof one === 'string');
  if (problems.length === 0) return made;
  await Promise.all(made.flatMap(({ providers }) => providers.map((provider) => provider.close())));
  throw new ConfigError(problems);
}

function modulesOf({ config, clock, log }: Core): ModuleDeps {
  const timeoutMs = config['delivery.total_timeout'] + MODULE_GRACE_MS;
  return { log, monotonicMs: clock.monotonicMs, timeoutMs, productName: config.product_name, egress: egressLimits(config) };
}

function webhookOf({ config, egress, clock }: Core, signing: Signing): Channel {
  const http = () =>
    webhookHttp({
      egress,
      now: clock.now,
      headers: config['webhook.headers'],
      schemes: config['webhook.signatures'],
      plain: plainOf(config),
    });
  const providers = config['webhook.enabled'] ? [http()] : [];
  return webhookChannel({ providers, delaysMs: config['webhook.retry'], secretsOf: signing.secretsOf });
}

function plainOf({ 'webhook.secret_header': header, 'webhook.secret': secret }: Config) {
  return header === undefined ? undefined : { header, secret: secret === undefined ? undefined : Buffer.from(secret) };
}

/** The server of `email.smtp.*`, then those of `channels.email.providers`. */
async function mailProviders(config: Config, deps: SetUpDeps): Promise<Provider[]> {
  const { providers = [], ...others } = config.channels.email ?? { enabled: true };
  if (!others.enabled || Object.values(others).filter((value) => value !== undefined).length > 1)
    throw new Error('only providers can be named here; the rest is email.*');
  const smtp = (options: unknown) => smtpProvider(smtpOf(config, readOptions(SmtpSettings, options)));
  const further = await makeProviders({ smtp }, providers, deps);
  const own = further.length > 0 && config['email.smtp.host'] === undefined ? undefined : mailProvider(config);
  return config['email.enabled'] === false ? [] : distinct([...(own ? [own] : []), ...further]);
}

async function emailOf({ config, unsubscribeTokens, log }: Core, deps: SetUpDeps): Promise<Channel> {
  const providers = await mailProviders(config, deps);
  const maxInFlight = config['email.smtp.max_connections'];
  const url = config.public_url?.replace(/\/+$/, '');
  if (providers.length > 0 && url === undefined && config['email.smtp.host'] !== undefined)
    log('email.no-unsubscribe-link', { reason: 'public_url is not set', consequence: 'mails have no List-Unsubscribe header' });
  return emailChannel({
    providers,
    delaysMs: config['email.retry'],
    maxInFlight,
    unsubscribe: (mailbox, { tenantId, userId }) => {
      const token = unsubscribeTokens.make({ tenantId, channel: 'email', of: userId === null ? { address: mailbox } : { user: userId } });
      const to = config['email.unsubscribe_mailbox'];
      return {
        url: url === undefined ? undefined : `${url}/unsubscribe/${token}`,
        mailto: to === undefined ? undefined : `mailto:${encodeURIComponent(to).replace('%40', '@')}?subject=${token}`,
      };
    },
  });
}

function mailProvider(config: Config): Provider<EmailAddress, RenderedEmail> | undefined {
  const host = config['email.smtp.host'];
  const from = config['email.smtp.from'];
  if (host === undefined || from === undefined) return config.env === 'development' ? outboxProvider() : undefined;
  return smtpProvider(
    smtpOf(config, {
      host,
      port: config['email.smtp.port'],
      security: config['email.smtp.security'],
      user: config['email.smtp.user'],
      password: config['email.smtp.password'],
      from,
      max_connections: config['email.smtp.max_connections'],
    }),
  );
}

function smtpOf(config: Config, { from, max_connections: maxConnections, ...server }: z.output<typeof SmtpSettings>): SmtpOptions {
  return {
    ...server,
    from: { name: config.product_name, address: from },
    maxConnections,
    productHost: from.slice(from.lastIndexOf('@') + 1),
    connectTimeoutMs: config['delivery.connect_timeout'],
    totalTimeoutMs: config['delivery.total_timeout'],
  };
}
