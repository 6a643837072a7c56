/** A notification as an event of PagerDuty's Events API v2. Pure. */
import type { RenderContext, Telling } from '../../domain/channel.ts';
import type { Severity } from '../../domain/event.ts';
import { cutText } from '../../lib/cut.ts';
import { linkOf } from '../../lib/link.ts';

const MAX_SUMMARY = 1_024;
const MAX_KEY = 255;

const ACTIONS = ['trigger', 'acknowledge', 'resolve'] as const;
const SEVERITIES: Readonly<Record<Severity, string>> = { low: 'info', medium: 'warning', high: 'error', urgent: 'critical' };

/** All but the routing key, which is the address. */
export interface PagerDutyEvent {
  readonly event_action: (typeof ACTIONS)[number];
  readonly dedup_key: string;
  readonly client: string;
  readonly client_url?: string;
  readonly links?: readonly { readonly href: string; readonly text: string }[];
  readonly payload: {
    readonly summary: string;
    readonly source: string;
    readonly severity: string;
    readonly timestamp: string;
    readonly class: string;
    readonly custom_details: Readonly<Record<string, unknown>>;
  };
}

/**
 * What opens an alert and what closes it share a key: `dedup_key` of the metadata, else of the data, else the event's id.
 * `event_action` there says which of the two it is.
 */
export function renderPagerDuty(telling: Telling, { productName }: RenderContext): PagerDutyEvent {
  const { eventId, type, subject, body, severity, tags, actionUrl, acceptedAt } = telling;
  const url = linkOf(actionUrl);
  const action = said(telling, 'event_action');
  return {
    event_action: ACTIONS.find((one) => one === action) ?? 'trigger',
    dedup_key: cutText(said(telling, 'dedup_key') ?? eventId, MAX_KEY),
    client: productName,
    ...(url === undefined ? {} : { client_url: url, links: [{ href: url, text: `Open in ${productName}` }] }),
    payload: {
      summary: cutText(subject === '' ? type : subject, MAX_SUMMARY),
      source: productName,
      severity: SEVERITIES[severity],
      timestamp: acceptedAt.toISOString(),
      class: type,
      custom_details: { body, tags },
    },
  };
}

function said({ metadata, data }: Telling, name: string): string | undefined {
  return [metadata[name], data[name]].find((value) => typeof value === 'string' && value !== '') as string | undefined;
}
