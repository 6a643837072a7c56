/** The thread of one module. Its unhandled errors end it, and nothing else. */
import { createRequire } from 'node:module';
import { isAbsolute, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import type { Message, Provider } from '../../domain/channel.ts';
import { describeError } from '../../lib/describe-error.ts';
import { makeEgress } from '../../lib/egress.ts';
import { describeChannel, describeProvider, toSendResult, type Description } from './contract.ts';
import type { ModuleChannel } from './port.ts';
import type { FromThread, Made, Setup, ToThread, Unrendered } from './protocol.ts';

const setup = workerData as Setup;
const MAX_LOG_FIELDS = 2_000;

function say(message: FromThread): void {
  parentPort?.postMessage(message);
}

/** A package is looked for beside the server first, then from the working folder. */
async function importModule(name: string): Promise<Readonly<Record<string, unknown>>> {
  if (isAbsolute(name)) return (await import(pathToFileURL(name).href)) as Record<string, unknown>;
  try {
    return (await import(name)) as Record<string, unknown>;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    const path = createRequire(join(process.cwd(), 'carillon.yaml')).resolve(name);
    return (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  }
}

interface Loaded {
  readonly description: Description;
  readonly send: (provider: number, message: Message, signal: AbortSignal) => Promise<unknown>;
  /** Undefined: a provider, whose content is that of its channel. */
  readonly render?: (content: Unrendered) => unknown;
  readonly providers: readonly Provider[];
}

const egress = makeEgress(setup.egress);

async function load(): Promise<Loaded> {
  const { [setup.exports]: create } = await importModule(setup.module);
  if (typeof create !== 'function') throw new Error(`it does not export the function ${setup.exports}`);
  const tools = {
    request: egress.request,
    productName: setup.productName,
    log: (event: unknown, fields: unknown = {}) => {
      say({ type: 'log', event: String(event).slice(0, 64), fields: JSON.stringify({ fields }).slice(0, MAX_LOG_FIELDS) });
    },
  };
  const made: unknown = await (create as (options: unknown, tools: object) => unknown)(setup.options, tools);
  return setup.exports === 'createChannel' ? asChannel(made) : asProvider(made);
}

function asChannel(made: unknown): Loaded {
  const description = describeChannel(made);
  const channel = made as ModuleChannel;
  const render = ({ telling, context }: Unrendered) => channel.render(telling, context);
  return {
    description,
    render,
    providers: channel.providers,
    send: async (provider, { deliveryId, address, content }, signal) => {
      const message = { deliveryId, address: address as string, content: render(content as Unrendered) };
      return channel.providers[provider]?.send(message, signal);
    },
  };
}

function asProvider(made: unknown): Loaded {
  const description = describeProvider(made);
  const provider = made as Provider;
  return { description, providers: [provider], send: (_, message, signal) => provider.send(message, signal) };
}

const calls = new Map<number, AbortController>();

async function serve({ send }: Loaded, { call, provider, message }: Extract<ToThread, { type: 'send' }>): Promise<void> {
  const controller = new AbortController();
  calls.set(call, controller);
  try {
    say({ type: 'result', call, result: toSendResult(await send(provider, message, controller.signal)) });
  } catch (error) {
    say({ type: 'result', call, result: toSendResult({ kind: 'transient', reason: 'internal', detail: describeError(error) }) });
  } finally {
    calls.delete(call);
  }
}

const MAX_CONTENT = 1024 * 1024;

function renderedBy({ render }: Loaded, content: Unrendered): Made {
  try {
    const json = (JSON.stringify(render?.(content)) as string | undefined) ?? 'null'; // of a function there is none
    return json.length > MAX_CONTENT ? { ok: false, detail: `more than ${MAX_CONTENT} characters` } : { ok: true, json };
  } catch (error) {
    return { ok: false, detail: describeError(error).slice(0, MAX_LOG_FIELDS) };
  }
}

function abort(call: number): void {
  say({ type: 'alive' });
  calls.get(call)?.abort(new Error('given up'));
}

async function close({ providers }: Loaded): Promise<void> {
  await Promise.allSettled([...providers.map((provider) => provider.close()), egress.close()]);
  say({ type: 'closed' });
}

/** Nobody waits for what failed here: it is told, and the module goes on. */
function unhandled(error: unknown): void {
  say({ type: 'log', event: 'unhandled', fields: JSON.stringify({ error: describeError(error) }).slice(0, MAX_LOG_FIELDS) });
}
process.on('unhandledRejection', unhandled);
process.on('uncaughtException', unhandled);

try {
  const loaded = await load();
  parentPort?.on('message', (message: ToThread) => {
    if (message.type === 'send') void serve(loaded, message);
    else if (message.type === 'render') say({ type: 'rendered', call: message.call, made: renderedBy(loaded, message.content) });
    else if (message.type === 'abort') abort(message.call);
    else void close(loaded);
  });
  say({ type: 'ready', description: loaded.description });
} catch (error) {
  say({ type: 'failed', message: describeError(error).replace(/^Error: /, '') });
}
