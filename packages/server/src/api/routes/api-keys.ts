/** API keys: made, listed, revoked. A key is shown once. */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { CarillonError } from '../../domain/error.ts';
import { newApiKey } from '../../lib/crypto.ts';
import { newId, parseId, publicId } from '../../lib/id.ts';
import { createKey, listKeys, revokeKey, type ApiKey } from '../../store/api-keys.ts';
import { hintOf } from '../../store/bootstrap.ts';
import type { Database } from '../../store/database.ts';
import { SCOPES } from '../auth.ts';
import { once, sendAnswer, type Answer } from '../idempotency.ts';
import type { App } from '../request.ts';
import { idParams, page, pageQuery, readCursor, timestamp, toPage, toWire, wireTime } from '../schema.ts';

export interface ApiKeyDeps {
  readonly database: Pick<Database, 'asTenant'>;
  readonly hashKey: (key: string) => Uint8Array;
  readonly random: (bytes: number) => Buffer;
  readonly now: () => Date;
  readonly idempotencyTtlMs: number;
  /** Called after a key was revoked: `Auth.forget`. */
  readonly forget: () => void;
}

const NewKey = z.strictObject({
  name: z.string().trim().min(1).max(128),
  scopes: z.array(z.enum(SCOPES)).min(1).max(SCOPES.length),
  expires_at: timestamp.optional().describe('Not set: it does not expire.'),
});

const KeyItem = z.object({
  id: z.string(),
  name: z.string(),
  hint: z.string().describe("The key's first characters."),
  scopes: z.array(z.string()),
  created_at: wireTime,
  expires_at: wireTime.nullable(),
  revoked_at: wireTime.nullable(),
  last_used_at: wireTime.nullable().describe('To the minute.'),
});
const MadeKey = KeyItem.extend({ key: z.string().optional().describe('Only in the first answer: it is not stored.') });

const auth = { kind: 'key', scope: 'keys:write' } as const;

export function apiKeyRoutes(app: App, deps: ApiKeyDeps): void {
  const { database, forget } = deps;

  app.post(
    '/v1/api-keys',
    { config: { auth }, schema: { summary: 'Make an API key', body: NewKey, response: { 201: MadeKey } } },
    async (request, reply) => sendAnswer(reply, await make(deps, request, request.body)),
  );

  app.get(
    '/v1/api-keys',
    {
      config: { auth },
      schema: { summary: 'List API keys, newest first', querystring: z.strictObject(pageQuery), response: { 200: page(KeyItem) } },
    },
    async ({ caller, query }) => {
      const beforeId = query.after === undefined ? null : idOfCursor(query.after);
      const rows = await database.asTenant(caller.tenantId, (tx) => listKeys(tx, caller.tenantId, { limit: query.limit + 1, beforeId }));
      return toPage(rows, query.limit, wireKey, (last) => [publicId('key', last.id)]);
    },
  );

  app.delete(
    '/v1/api-keys/:id',
    {
      config: { auth },
      schema: { summary: 'Revoke an API key', description: 'For good, within five seconds in every process.', params: idParams('key') },
    },
    async ({ caller, params }, reply) => {
      const found = await database.asTenant(caller.tenantId, (tx) => revokeKey(tx, caller.tenantId, params.id));
      if (!found) throw new CarillonError('not_found', 'There is nothing with this id.');
      forget();
      return reply.code(204).send();
    },
  );
}

function make(
  deps: ApiKeyDeps,
  request: FastifyRequest,
  { name, scopes, expires_at: expiresAt = null }: { name: string; scopes: readonly string[]; expires_at?: Date | null | undefined },
): Promise<Answer<z.output<typeof MadeKey>>> {
  const { tenantId, scopes: own } = request.caller;
  const beyond = scopes.find((scope) => !own.includes(scope));
  if (beyond !== undefined) throw new CarillonError('scope_missing', `A key can't give the scope \`${beyond}\`, which it does not have.`);
  if (expiresAt !== null && expiresAt <= deps.now()) {
    throw new CarillonError('invalid', 'The key would have expired already.', {
      errors: [{ pointer: '/expires_at', code: 'in_the_past', detail: 'A time to come.' }],
    });
  }
  return once({ inTransaction: deps.database.asTenant, ttlMs: deps.idempotencyTtlMs }, request, async (tx) => {
    // Test keys belong to the sibling tenant, so a tenant's name says which kind its keys are.
    const key = newApiKey(tenantId.endsWith(':test') ? 'test' : 'live', deps.random);
    const stored = await createKey(tx, {
      tenantId,
      id: newId(deps.now()),
      hash: deps.hashKey(key),
      name,
      hint: hintOf(key),
      scopes: [...new Set(scopes)],
      expiresAt,
    });
    if (!stored) throw new Error('a new key had the hash of an older one');
    const item = wireKey(stored);
    return { status: 201, body: { ...item, key }, replayBody: item };
  });
}

function wireKey(key: ApiKey): z.output<typeof KeyItem> {
  return {
    id: publicId('key', key.id),
    name: key.name,
    hint: key.hint,
    scopes: [...key.scopes],
    created_at: toWire(key.createdAt),
    expires_at: toWire(key.expiresAt),
    revoked_at: toWire(key.revokedAt),
    last_used_at: toWire(key.lastUsedAt),
  };
}

function idOfCursor(cursor: string): string {
  const id = parseId('key', readCursor(cursor, 1)[0] ?? '');
  if (id === undefined)
    throw new CarillonError('invalid', 'The cursor is not valid.', {
      errors: [{ pointer: '/after', code: 'invalid_cursor', detail: 'Pass `next_cursor` of an earlier answer as it is.' }],
    });
  return id;
}
