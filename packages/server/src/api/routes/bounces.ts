/** What came back: mail servers' reports, or what somebody else made of them. */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ChannelFacts, ChannelName } from '../../domain/channel.ts';
import type { BounceType } from '../../domain/bounce.ts';
import { CarillonError } from '../../domain/error.ts';
import type { Tx } from '../../domain/event.ts';
import { isListed, type ListedAddress } from '../../domain/suppression.ts';
import { parseId, publicId } from '../../lib/id.ts';
import { findReported, noteReport, type ReportedDelivery } from '../../store/bounces.ts';
import type { Database } from '../../store/database.ts';
import { suppress } from '../../store/suppressions.ts';
import { readDeliveryStatus, readReportMail } from '../bounce-report.ts';
import { found } from '../found.ts';
import { once, sendAnswer } from '../idempotency.ts';
import type { App } from '../request.ts';

export interface BounceDeps {
  readonly database: Pick<Database, 'asTenant' | 'transaction'>;
  readonly idempotencyTtlMs: number;
  readonly channels: ReadonlyMap<ChannelName, ChannelFacts>;
  readonly listed: (address: ListedAddress) => ListedAddress;
}

const MAX_REPORT_BYTES = 1024 * 1024;
const MAX_DETAIL = 1_000;
const REASONS = { hard: 'bounced', soft: 'bounced_soft', complaint: 'complained' } as const satisfies Record<BounceType, string>;

const Body = z
  .strictObject({
    type: z.enum(['hard', 'soft', 'complaint']).describe('soft is noted only; the others put the address on the suppression list.'),
    delivery_id: z.string().max(128).optional(),
    message_id: z.string().max(998).optional().describe("The mail's Message-ID: it holds the delivery's id."),
    detail: z.string().max(MAX_DETAIL).optional(),
  })
  .refine(({ delivery_id: id, message_id: messageId }) => id !== undefined || messageId !== undefined, {
    error: 'Either delivery_id or message_id: nothing else says which mail came back.',
    params: { code: 'required' },
  });
const Answer = z.object({
  delivery_id: z.string(),
  type: z.enum(['hard', 'soft', 'complaint']),
  outcome: z.enum(['suppressed', 'noted']),
});

const config = { auth: { kind: 'key', scope: 'bounces:write' } } as const;
const schema = {
  description:
    'As JSON, or as it came: a report as `message/rfc822` (RFC 3464 delivery status, RFC 5965 feedback), or a `message/delivery-status` alone. The delivery is found by the Message-ID or the envelope id of our mail. With the scope `operator` it may be any tenant’s: one mailbox for all bounces is enough.',
  body: Body,
  response: { 200: Answer },
};

export function bounceRoutes(app: App, deps: BounceDeps): void {
  const { database, idempotencyTtlMs: ttlMs } = deps;
  // A scope of its own: only here is a mail a body.
  void app.register((scope, _options, done) => {
    const reports = scope as App;
    acceptReports(reports);
    reports.post('/v1/bounces', { config, schema }, async (request, reply) => {
      const { tenantId, scopes } = request.caller;
      const forAll = scopes.includes('operator');
      const inTransaction = <T>(id: string, work: (tx: Tx) => Promise<T>) =>
        forAll ? database.transaction(work) : database.asTenant(id, work);
      const { type, detail = null } = request.body;
      const id = found(deliveryNamed(request.body));
      const answer = await once<z.output<typeof Answer>>({ inTransaction, ttlMs }, request, async (tx) => {
        const delivery = found(await findReported(tx, { id, tenantId: forAll ? null : tenantId }));
        refuseOthers(deps, delivery);
        const outcome = await learn(tx, delivery, { type, detail, listed: deps.listed });
        return { status: 200, body: { delivery_id: publicId('dlv', id), type, outcome } };
      });
      return sendAnswer(reply, answer);
    });
    done();
  });
}

function acceptReports(app: App): void {
  const limits = { parseAs: 'buffer', bodyLimit: MAX_REPORT_BYTES } as const;
  app.addContentTypeParser<Buffer>('message/rfc822', limits, async (request: FastifyRequest, bytes: Buffer) => {
    request.facts.raw = bytes;
    return readReportMail(bytes);
  });
  app.addContentTypeParser<Buffer>('message/delivery-status', limits, (request, bytes, done) => {
    request.facts.raw = bytes;
    try {
      done(null, readDeliveryStatus(bytes.toString()));
    } catch (error) {
      done(error as Error);
    }
  });
}

/** UUID. Undefined for an id that is none of ours. */
function deliveryNamed({
  delivery_id: id,
  message_id: messageId,
}: {
  delivery_id?: string | undefined;
  message_id?: string | undefined;
}): string | undefined {
  const named = id ?? /^<?(dlv_[0-9a-z]{26})@/.exec(messageId ?? '')?.[1];
  return named === undefined ? undefined : parseId('dlv', named);
}

function refuseOthers({ channels }: BounceDeps, { channel }: ReportedDelivery): void {
  if (isListed(channels.get(channel) ?? { address: null })) return;
  const errors = [{ pointer: '/delivery_id', code: 'wrong_channel', detail: `This delivery went out by ${channel}.` }];
  throw new CarillonError('invalid', 'Only mails and messages to numbers come back.', { errors });
}

interface Learnt {
  readonly type: BounceType;
  readonly detail: string | null;
  readonly listed: BounceDeps['listed'];
}

/** The address that the delivery had, not the one that the report names: that may be where the mail was forwarded to. */
async function learn(
  tx: Tx,
  { id, tenantId, channel, address }: ReportedDelivery,
  { type, detail, listed }: Learnt,
): Promise<'suppressed' | 'noted'> {
  await noteReport(tx, { id, tenantId, reason: REASONS[type], detail });
  if (type === 'soft' || address === null) return 'noted';
  const reason = type === 'hard' ? 'bounce' : 'complaint';
  await suppress(tx, { ...listed({ tenantId, channel, address }), reason, source: 'report', detail, deliveryId: id });
  return 'suppressed';
}
