/** Settings become channels. What is wrong is thrown in words for the operator. */
import type { Channel, Provider } from '../domain/channel.ts';
import type { ChannelSetting, ProviderSetting } from '../lib/channel-setting.ts';
import { nearest } from '../lib/nearest.ts';
import type { ChannelKind, ProviderTools } from './kind.ts';

export interface SetUpDeps {
  readonly tools: ProviderTools;
  readonly fromModule: (module: string, options: unknown) => Promise<Provider>;
}

/** A built-in channel. Without settings it is set up when it needs none. */
export async function setUp(kind: ChannelKind, setting: ChannelSetting | undefined, deps: SetUpDeps): Promise<Channel> {
  if (setting?.module !== undefined) throw new Error('this name is taken by a built-in channel: give the module another');
  const providers = setting?.enabled === false ? [] : await providersOf(kind, setting, deps);
  return { ...kind, delaysMs: setting?.retry ?? kind.delaysMs, providers, available: providers.length > 0 };
}

/** In the order in which they are asked. */
export async function makeProviders(
  makers: ChannelKind['makers'],
  wanted: readonly ProviderSetting[],
  { tools, fromModule }: SetUpDeps,
): Promise<Provider[]> {
  const making = wanted.map(async (one) =>
    one.module === undefined ? makeProvider(makers, one, tools) : fromModule(one.module, one.options),
  );
  return distinct(await Promise.all(making));
}

async function providersOf(kind: ChannelKind, setting: ChannelSetting | undefined, deps: SetUpDeps): Promise<Provider[]> {
  if (setting?.providers) return makeProviders(kind.makers, setting.providers, deps);
  const wanted = setting?.options !== undefined || kind.ready || setting?.enabled === true;
  return wanted ? [makeProvider(kind.makers, { name: kind.standard, options: setting?.options }, deps.tools)] : [];
}

function makeProvider(makers: ChannelKind['makers'], { name = '', options }: ProviderSetting, tools: ProviderTools): Provider {
  const make = makers[name];
  if (!make) throw new Error(`${name} is none of its providers; the nearest is ${nearest(name, Object.keys(makers)) ?? '(none)'}`);
  return make(options, tools);
}

/** Two accounts with one carrier are two providers: the second is known as `sms.twilio-2`. */
export function distinct(providers: readonly Provider[]): Provider[] {
  const seen = new Map<string, number>();
  return providers.map((provider) => {
    const count = (seen.get(provider.id) ?? 0) + 1;
    seen.set(provider.id, count);
    if (count === 1) return provider;
    return { id: `${provider.id}-${count}`, send: (message, signal) => provider.send(message, signal), close: provider.close };
  });
}
