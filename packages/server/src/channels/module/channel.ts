/** Channels and providers that somebody else wrote, as the port knows them. */
import type { Channel, Provider } from '../../domain/channel.ts';
import { TemplateFailed } from '../../domain/written.ts';
import { reasonOf } from '../../lib/abort.ts';
import type { ChannelSetting } from '../../lib/channel-setting.ts';
import { CHAT_RETRY } from '../kind.ts';
import { startModule, type HostDeps, type ModuleHost } from './host.ts';
import type { LimitsOfEgress, Unrendered } from './protocol.ts';

export interface ModuleDeps extends HostDeps {
  readonly productName: string;
  readonly egress: LimitsOfEgress;
}

/** Rejects with why the module can't be used, in words for the operator. */
export async function moduleChannel(name: string, module: string, setting: ChannelSetting, deps: ModuleDeps): Promise<Channel> {
  const host = await start(module, 'createChannel', setting.options, deps);
  const { channel, providers } = host.description;
  if (!channel) throw new Error(`${module} gave no channel`);
  return {
    name,
    title: channel.title,
    available: setting.enabled,
    address: channel.address,
    lane: channel.lane,
    delaysMs: setting.retry ?? channel.delaysMs ?? CHAT_RETRY,
    providers: providers.map((id, index) => hosted(host, id, index)),
    render: (telling, context): Unrendered => ({ telling, context }),
    shown: async (content) => {
      const made = await host.render(content as Unrendered);
      if (!made.ok) throw new TemplateFailed(made.detail);
      return JSON.parse(made.json) as unknown;
    },
    addressOf: (text) => text,
  };
}

export async function moduleProvider(module: string, options: unknown, deps: ModuleDeps): Promise<Provider> {
  const host = await start(module, 'createProvider', options, deps);
  const [id = ''] = host.description.providers;
  return hosted(host, id, 0);
}

async function start(module: string, exports: 'createChannel' | 'createProvider', options: unknown, deps: ModuleDeps): Promise<ModuleHost> {
  const { productName, egress } = deps;
  try {
    return await startModule({ module, exports, options, productName, egress }, deps);
  } catch (error) {
    throw new Error(`${module}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

function hosted(host: ModuleHost, id: string, index: number): Provider {
  return {
    id,
    send: (message, signal) => (signal.aborted ? Promise.reject(reasonOf(signal)) : host.send(index, message, signal)),
    close: host.close,
  };
}
