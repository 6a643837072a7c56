/** Any channel, with nobody who carries it: what a test tenant sends is rendered as always, and then answered here. */
import type { Channel, ChannelName, Provider, SendResult } from '../../domain/channel.ts';
import { reasonOf } from '../../lib/abort.ts';
import { scenarioOf, type Scenario } from './scenario.ts';

/** What is about to be sent. */
export interface Target {
  readonly tenantId: string;
  readonly channel: ChannelName;
  readonly address: string;
  readonly userId: string | null;
  /** Counts from 1. */
  readonly attempt: number;
}

const SLOW_DOWN_MS = 1_000;

/** Shares with the live one what it looks like, and neither its providers nor its secrets. */
export function simulated(live: Channel, target: Target): Channel {
  const { name, title, available, address, lane, delaysMs, maxInFlight } = live;
  const result = resultOf(scenarioOf(target.address, target.userId), target.attempt);
  return {
    ...{ name, title, available, address, lane, delaysMs, maxInFlight },
    providers: [simulator(name, result)],
    render: (telling, context) => live.render(telling, context),
    ...(live.shown && { shown: (content) => live.shown?.(content) ?? Promise.resolve(content) }),
    addressOf: (text) => text,
  };
}

function simulator(channel: ChannelName, result: SendResult): Provider {
  return {
    id: `${channel}.simulated`,
    send: (_, signal) => (signal.aborted ? Promise.reject(reasonOf(signal)) : Promise.resolve(result)),
    close: () => Promise.resolve(),
  };
}

function resultOf(scenario: Scenario, attempt: number): SendResult {
  const response = `Simulated: ${scenario}.`;
  switch (scenario) {
    case 'delivered':
      return { kind: 'accepted', status: 200, response };
    case 'bounced': // not `address_gone`: the address must bounce again in the next run, and not be suppressed
      return { kind: 'permanent', reason: 'address_rejected', detail: 'simulated bounce', status: 550, response };
    case 'timeout':
      return { kind: 'unknown', reason: 'timeout', detail: 'simulated timeout' };
    case 'rate-limited':
      if (attempt > 1) return { kind: 'accepted', status: 200, response };
      return { kind: 'transient', reason: 'rate_limited', detail: 'HTTP 429', status: 429, retryAfterMs: SLOW_DOWN_MS, response };
  }
}
