import { expect, test } from 'vitest';
import { makeMetrics, METRICS } from './metrics.ts';

test('every metric of the table is exposed under its name, and nothing else', async () => {
  const metrics = makeMetrics();
  const text = await metrics.text();
  const exposed = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) => [name, kind]);
  expect(exposed.sort()).toEqual(
    Object.entries(METRICS)
      .map(([name, { kind }]) => [name, kind])
      .sort(),
  );
});

test('counts carry their labels', async () => {
  const metrics = makeMetrics();
  metrics.eventsAccepted(3);
  metrics.attempted({ channel: 'webhook', provider: 'webhook.http', outcome: 'accepted' });
  metrics.attempted({ channel: 'webhook', provider: 'webhook.http', outcome: 'accepted' });
  metrics.decided('email', 'opted_out', 2);
  metrics.deliveredAfter('webhook', 'high', 0.02);
  metrics.scheduledLate(-1); // clocks differ by a little; a histogram has no room for it
  metrics.requested({ route: '/v1/events', method: 'POST', status: 202, seconds: 0.001 });
  const text = await metrics.text();
  for (const line of [
    'carillon_events_accepted_total 3',
    'carillon_deliveries_total{channel="webhook",provider="webhook.http",outcome="accepted"} 2',
    'carillon_decisions_total{channel="email",reason="opted_out"} 2',
    'carillon_delivery_latency_seconds_sum{channel="webhook",severity="high"} 0.02',
    'carillon_schedule_lateness_seconds_bucket{le="0.001"} 1',
    'carillon_http_request_duration_seconds_count{route="/v1/events",method="POST",status="202"} 1',
  ])
    expect(text).toContain(line);
});

test('clients are told apart by name, up to a hundred of them', async () => {
  const metrics = makeMetrics();
  for (let at = 0; at < 150; at++) metrics.messagesAccepted(`client ${at}`, 2);
  metrics.messagesAccepted('client 7', 1);
  const text = await metrics.text();
  expect(text).toContain('carillon_messages_total{client="client 7"} 3');
  expect(text).toContain('carillon_messages_total{client="other"} 100');
  expect([...text.matchAll(/^carillon_messages_total\{/gm)]).toHaveLength(101);
});

test('no label could hold an id of a tenant or a user', () => {
  const labels = new Set(Object.values(METRICS).flatMap(({ labels: names }) => [...names]));
  expect([...labels].sort()).toEqual(['channel', 'client', 'method', 'outcome', 'provider', 'reason', 'route', 'severity', 'status']);
});

test('A10 metrics carry the channel, and no function has one by default', async () => {
  for (const name of ['carillon_decisions_total', 'carillon_deliveries_total', 'carillon_delivery_latency_seconds'] as const)
    expect(METRICS[name].labels).toContain('channel');
  const metrics = makeMetrics();
  expect(() => {
    // @ts-expect-error -- without a channel
    metrics.attempted();
    // @ts-expect-error -- without a channel
    metrics.deliveredAfter('high', 1);
    // @ts-expect-error -- without a channel
    metrics.decided();
  }).toThrow(TypeError);
  expect(await metrics.text()).not.toContain('in_app');
});
