/** "Send test": one attempt at each address of a destination, on the way that its deliveries take, and nothing written. */
import type { SendResult } from '../domain/channel.ts';
import type { DeliveryJob } from '../domain/delivery.ts';
import { laneOfDestination, mailFailure, writtenAddressesOf, type Destination } from '../domain/destination.ts';
import type { ReasonCode } from '../domain/reason.ts';
import { describeError } from '../lib/describe-error.ts';
import { newId } from '../lib/id.ts';
import { prepare, type PrepareDeps } from './prepare.ts';

export interface SendTestDeps extends PrepareDeps {
  readonly isAvailable: (channel: string) => boolean;
  readonly now: () => Date;
  readonly monotonicMs: () => number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

export interface TestResult {
  readonly outcome: 'delivered' | 'failed';
  readonly status: number | null;
  /** The first 4 KiB. */
  readonly response: string | null;
  readonly durationMs: number;
  readonly reason: ReasonCode;
  readonly message: string;
}

const TYPE = 'destination.test';
const SUBJECT = 'Test notification';

export async function sendTest(deps: SendTestDeps, destination: Destination): Promise<TestResult> {
  const startedMs = deps.monotonicMs();
  const took = () => Math.round(deps.monotonicMs() - startedMs);
  if (!deps.isAvailable(destination.channel))
    return {
      outcome: 'failed',
      ...shown(undefined),
      durationMs: took(),
      reason: 'channel_disabled',
      message: failed('the channel is not set up'),
    };

  const sent = await Promise.all(
    writtenAddressesOf(destination).map(async (address) => ({ address, result: await sendOne(deps, destination, address) })),
  );
  const failures = sent.flatMap(({ address, result }) => (result.kind === 'accepted' ? [] : [{ address, result }]));
  const [first] = failures;
  if (!first)
    return {
      outcome: 'delivered',
      ...shown(sent[0]?.result),
      durationMs: took(),
      reason: 'sent',
      message: 'Test notification sent successfully',
    };
  const why = destination.list ? mailFailure(failures.map(({ address }) => address)) : first.result.detail;
  return { outcome: 'failed', ...shown(first.result), durationMs: took(), reason: first.result.reason, message: failed(why) };
}

function shown(result: SendResult | undefined): Pick<TestResult, 'status' | 'response'> {
  return { status: result?.status ?? null, response: result?.response ?? null };
}

function failed(why: string): string {
  return `Delivery failed: ${why}`;
}

async function sendOne(deps: SendTestDeps, destination: Destination, address: string): Promise<SendResult> {
  try {
    const { provider, message } = await prepare(deps, jobFor(destination, address, deps));
    return await provider.send(message, new AbortController().signal);
  } catch (error) {
    deps.log('destination.test-failed', { destinationId: destination.id, error }); // a bug of ours, not theirs
    return { kind: 'transient', reason: 'internal', detail: describeError(error) };
  }
}

/** As routing would have made it. Its ids stand for nothing. */
function jobFor(destination: Destination, address: string, { now, context }: SendTestDeps): DeliveryJob {
  const at = now();
  return {
    id: newId(at),
    tenantId: destination.tenantId,
    eventId: newId(at),
    notificationId: null,
    userId: null,
    destinationId: destination.id,
    destination,
    channel: destination.channel,
    address,
    lane: laneOfDestination(destination),
    token: '',
    attempt: 1,
    last: null,
    maxAttempts: 1,
    critical: false,
    createdAt: at,
    expiresAt: null,
    event: { type: TYPE, category: null, acceptedAt: at, data: {} },
    content: {
      subject: SUBJECT,
      body: `This is a test from ${context.productName}. Whoever reads it is reached by this destination.`,
      actionUrl: null,
      severity: 'medium',
      tags: [],
      metadata: {},
    },
    recipient: null,
    cancelled: false,
  };
}
