/** The suppression list: addresses that are not written to again, whoever they belong to. */
import { z } from 'zod';
import type { ChannelFacts, ChannelName } from '../../domain/channel.ts';
import { nameOf } from '../../domain/delivery.ts';
import { isListed, SUPPRESSION_REASONS, type ListedAddress, type SuppressionReason } from '../../domain/suppression.ts';
import { publicId } from '../../lib/id.ts';
import type { Database } from '../../store/database.ts';
import { listSuppressions, suppress, unsuppress, type Suppression } from '../../store/suppressions.ts';
import type { AddressChecks } from '../event-schema.ts';
import { mailbox, phone } from '../event-schema.ts';
import { found } from '../found.ts';
import { once, sendAnswer, type OnceDeps } from '../idempotency.ts';
import type { App } from '../request.ts';
import { callerIdParams, page, pageQuery, readCursor, toPage, toWire, wireTime } from '../schema.ts';

export interface SuppressionDeps extends AddressChecks {
  readonly database: Pick<Database, 'asTenant'>;
  readonly once: OnceDeps;
  readonly channels: ReadonlyMap<ChannelName, ChannelFacts>;
  /** An address as the list keeps it. */
  readonly listed: (address: ListedAddress) => ListedAddress;
}

const WRITE = { auth: { kind: 'key', scope: 'users:write' } } as const;
const READ = { auth: { kind: 'key', scope: 'users:read' } } as const;
const Reason = z.enum(Object.keys(SUPPRESSION_REASONS) as [SuppressionReason, ...SuppressionReason[]]);
const MAX_DETAIL = 1_000;
const MAX_ADDRESS = 320;

const Item = z.object({
  id: z.string().describe('`channel:address`.'),
  channel: z.string(),
  address: z.string(),
  reason: Reason,
  source: z.string().describe('`api`, `report` (a bounce that came in), `provider` (refused while sending) or `unsubscribe`.'),
  detail: z.string().nullable(),
  delivery_id: z.string().nullable().describe('What it was learnt from.'),
  created_at: wireTime,
});

const Query = z.strictObject({
  ...pageQuery,
  channel: z.string().max(32).optional(),
  reason: Reason.optional(),
  address: z.string().max(MAX_ADDRESS).optional().describe('Together with `channel`, in any spelling; without it, as the list keeps it.'),
});

export function suppressionRoutes(app: App, deps: SuppressionDeps): void {
  const { database } = deps;
  app.get(
    '/v1/suppressions',
    { config: READ, schema: { summary: 'List suppressed addresses', querystring: Query, response: { 200: page(Item) } } },
    async ({ caller: { tenantId }, query }) => {
      const { channel = null, limit } = query;
      const [afterChannel, afterAddress] = query.after === undefined ? [] : readCursor(query.after, 2);
      const after = afterChannel === undefined || afterAddress === undefined ? null : ([afterChannel, afterAddress] as const);
      const address =
        query.address === undefined ? null : deps.listed({ tenantId, channel: channel ?? '', address: query.address }).address;
      const reason = query.reason === undefined ? null : SUPPRESSION_REASONS[query.reason];
      const rows = await database.asTenant(tenantId, (tx) =>
        listSuppressions(tx, { tenantId, channel, reason, address, after, limit: limit + 1 }),
      );
      return toPage(rows, limit, view, (last) => [last.channel, last.address]);
    },
  );
  addRoute(app, deps);
  app.delete(
    '/v1/suppressions/:id',
    {
      config: WRITE,
      schema: { summary: 'Take an address off the list', description: 'What was skipped meanwhile stays skipped.', params: callerIdParams },
    },
    async ({ caller: { tenantId }, params: { id } }, reply) => {
      const at = id.indexOf(':');
      const named = deps.listed({ tenantId, channel: id.slice(0, Math.max(at, 0)), address: id.slice(at + 1) });
      found((await database.asTenant(tenantId, (tx) => unsuppress(tx, named))) || undefined);
      return reply.code(204).send();
    },
  );
}

function addRoute(app: App, deps: SuppressionDeps): void {
  const schema = {
    summary: 'Suppress an address',
    description:
      'Nothing is sent to it from now on, critical or not, whether it is a user’s or comes inline. Again for the same address, the weightier reason stays: bounce, complaint, manual.',
    body: bodyOf(deps),
    response: { 200: Item, 201: Item },
  };
  app.post('/v1/suppressions', { config: WRITE, schema }, async (request, reply) => {
    const { tenantId } = request.caller;
    const { reason = 'manual', detail = null, ...given } = request.body;
    const answer = await once(deps.once, request, async (tx) => {
      const { suppression, added } = await suppress(tx, {
        ...deps.listed({ tenantId, ...given }),
        reason,
        source: 'api',
        detail,
        deliveryId: null,
      });
      return { status: added ? 201 : 200, body: view(suppression) };
    });
    return sendAnswer(reply, answer);
  });
}

/** One shape for each channel whose addresses are kept on the list. */
function bodyOf(deps: SuppressionDeps) {
  const more = { reason: Reason.optional().describe('Not given: `manual`.'), detail: z.string().max(MAX_DETAIL).optional() };
  const shapes = [...deps.channels.values()].filter(isListed).map(({ name, address }) => {
    const schema = address?.format === 'mailbox' ? mailbox(deps) : phone;
    return z.strictObject({ channel: z.literal(name), address: schema, ...more });
  });
  const [first, ...others] = shapes;
  if (!first) throw new Error('no channel has mailboxes or numbers');
  return z.discriminatedUnion('channel', [first, ...others]);
}

function view({ channel, address, reason, source, detail, deliveryId, createdAt }: Suppression): z.output<typeof Item> {
  return {
    id: `${channel}:${address}`,
    channel,
    address,
    reason: nameOf(SUPPRESSION_REASONS, reason),
    source,
    detail,
    delivery_id: deliveryId === null ? null : publicId('dlv', deliveryId),
    created_at: toWire(createdAt),
  };
}
