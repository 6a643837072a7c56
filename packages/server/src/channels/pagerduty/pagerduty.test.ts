import { expect, test } from 'vitest';
import { httpContract, talk } from '../../../test/conformance/http-provider.ts';
import { CONTEXT, telling } from '../../../test/harness/telling.ts';
import type { ExchangeDeps } from '../exchange.ts';
import { pagerDutyEvents } from './events.ts';
import { renderPagerDuty } from './render.ts';

const KEY = 'plantedkeyplantedkeyplantedkey32';
const subject = {
  name: 'pagerduty.events',
  provider: (deps: ExchangeDeps, base: string) => pagerDutyEvents(deps, { api_url: base }),
  address: () => ({ routingKey: KEY }),
  content: renderPagerDuty(telling(), CONTEXT),
};

httpContract({
  ...subject,
  body: (status) => (status === 202 ? '{"status":"success","message":"Event processed","dedup_key":"evt_1"}' : '{"status":"said so"}'),
  accepts: [202],
  refuses: [
    [200, 'transient', 'provider_error'],
    [400, 'permanent', 'content_rejected'],
    [403, 'transient', 'unauthorized'],
    [429, 'transient', 'rate_limited'],
    [500, 'transient', 'provider_error'],
  ],
  secrets: [KEY],
});

test('the event is that of the documentation, with the key that opens and closes it', async () => {
  const { request, result } = await talk(subject, {
    status: 202,
    body: '{"status":"success","message":"Event processed","dedup_key":"evt_1"}',
  });
  expect(request).toMatchObject({ method: 'POST', path: '/v2/enqueue', headers: { 'content-type': 'application/json' } });
  expect(JSON.parse(request!.body)).toEqual({
    routing_key: KEY,
    event_action: 'trigger',
    dedup_key: 'evt_1',
    client: 'Carillon',
    client_url: 'https://app.example.org/disks/7',
    links: [{ href: 'https://app.example.org/disks/7', text: 'Open in Carillon' }],
    payload: {
      summary: 'Disk almost full',
      source: 'Carillon',
      severity: 'error',
      timestamp: '2026-01-01T00:00:00.120Z',
      class: 'disk.full',
      custom_details: { body: '92 % used', tags: ['system'] },
    },
  });
  expect(result).toMatchObject({ kind: 'accepted', providerId: 'evt_1' });
});

test('a refused key is a refused address', async () => {
  const body =
    '{"status":"invalid event","message":"Event object is invalid","errors":["Length of \'routing_key\' is incorrect (should be 32 characters)"]}';
  expect((await talk(subject, { status: 400, body })).result).toMatchObject({ kind: 'permanent', reason: 'address_rejected' });
});

test.each([
  [{ metadata: { dedup_key: 'disk-7', event_action: 'resolve' } }, 'disk-7', 'resolve'],
  [{ data: { dedup_key: 'disk-7', event_action: 'acknowledge' } }, 'disk-7', 'acknowledge'],
  [{ metadata: { dedup_key: 'mine' }, data: { dedup_key: 'other' } }, 'mine', 'trigger'],
  [{ metadata: { dedup_key: 7, event_action: 'explode' } }, 'evt_1', 'trigger'],
  [{ metadata: { dedup_key: 'k'.repeat(300) } }, `${'k'.repeat(254)}…`, 'trigger'],
])('%j', (more, key, action) => {
  expect(renderPagerDuty(telling(more), CONTEXT)).toMatchObject({ dedup_key: key, event_action: action });
});

test.each([
  ['low', 'info'],
  ['medium', 'warning'],
  ['high', 'error'],
  ['urgent', 'critical'],
] as const)('%s is %s', (severity, want) => {
  expect(renderPagerDuty(telling({ severity, subject: 's'.repeat(2_000) }), CONTEXT).payload).toMatchObject({
    severity: want,
    summary: `${'s'.repeat(1_023)}…`,
  });
});
