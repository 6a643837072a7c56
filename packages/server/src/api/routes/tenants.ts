/** Tenants, for operators: an account with its sibling for tests, its secrets, and a first key. */
import { z } from 'zod';
import { CarillonError } from '../../domain/error.ts';
import type { Tx } from '../../domain/event.ts';
import { isTestTenant, testTenantOf } from '../../domain/tenant.ts';
import { isBaseUrl } from '../../lib/link.ts';
import { MAX_PER_WINDOW, MAX_WINDOW_S, THROTTLE_PER } from '../../domain/throttle.ts';
import type { Database } from '../../store/database.ts';
import { createTenant, findTenant, listTenants, updateTenant, type SealedSecret, type Tenant } from '../../store/tenants.ts';
import { MadeKey, makeKey, RateLimitBody, type KeyMaker } from '../api-key-schema.ts';
import { SCOPES } from '../auth.ts';
import { found } from '../found.ts';
import { once, sendAnswer } from '../idempotency.ts';
import { directionOf, listQuery, toDirectedPage } from '../paging.ts';
import type { App } from '../request.ts';
import { callerId, callerIdParams, page, toWire, wireTime } from '../schema.ts';
import { locale } from '../user-schema.ts';

export interface TenantDeps extends KeyMaker {
  readonly database: Pick<Database, 'transaction'>;
  readonly idempotencyTtlMs: number;
  /** Called after settings have changed: `Auth.forget`. */
  readonly forget: () => void;
  /** New secrets for a tenant and its sibling, sealed. */
  readonly newSecrets: (tenantId: string) => SealedSecret[];
}

/** Together with the sibling's suffix an id is still an id. */
const MAX_ID_BYTES = 251;
/** What the first key of a tenant may do: all but what concerns other tenants. */
const TENANT_SCOPES = SCOPES.filter((scope) => scope !== 'operator');

const newId = callerId
  .refine((id) => Buffer.byteLength(id) <= MAX_ID_BYTES, { error: `At most ${MAX_ID_BYTES} bytes.`, params: { code: 'invalid_id' } })
  .refine((id) => !isTestTenant(id), {
    error: '`:test` ends the name of a sibling, which is made with its tenant.',
    params: { code: 'reserved' },
  });
const MAX_BASE_URL = 500;
const MAX_DEFAULTS = 20;
const name = z.string().trim().min(1).max(128);
const Throttle = z.strictObject({
  max_per_window: z.int().min(0).max(MAX_PER_WINDOW).describe('0: not throttled.'),
  window_seconds: z.int().min(1).max(MAX_WINDOW_S).default(3_600),
  per: z.enum(THROTTLE_PER).default('severity'),
});
const Settings = z.strictObject({
  rate_limit: RateLimitBody.optional().describe("For all keys together, instead of the installation's."),
  throttle: Throttle.optional().describe("Notifications for each user, instead of the installation's."),
  unknown_type: z
    .enum(['generic', 'refuse'])
    .optional()
    .describe('Events whose type the catalog does not have: told in general words (default), or refused as `event_type_unknown`.'),
  base_url: z
    .string()
    .max(MAX_BASE_URL)
    .refine(isBaseUrl, { error: 'An http or https address without query.', params: { code: 'invalid_url' } })
    .optional()
    .describe('Where links that are paths lead, outside the inbox. Without it mails and chats carry no button for them.'),
  locale: locale.optional().describe('Of texts for destinations, and for users who have none.'),
  default_recipients: z
    .array(z.union([callerId, z.strictObject({ role: callerId }), z.strictObject({ topic: callerId })]))
    .min(1)
    .max(MAX_DEFAULTS)
    .readonly()
    .optional()
    .describe('Whom `default` means in an event type. Not set: the roles `owner`, `admin` and `team_admin`.'),
});
const NewTenant = z.strictObject({ id: newId, name: name.optional(), settings: Settings.optional() });
const Change = z.strictObject({ name: name.optional(), settings: Settings.optional().describe('Replaces all of them.') });

const TenantItem = z.object({
  id: z.string(),
  name: z.string(),
  settings: Settings,
  test_tenant_id: z.string().nullable().describe('Whose keys are test keys; null for such a tenant itself.'),
  created_at: wireTime,
  updated_at: wireTime,
});
const MadeTenant = TenantItem.extend({ api_key: MadeKey.describe('With all scopes but `operator`.') });

const config = { auth: { kind: 'key', scope: 'operator' } } as const;

export function tenantRoutes(app: App, deps: TenantDeps): void {
  makeRoute(app, deps);
  readRoutes(app, deps);
  app.patch(
    '/v1/tenants/:id',
    {
      config,
      schema: { summary: 'Change a tenant', params: callerIdParams, body: Change, response: { 200: TenantItem } },
    },
    async ({ params: { id }, body }) => {
      const tenant = await deps.database.transaction((tx) => updateTenant(tx, { id, ...changeOf(body) }));
      deps.forget();
      return viewTenant(found(tenant));
    },
  );
}

/** As the engine: a reading request sees one tenant, and makes none. */
function makeRoute(app: App, deps: TenantDeps): void {
  const { database, idempotencyTtlMs: ttlMs } = deps;
  const inTransaction = <T>(_: string, work: (tx: Tx) => Promise<T>) => database.transaction(work);
  const schema = {
    summary: 'Make a tenant',
    description: 'With its sibling for tests and a first API key, which is shown once.',
    body: NewTenant,
    response: { 201: MadeTenant },
  };
  app.post('/v1/tenants', { config, schema }, async (request, reply) => {
    const { id } = request.body;
    const answer = await once<z.output<typeof MadeTenant>>({ inTransaction, ttlMs }, request, async (tx) => {
      if (!(await createTenant(tx, deps.newSecrets(id)))) throw new CarillonError('conflict', 'There is a tenant with this id.');
      const tenant = found(await updateTenant(tx, { id, ...changeOf(request.body) }));
      const { key, item } = await makeKey(deps, tx, {
        tenantId: id,
        name: 'first',
        scopes: TENANT_SCOPES,
        expiresAt: null,
        rateLimit: null,
      });
      const body = { ...viewTenant(tenant), api_key: item };
      return {
        status: 201,
        body: { ...body, api_key: { ...item, key } },
        replayBody: body,
        location: `/v1/tenants/${encodeURIComponent(id)}`,
      };
    });
    return sendAnswer(reply, answer);
  });
}

function readRoutes(app: App, { database }: TenantDeps): void {
  app.get(
    '/v1/tenants',
    { config, schema: { summary: 'List tenants by id', querystring: z.strictObject(listQuery), response: { 200: page(TenantItem) } } },
    async ({ query }) => {
      const { cursor, backward } = directionOf(query);
      const rows = await database.transaction((tx) => listTenants(tx, { cursor, backward, limit: query.limit + 1 }));
      return toDirectedPage(rows, { limit: query.limit, backward }, viewTenant, ({ id }) => id);
    },
  );
  app.get(
    '/v1/tenants/:id',
    { config, schema: { summary: 'Read a tenant', params: callerIdParams, response: { 200: TenantItem } } },
    async ({ params: { id } }) => viewTenant(found(await database.transaction((tx) => findTenant(tx, id)))),
  );
}

function changeOf({ name: title, settings }: z.output<typeof Change>): Pick<Parameters<typeof updateTenant>[1], 'name' | 'settings'> {
  return { name: title ?? null, settings: settings ?? null };
}

function viewTenant({ id, name: title, settings, createdAt, updatedAt }: Tenant): z.output<typeof TenantItem> {
  const sibling = isTestTenant(id) ? null : testTenantOf(id);
  return { id, name: title, settings, test_tenant_id: sibling, created_at: toWire(createdAt), updated_at: toWire(updatedAt) };
}
