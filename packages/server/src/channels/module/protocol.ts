/** What the process and a module's thread say to each other. */
import type { Message, RenderContext, SendResult, Telling } from '../../domain/channel.ts';
import type { EgressOptions } from '../../lib/egress.ts';
import type { Description } from './contract.ts';

export type LimitsOfEgress = Pick<
  EgressOptions,
  'allowLoopback' | 'allowRanges' | 'totalTimeoutMs' | 'connectTimeoutMs' | 'maxResponseBytes'
>;

/** `workerData` of the thread. */
export interface Setup {
  /** A file's path, or a package's name. */
  readonly module: string;
  readonly exports: 'createChannel' | 'createProvider';
  readonly options: unknown;
  readonly productName: string;
  readonly egress: LimitsOfEgress;
}

/** What a channel of a module has for content until the thread renders it. */
export interface Unrendered {
  readonly telling: Telling;
  readonly context: RenderContext;
}

/** `json`: the content. Whatever a module makes crosses as text. */
export type Made = { readonly ok: true; readonly json: string } | { readonly ok: false; readonly detail: string };

export type ToThread =
  | { readonly type: 'send'; readonly call: number; readonly provider: number; readonly message: Message }
  /** For a preview: nothing is sent. */
  | { readonly type: 'render'; readonly call: number; readonly content: Unrendered }
  | { readonly type: 'abort'; readonly call: number }
  | { readonly type: 'close' };

export type FromThread =
  | { readonly type: 'ready'; readonly description: Description }
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'result'; readonly call: number; readonly result: SendResult }
  | { readonly type: 'rendered'; readonly call: number; readonly made: Made }
  /** An abort was taken note of. */
  | { readonly type: 'alive' }
  | { readonly type: 'closed' }
  | { readonly type: 'log'; readonly event: string; readonly fields: string };
