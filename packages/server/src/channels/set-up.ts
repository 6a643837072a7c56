/** Settings become channels. Throws what is wrong, in words for the operator. */
import type { Channel, Provider } from '../domain/channel.ts';
import type { ChannelSetting, ProviderSetting } from '../lib/channel-setting.ts';
import { nearest } from '../lib/nearest.ts';
import type { ChannelKind, ProviderTools } from './kind.ts';

/** A built-in channel. Without settings it is set up when it needs none. */
export function setUp(kind: ChannelKind, setting: ChannelSetting | undefined, tools: ProviderTools): Channel {
  const providers = setting?.enabled === false ? [] : providersOf(kind, setting, tools);
  return { ...kind, delaysMs: setting?.retry ?? kind.delaysMs, providers, available: providers.length > 0 };
}

function providersOf(kind: ChannelKind, setting: ChannelSetting | undefined, tools: ProviderTools): Provider[] {
  if (setting?.providers) return setting.providers.map((one) => makeProvider(kind, one, tools));
  const wanted = setting?.options !== undefined || kind.ready || setting?.enabled === true;
  return wanted ? [makeProvider(kind, { name: kind.standard, options: setting?.options }, tools)] : [];
}

function makeProvider({ makers }: ChannelKind, { name = '', options }: ProviderSetting, tools: ProviderTools): Provider {
  const make = makers[name];
  if (!make) throw new Error(`${name} is none of its providers; the nearest is ${nearest(name, Object.keys(makers)) ?? '(none)'}`);
  return make(options, tools);
}
