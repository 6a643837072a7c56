/** Prometheus metrics. One table says what there is: docs/reference/metrics.md is generated from it. No tenant or user ids in labels. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

interface Definition {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram, in seconds. */
  readonly buckets?: readonly number[];
}

const FAST = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;
const SLOW = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3_600, 21_600, 86_400] as const;

const MAX_CLIENTS = 100;
const OTHER = 'other';

export const METRICS = {
  carillon_events_accepted_total: { kind: 'counter', help: 'Events accepted and committed; repeats not counted.', labels: [] },
  carillon_events_duplicate_total: { kind: 'counter', help: 'Events answered from an idempotency key.', labels: [] },
  carillon_messages_total: {
    kind: 'counter',
    help: 'Events accepted, by the name of the API key; beyond 100 names `other`.',
    labels: ['client'],
  },
  carillon_decisions_total: {
    kind: 'counter',
    help: 'Decisions of the router, by channel and reason code.',
    labels: ['channel', 'reason'],
  },
  carillon_deliveries_total: {
    kind: 'counter',
    help: 'Attempts by their outcome: accepted, transient, permanent, unknown.',
    labels: ['channel', 'provider', 'outcome'],
  },
  carillon_delivery_latency_seconds: {
    kind: 'histogram',
    help: 'From when a delivery was due to when the far end took it.',
    labels: ['channel', 'severity'],
    buckets: SLOW,
  },
  carillon_schedule_lateness_seconds: {
    kind: 'histogram',
    help: 'From when a scheduled event was due to when it was routed.',
    labels: [],
    buckets: FAST,
  },
  carillon_queue_oldest_due_seconds: {
    kind: 'gauge',
    help: 'Age of the oldest delivery that is due and not being sent; 0 when there is none.',
    labels: [],
  },
  carillon_lease_lost_total: { kind: 'counter', help: 'Outcomes that came after their lease had ended and changed nothing.', labels: [] },
  carillon_destinations_disabled_total: {
    kind: 'counter',
    help: 'Destinations disabled by Carillon: `gone` after 410, `failing` after days of nothing but failure.',
    labels: ['reason'],
  },
  carillon_streams_open: { kind: 'gauge', help: 'Open inbox streams of this process.', labels: [] },
  carillon_streams_cut_total: { kind: 'counter', help: 'Streams that were ended because their reader did not keep up.', labels: [] },
  carillon_http_request_duration_seconds: {
    kind: 'histogram',
    help: 'HTTP requests, by route pattern.',
    labels: ['route', 'method', 'status'],
    buckets: FAST,
  },
} as const satisfies Record<string, Definition>;

export interface Metrics {
  readonly eventsAccepted: (count: number) => void;
  readonly eventsDuplicate: (count: number) => void;
  /** `client`: the name of the key they came with. */
  readonly messagesAccepted: (client: string, count: number) => void;
  readonly decided: (channel: string, reason: string, count?: number) => void;
  readonly attempted: (attempt: { channel: string; provider: string; outcome: string }) => void;
  readonly deliveredAfter: (channel: string, severity: string, seconds: number) => void;
  readonly scheduledLate: (seconds: number) => void;
  readonly oldestDue: (seconds: number) => void;
  readonly leaseLost: (count?: number) => void;
  readonly destinationDisabled: (reason: string) => void;
  readonly streamsOpen: (count: number) => void;
  readonly streamCut: () => void;
  readonly requested: (request: { route: string; method: string; status: number; seconds: number }) => void;
  /** The text of `/metrics`. */
  readonly text: () => Promise<string>;
  readonly contentType: string;
}

type Name<Kind extends Definition['kind']> = {
  [N in keyof typeof METRICS]: (typeof METRICS)[N]['kind'] extends Kind ? N : never;
}[keyof typeof METRICS];

/** A registry of its own: two instances in one process don't meet. */
export function makeMetrics(): Metrics {
  const registry = new Registry();
  return {
    ...makeCounts(registry),
    ...makeTimes(registry),
    ...makeLevels(registry),
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

function makeCounts(registry: Registry) {
  const counter = (name: Name<'counter'>) => new Counter({ ...options(name), registers: [registry] });
  const accepted = counter('carillon_events_accepted_total');
  const duplicate = counter('carillon_events_duplicate_total');
  const messages = bound(counter('carillon_messages_total'));
  const clientName = bounded(MAX_CLIENTS);
  const decisions = bound(counter('carillon_decisions_total'));
  const deliveries = bound(counter('carillon_deliveries_total'));
  const lost = counter('carillon_lease_lost_total');
  const disabled = bound(counter('carillon_destinations_disabled_total'));
  const cut = counter('carillon_streams_cut_total');
  return {
    eventsAccepted: (count: number) => accepted.inc(count),
    eventsDuplicate: (count: number) => duplicate.inc(count),
    messagesAccepted: (client: string, count: number) => messages(clientName(client)).inc(count),
    decided: (channel: string, reason: string, count = 1) => decisions(channel, reason).inc(count),
    attempted: ({ channel, provider, outcome }: { channel: string; provider: string; outcome: string }) =>
      deliveries(channel, provider, outcome).inc(),
    leaseLost: (count = 1) => lost.inc(count),
    destinationDisabled: (reason: string) => disabled(reason).inc(),
    streamCut: () => cut.inc(),
  };
}

/** Two clocks may differ by a little, and a histogram has no room for less than nothing. */
function makeTimes(registry: Registry) {
  const histogram = (name: Name<'histogram'>) =>
    new Histogram({ ...options(name), buckets: [...METRICS[name].buckets], registers: [registry] });
  const latency = bound(histogram('carillon_delivery_latency_seconds'));
  const lateness = histogram('carillon_schedule_lateness_seconds');
  const requests = bound(histogram('carillon_http_request_duration_seconds'));
  return {
    deliveredAfter: (channel: string, severity: string, seconds: number) => latency(channel, severity).observe(Math.max(0, seconds)),
    scheduledLate: (seconds: number) => lateness.observe(Math.max(0, seconds)),
    requested: ({ route, method, status, seconds }: { route: string; method: string; status: number; seconds: number }) =>
      requests(route, method, String(status)).observe(seconds),
  };
}

function makeLevels(registry: Registry) {
  const gauge = (name: Name<'gauge'>) => new Gauge({ ...options(name), registers: [registry] });
  const oldest = gauge('carillon_queue_oldest_due_seconds');
  const streams = gauge('carillon_streams_open');
  return {
    oldestDue: (seconds: number) => oldest.set(Math.max(0, seconds)),
    streamsOpen: (count: number) => streams.set(count),
  };
}

function options(name: keyof typeof METRICS) {
  const { help, labels } = METRICS[name];
  return { name, help, labelNames: [...labels] };
}

/** People choose these names: the first so many are told apart, so that a label can't grow without end. */
function bounded(max: number): (name: string) => string {
  const known = new Set<string>();
  return (name) => {
    if (known.has(name)) return name;
    if (known.size >= max) return OTHER;
    known.add(name);
    return name;
  };
}

/** Label sets are looked up once: hashing their names on every call costs more than the count itself. */
function bound<Child>(metric: { labels: (...values: string[]) => Child }): (...values: string[]) => Child {
  const children = new Map<string, Child>();
  return (...values) => {
    const name = values.join('\0');
    let child = children.get(name);
    if (child === undefined) children.set(name, (child = metric.labels(...values)));
    return child;
  };
}
