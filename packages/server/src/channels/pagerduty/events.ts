/** PagerDuty's Events API v2. Its 202 says that the event is queued. */
import { z } from 'zod';
import type { Message, Provider } from '../../domain/channel.ts';
import type { EgressResponse } from '../../lib/egress.ts';
import { exchange, readJson, type ExchangeDeps, type Judgement } from '../exchange.ts';
import { baseUrl } from '../options.ts';
import type { PagerDutyEvent } from './render.ts';

export interface PagerDutyAddress {
  readonly routingKey: string;
}

export const PagerDutyOptions = z.strictObject({ api_url: baseUrl('https://events.pagerduty.com') });

export function pagerDutyEvents(
  deps: ExchangeDeps,
  { api_url: base }: z.output<typeof PagerDutyOptions>,
): Provider<PagerDutyAddress, PagerDutyEvent> {
  return {
    id: 'pagerduty.events',
    send: ({ address: { routingKey }, content }: Message<PagerDutyAddress, PagerDutyEvent>, signal) =>
      exchange(
        deps,
        { url: `${base}/v2/enqueue`, body: JSON.stringify({ routing_key: routingKey, ...content }), secrets: [routingKey], judge },
        signal,
      ),
    close: () => Promise.resolve(),
  };
}

/** 400 names what is wrong with the event: either the key, or the rest. */
function judge({ status, body }: EgressResponse): Judgement | undefined {
  if (status === 202) {
    const key = readJson(body)?.dedup_key;
    return { kind: 'accepted', providerId: typeof key === 'string' ? key : undefined };
  }
  if (status !== 400) return undefined;
  return { kind: 'permanent', reason: /routing_key/.test(body) ? 'address_rejected' : 'content_rejected' };
}
