/** API keys: made, read, rotated, revoked. A key is shown once. */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { CarillonError } from '../../domain/error.ts';
import type { Tx } from '../../domain/event.ts';
import { isTestTenant, testTenantOf } from '../../domain/tenant.ts';
import { parseId, publicId } from '../../lib/id.ts';
import { findApiKey, listKeys, replaceKey, revokeKey, type ApiKey } from '../../store/api-keys.ts';
import type { Database } from '../../store/database.ts';
import { findTenant } from '../../store/tenants.ts';
import { KeyItem, MadeKey, makeClient, makeKey, RateLimitBody, refuseBeyond, viewKey, type KeyMaker } from '../api-key-schema.ts';
import { SCOPES, type Caller } from '../auth.ts';
import { found } from '../found.ts';
import { once, sendAnswer, type Answer, type OnceDeps } from '../idempotency.ts';
import { listQuery, toDirectedPage, typeIdDirectionOf } from '../paging.ts';
import type { App } from '../request.ts';
import { callerId, idParams, page, timestamp } from '../schema.ts';

export interface ApiKeyDeps extends KeyMaker {
  readonly database: Pick<Database, 'asTenant' | 'transaction'>;
  readonly idempotencyTtlMs: number;
  /** Called after a key was revoked or rotated: `Auth.forget`. */
  readonly forget: () => void;
}

const DAY_S = 86_400;
const MAX_OVERLAP_S = 30 * DAY_S;

const tenantId = callerId
  .optional()
  .describe('Whose keys: the own tenant (also when absent), its sibling for tests, or with the scope `operator` any.');
const Whose = z.strictObject({ tenant_id: tenantId });
const NewKey = z.strictObject({
  name: z.string().trim().min(1).max(128),
  scopes: z.array(z.enum(SCOPES)).min(1).max(SCOPES.length),
  expires_at: timestamp.optional().describe('Not set: it does not expire.'),
  rate_limit: RateLimitBody.optional().describe("Instead of the installation's limit for a key. The tenant's limit holds as well."),
  access_client_id: z
    .string()
    .regex(/^[\x21-\x7e]{1,256}$/, 'The client id of a service token.')
    .optional()
    .describe('Instead of a key: this service token of Cloudflare Access is let in. Needs the scope `operator`.'),
  tenant_id: tenantId,
});
const Rotation = z
  .strictObject({ overlap_seconds: z.int().min(0).max(MAX_OVERLAP_S).default(DAY_S).describe('How long the old key still works.') })
  .default({ overlap_seconds: DAY_S });

const auth = { kind: 'key', scope: 'keys:write' } as const;

export function apiKeyRoutes(app: App, deps: ApiKeyDeps): void {
  readRoutes(app, deps);
  app.post(
    '/v1/api-keys',
    { config: { auth }, schema: { summary: 'Make an API key', body: NewKey, response: { 201: MadeKey } } },
    async (request, reply) => sendAnswer(reply, await make(deps, request, request.body)),
  );
  app.post(
    '/v1/api-keys/:id/rotate',
    {
      config: { auth },
      schema: {
        summary: 'Make a key that takes over',
        description: 'With the same name, scopes, limit and lifetime. The old one works until the overlap ends.',
        params: idParams('key'),
        querystring: Whose,
        body: Rotation,
        response: { 201: MadeKey },
      },
    },
    async (request, reply) => {
      const { overlap_seconds: overlapS } = request.body;
      const answer = await rotate(deps, request, { tenantId: ownerOf(request), id: request.params.id, overlapS });
      deps.forget();
      return sendAnswer(reply, answer);
    },
  );
  app.delete(
    '/v1/api-keys/:id',
    {
      config: { auth },
      schema: {
        summary: 'Revoke an API key',
        description: 'For good, within five seconds in every process.',
        params: idParams('key'),
        querystring: Whose,
      },
    },
    async (request, reply) => {
      const key = { tenantId: ownerOf(request), id: request.params.id };
      if (!(await deps.database.asTenant(key.tenantId, (tx) => revokeKey(tx, key)))) found(undefined);
      deps.forget();
      return reply.code(204).send();
    },
  );
}

function readRoutes(app: App, { database }: ApiKeyDeps): void {
  const list = z.strictObject({ ...listQuery, tenant_id: tenantId });
  app.get(
    '/v1/api-keys',
    { config: { auth }, schema: { summary: 'List API keys, newest first', querystring: list, response: { 200: page(KeyItem) } } },
    async (request) => {
      const { limit } = request.query;
      const owner = ownerOf(request);
      const { cursor, backward } = typeIdDirectionOf('key', request.query);
      const rows = await database.asTenant(owner, (tx) => listKeys(tx, { tenantId: owner, cursor, forward: backward, limit: limit + 1 }));
      return toDirectedPage(
        rows,
        { limit, backward },
        (key) => viewKey(owner, key),
        ({ id }) => publicId('key', id),
      );
    },
  );
  app.get(
    '/v1/api-keys/:id',
    {
      config: { auth },
      schema: { summary: 'Read an API key', params: idParams('key'), querystring: Whose, response: { 200: KeyItem } },
    },
    async (request) => {
      const key = { tenantId: ownerOf(request), id: request.params.id };
      return viewKey(key.tenantId, found(await database.asTenant(key.tenantId, (tx) => findApiKey(tx, key))));
    },
  );
}

/** Whose keys are meant. Throws `scope_missing` alike for another tenant and for none. */
function ownerOf({ caller, query }: { caller: Caller; query: { tenant_id?: string | undefined } }): string {
  return chosen(caller, query.tenant_id);
}

function chosen({ tenantId: own, scopes }: Caller, wanted: string | undefined): string {
  if (wanted === undefined || wanted === own || wanted === testTenantOf(own) || scopes.includes('operator')) return wanted ?? own;
  throw new CarillonError('scope_missing', 'Keys of another tenant need the scope `operator`.');
}

/** Another tenant's row is written as the engine: the caller's own transaction would not be let to it. Null: all tenants are looked at. */
function onceFor({ database, idempotencyTtlMs }: ApiKeyDeps, { tenantId: own }: Caller, owner: string | null): OnceDeps {
  const inTransaction: OnceDeps['inTransaction'] = owner === own ? database.asTenant : (_, work) => database.transaction(work);
  return { inTransaction, ttlMs: idempotencyTtlMs };
}

function make(
  deps: ApiKeyDeps,
  request: FastifyRequest,
  { name, scopes, expires_at, rate_limit, access_client_id: accessClientId, tenant_id: wanted }: z.output<typeof NewKey>,
): Promise<Answer<z.output<typeof MadeKey>>> {
  const { caller } = request;
  const owner = chosen(caller, wanted);
  const expiresAt = expires_at ?? null;
  refuseBeyond(caller, scopes);
  if (isTestTenant(owner) && scopes.includes('operator')) refuseField('/scopes', 'not_for_tests', 'A test key has no `operator`.');
  if (expiresAt !== null && expiresAt <= deps.now()) refuseField('/expires_at', 'in_the_past', 'A time to come.');
  if (accessClientId !== undefined) refuseBeyond(caller, ['operator']); // clients are the installation's, not a tenant's
  const fields = { tenantId: owner, name, scopes, expiresAt, rateLimit: rate_limit ?? null };
  return once(onceFor(deps, caller, accessClientId === undefined ? owner : null), request, async (tx) => {
    if (owner !== caller.tenantId && !(await findTenant(tx, owner)))
      refuseField('/tenant_id', 'unknown_tenant', 'There is no such tenant.');
    if (accessClientId !== undefined) return { status: 201, body: await makeClient(deps, tx, { ...fields, accessClientId }) };
    const { key, item } = await makeKey(deps, tx, fields);
    return { status: 201, body: { ...item, key }, replayBody: item };
  });
}

function refuseField(pointer: string, code: string, detail: string): never {
  throw new CarillonError('invalid', 'Some fields are not valid.', { errors: [{ pointer, code, detail }] });
}

interface Wanted {
  readonly tenantId: string;
  readonly id: string;
  readonly overlapS: number;
}

function rotate(deps: ApiKeyDeps, request: FastifyRequest, wanted: Wanted): Promise<Answer<z.output<typeof MadeKey>>> {
  const { tenantId: owner, id, overlapS } = wanted;
  return once(onceFor(deps, request.caller, owner), request, async (tx) => {
    const old = found(await findApiKey(tx, { tenantId: owner, id }));
    refuseBeyond(request.caller, old.scopes);
    if (old.accessClientId !== null) throw new CarillonError('conflict', 'A client of Cloudflare Access has no key to rotate.');
    const { key, item } = await makeKey(deps, tx, { ...old, tenantId: owner, expiresAt: lifetimeAgain(old, deps.now()) });
    await takeOver(tx, { tenantId: owner, id, overlapS, by: found(parseId('key', item.id)) });
    return { status: 201, body: { ...item, key }, replayBody: item };
  });
}

async function takeOver(tx: Tx, takeover: Parameters<typeof replaceKey>[1]): Promise<void> {
  if (!(await replaceKey(tx, takeover)))
    throw new CarillonError('conflict', 'Only a key that is valid, and was not rotated before, can be rotated.');
}

/** As long from now on as the old one was given. */
function lifetimeAgain({ createdAt, expiresAt }: ApiKey, now: Date): Date | null {
  return expiresAt && new Date(now.getTime() + expiresAt.getTime() - createdAt.getTime());
}
