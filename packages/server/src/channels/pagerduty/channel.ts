/** The channel `pagerduty`: an alert of a service, opened and closed under one key. */
import { CHAT_RETRY, type ChannelKind } from '../kind.ts';
import { readOptions } from '../options.ts';
import { pagerDutyEvents, PagerDutyOptions, type PagerDutyAddress } from './events.ts';
import { renderPagerDuty, type PagerDutyEvent } from './render.ts';

export const PAGERDUTY: ChannelKind<PagerDutyAddress, PagerDutyEvent> = {
  name: 'pagerduty',
  title: 'PagerDuty',
  address: {
    field: 'routing_key',
    format: 'text',
    profile: null,
    pattern: '^[A-Za-z0-9]{32}$',
    words: 'the integration key of a service, 32 letters and digits',
    secret: true,
  },
  lane: 'tenant',
  delaysMs: CHAT_RETRY,
  makers: { events: (options, tools) => pagerDutyEvents(tools, readOptions(PagerDutyOptions, options)) },
  standard: 'events',
  ready: true,
  render: renderPagerDuty,
  addressOf: (routingKey) => ({ routingKey }),
};
