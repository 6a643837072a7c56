/** Destinations: an account's own addresses. An API key with the scope may edit them, and so may the account's owners and admins with their own tokens. */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ChannelFacts, ChannelName } from '../../domain/channel.ts';
import { ANY_EVENT, type Destination } from '../../domain/destination.ts';
import { CarillonError } from '../../domain/error.ts';
import { INLINE_TYPE, type Tx } from '../../domain/event.ts';
import type { ReasonCode } from '../../domain/reason.ts';
import type { Vault } from '../../lib/crypto.ts';
import { parseDuration } from '../../lib/duration.ts';
import { newId } from '../../lib/id.ts';
import type { Database } from '../../store/database.ts';
import { endWaiting, recoverDeliveries } from '../../store/destination-deliveries.ts';
import {
  createDestination,
  deleteDestination,
  getDestination,
  listDestinations,
  lockDestination,
  rotateSecret,
  updateDestination,
  type DestinationKey,
} from '../../store/destinations.ts';
import { unknownTypes } from '../../store/event-types.ts';
import { pointerOf } from '../body.ts';
import { addCors, addPreflight } from '../cors.ts';
import {
  destinationSchemas,
  DestinationAnswer,
  merged,
  RecoverBody,
  RotateBody,
  TestAnswer,
  toConfig,
  toSettings,
  viewDestination,
} from '../destination-schema.ts';
import type { AddressChecks } from '../event-schema.ts';
import { found } from '../found.ts';
import { once, sendAnswer, type OnceDeps } from '../idempotency.ts';
import { listQuery, toDirectedPage, uuidDirectionOf } from '../paging.ts';
import type { App } from '../request.ts';
import { idParams, page } from '../schema.ts';

export interface DestinationDeps extends AddressChecks {
  readonly database: Pick<Database, 'asTenant'>;
  readonly once: OnceDeps;
  readonly vault: Vault;
  readonly channels: ReadonlyMap<ChannelName, ChannelFacts>;
  readonly corsOrigins: readonly string[];
  readonly random: (bytes: number) => Buffer;
  readonly now: () => Date;
  /** Those of these event types that the tenant refuses, as its catalog does not have them. */
  readonly refusedTypes: (tenantId: string, types: readonly string[]) => Promise<readonly string[]>;
  /** After the commit: what is remembered of this tenant's destinations no longer holds. */
  readonly changed: (tenantId: string) => void;
  /** After the commit: something is due now. */
  readonly wakeWorker: () => void;
  readonly sendTest: (destination: Destination) => Promise<{
    readonly outcome: 'delivered' | 'failed';
    readonly status: number | null;
    readonly response: string | null;
    readonly durationMs: number;
    readonly reason: ReasonCode;
    readonly message: string;
  }>;
}

const WRITE = { auth: { kind: 'account', scope: 'destinations:write' } } as const;
const READ = { auth: { kind: 'account', scope: 'destinations:read' } } as const;
const SECRET_BYTES = 32;
const Secret = z.object({ secret: z.string() });
const params = idParams('dst');

export function destinationRoutes(app: App, deps: DestinationDeps): void {
  const origins = new Set(deps.corsOrigins);
  // A scope of its own, so that other routes don't answer pages of other origins.
  void app.register((plugin, _options, done) => {
    const scope = plugin as App;
    addCors(scope, origins);
    addPreflight(scope, origins, '/v1/destinations', ['GET', 'POST']);
    addPreflight(scope, origins, '/v1/destinations/:id', ['GET', 'PATCH', 'DELETE']);
    addPreflight(scope, origins, '/v1/destinations/:id/:verb', ['GET', 'POST']);
    createRoute(scope, deps);
    readRoutes(scope, deps);
    changeRoutes(scope, deps);
    secretRoutes(scope, deps);
    verbRoutes(scope, deps);
    done();
  });
}

/** Shown with what its channel says of itself. */
const view =
  ({ channels }: DestinationDeps) =>
  (destination: Parameters<typeof viewDestination>[0]) =>
    viewDestination(destination, channels.get(destination.channel));

const keyOf = ({ tenantId, params: { id } }: FastifyRequest & { params: { id: string } }): DestinationKey => ({ tenantId, id });

function createRoute(app: App, deps: DestinationDeps): void {
  const { created } = destinationSchemas([...deps.channels.keys()]);
  app.post(
    '/v1/destinations',
    { config: WRITE, schema: { body: created, response: { 201: DestinationAnswer } } },
    async (request, reply) => {
      const { tenantId, body } = request;
      const config = toConfig(deps.channels.get(body.channel), body.config, deps);
      const fresh = { tenantId, id: newId(deps.now()), channel: body.channel, secret: deps.random(SECRET_BYTES) };
      const answer = await once(deps.once, request, async (tx) => {
        await checkSwitches(deps, tx, tenantId, Object.keys(body.events));
        const made = view(deps)(await createDestination(tx, deps.vault, { ...fresh, ...toSettings(body), ...config }));
        return { status: 201, body: made, location: `/v1/destinations/${made.id}` };
      });
      deps.changed(tenantId);
      return sendAnswer(reply, answer);
    },
  );
}

/** Throws `invalid` for switches of events that can never come: the tenant refuses them, or has event types and this is none of them. */
async function checkSwitches({ refusedTypes }: DestinationDeps, tx: Tx, tenantId: string, events: readonly string[]): Promise<void> {
  const types = events.filter((type) => type !== ANY_EVENT && type !== INLINE_TYPE);
  if (types.length === 0) return;
  const unknown = new Set([...(await refusedTypes(tenantId, types)), ...(await unknownTypes(tx, tenantId, types))]);
  if (unknown.size === 0) return;
  throw new CarillonError('invalid', 'Some events are not in the catalog.', {
    errors: types
      .filter((type) => unknown.has(type))
      .map((type) => ({ pointer: pointerOf(['events', type]), code: 'unknown_type', detail: 'The catalog has no such type.' })),
  });
}

function readRoutes(app: App, deps: DestinationDeps): void {
  const { database, vault } = deps;
  app.get(
    '/v1/destinations',
    { config: READ, schema: { querystring: z.strictObject(listQuery), response: { 200: page(DestinationAnswer) } } },
    async ({ tenantId, query: { limit, ...cursors } }) => {
      const direction = uuidDirectionOf(cursors);
      const rows = await database.asTenant(tenantId, (tx) => listDestinations(tx, vault, { tenantId, ...direction, limit: limit + 1 }));
      return toDirectedPage(rows, { limit, backward: direction.backward }, view(deps), (row) => row.id);
    },
  );
  app.get('/v1/destinations/:id', { config: READ, schema: { params, response: { 200: DestinationAnswer } } }, async (request) =>
    view(deps)(found(await database.asTenant(request.tenantId, (tx) => getDestination(tx, vault, keyOf(request))))),
  );
}

function changeRoutes(app: App, deps: DestinationDeps): void {
  const { database, vault } = deps;
  const { changed } = destinationSchemas([...deps.channels.keys()]);
  app.patch(
    '/v1/destinations/:id',
    { config: WRITE, schema: { params, body: changed, response: { 200: DestinationAnswer } } },
    async (request) => {
      const { body, tenantId } = request;
      const answer = await database.asTenant(tenantId, async (tx) => {
        const key = keyOf(request);
        const now = found(await lockDestination(tx, vault, key));
        const added = Object.keys(body.events ?? {}).filter((type) => !Object.hasOwn(now.events, type)); // a type may have been retired since
        await checkSwitches(deps, tx, tenantId, added);
        const config = body.config === undefined ? now : toConfig(deps.channels.get(now.channel), body.config, deps);
        const { addresses, list, headers } = config;
        const wanted = { ...key, ...merged(now, body), addresses, list, headers };
        const stored = found(await updateDestination(tx, vault, wanted, { enable: body.active === true }));
        if (!stored.active) await endWaiting(tx, key);
        return view(deps)(stored);
      });
      announce(deps, tenantId);
      return answer;
    },
  );
  app.delete('/v1/destinations/:id', { config: WRITE, schema: { params } }, async (request, reply) => {
    await database.asTenant(request.tenantId, async (tx) => {
      if (!(await deleteDestination(tx, keyOf(request)))) found(undefined);
      await endWaiting(tx, keyOf(request));
    });
    announce(deps, request.tenantId);
    return reply.code(204).send();
  });
}

function announce({ changed, wakeWorker }: DestinationDeps, tenantId: string): void {
  changed(tenantId);
  wakeWorker();
}

function secretRoutes(app: App, deps: DestinationDeps): void {
  const { database, vault } = deps;
  app.get('/v1/destinations/:id/secret', { config: WRITE, schema: { params, response: { 200: Secret } } }, async (request) => {
    const { secrets } = found(await database.asTenant(request.tenantId, (tx) => getDestination(tx, vault, keyOf(request))));
    return { secret: written(secrets[0] ?? Buffer.alloc(0)) };
  });
  app.post(
    '/v1/destinations/:id/rotate-secret',
    {
      config: WRITE,
      schema: { params, body: RotateBody.prefault({}), response: { 200: DestinationAnswer.extend({ secret: z.string().optional() }) } },
    },
    async (request, reply) => {
      const overlapMs = parseDuration(request.body.overlap) ?? 0;
      const secret = deps.random(SECRET_BYTES);
      const answer = await once(deps.once, request, async (tx) => {
        const rotated = view(deps)(found(await rotateSecret(tx, vault, { ...keyOf(request), secret, overlapMs })));
        return { status: 200, body: { ...rotated, secret: written(secret) }, replayBody: rotated };
      });
      deps.changed(request.tenantId);
      return sendAnswer(reply, answer);
    },
  );
}

/** As Standard Webhooks writes one. */
function written(secret: Uint8Array): string {
  return `whsec_${Buffer.from(secret).toString('base64')}`;
}

function verbRoutes(app: App, deps: DestinationDeps): void {
  const { database, vault } = deps;
  app.post(
    '/v1/destinations/:id/test',
    { config: WRITE, schema: { params, writesNothing: true, response: { 200: TestAnswer } } },
    async (request) => {
      const destination = found(await database.asTenant(request.tenantId, (tx) => getDestination(tx, vault, keyOf(request))));
      const { durationMs, ...answer } = await deps.sendTest(destination);
      return { ...answer, duration_ms: durationMs };
    },
  );
  const Recovered = z.object({ released: z.int(), retried: z.int() });
  app.post(
    '/v1/destinations/:id/recover',
    { config: WRITE, schema: { params, body: RecoverBody.prefault({}), response: { 200: Recovered } } },
    async (request, reply) => {
      const since = request.body.since ?? null;
      const answer = await once(deps.once, request, async (tx) => ({ status: 200, body: await recover(tx, vault, keyOf(request), since) }));
      announce(deps, request.tenantId);
      return sendAnswer(reply, answer);
    },
  );
}

/** Enabled first: what is released must find it so. Switched off by a person it stays off, and what is released ends. */
async function recover(tx: Tx, vault: Vault, key: DestinationKey, since: Date | null) {
  const now = found(await lockDestination(tx, vault, key));
  await updateDestination(tx, vault, now, { enable: true });
  return recoverDeliveries(tx, { ...key, since, attempts: now.maxRetries + 1 });
}
