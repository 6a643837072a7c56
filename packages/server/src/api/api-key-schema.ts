/** API keys on the wire, and how one is made. The key itself is seen once. */
import { z } from 'zod';
import { CarillonError } from '../domain/error.ts';
import type { Tx } from '../domain/event.ts';
import { isTestTenant } from '../domain/tenant.ts';
import { newApiKey } from '../lib/crypto.ts';
import { newId, publicId } from '../lib/id.ts';
import { createKey, hashExists, type ApiKey, type NewApiKey } from '../store/api-keys.ts';
import { hintOf } from '../store/bootstrap.ts';
import { clientToken, type Caller } from './auth.ts';
import { toWire, wireTime } from './schema.ts';

export const RateLimitBody = z.strictObject({
  requests: z.int().min(1).max(1_000_000_000),
  window_seconds: z.int().min(1).max(86_400),
});

export const KeyItem = z.object({
  id: z.string(),
  tenant_id: z.string(),
  name: z.string(),
  hint: z.string().describe("The key's first characters."),
  scopes: z.array(z.string()),
  created_at: wireTime,
  expires_at: wireTime.nullable(),
  revoked_at: wireTime.nullable(),
  replaced_by: z.string().nullable().describe('The key that took over when this one was rotated.'),
  access_client_id: z.string().nullable().describe('The service token of Cloudflare Access that stands for it.'),
  rate_limit: RateLimitBody.nullable().describe("Null: the installation's."),
  last_used_at: wireTime.nullable().describe('Written every few seconds, like the counts.'),
  request_count: z.int(),
  event_count: z.int().describe('Events accepted with this key, repeats not counted.'),
});
export const MadeKey = KeyItem.extend({ key: z.string().optional().describe('Only in the first answer: it is not stored.') });

export interface KeyMaker {
  readonly hashKey: (key: string) => Uint8Array;
  readonly random: (bytes: number) => Buffer;
  readonly now: () => Date;
}

export type KeyFields = Pick<NewApiKey, 'tenantId' | 'name' | 'scopes' | 'expiresAt' | 'rateLimit'>;

/** Test keys belong to the sibling tenant, so a tenant's name says which kind its keys are. */
export async function makeKey(maker: KeyMaker, tx: Tx, fields: KeyFields): Promise<{ key: string; item: z.output<typeof KeyItem> }> {
  const key = newApiKey(isTestTenant(fields.tenantId) ? 'test' : 'live', maker.random);
  const item = await storeKey(maker, tx, { ...fields, hash: maker.hashKey(key), hint: hintOf(key), accessClientId: null });
  return { key, item };
}

/** Nobody holds a key: the proxy in front vouches for this client. One client is one caller of one tenant, for good. */
export async function makeClient(
  maker: KeyMaker,
  tx: Tx,
  { accessClientId, ...fields }: KeyFields & { accessClientId: string },
): Promise<z.output<typeof KeyItem>> {
  const hash = maker.hashKey(clientToken(accessClientId));
  if (await hashExists(tx, hash)) throw new CarillonError('conflict', 'This client is registered already, or was and is revoked.');
  return storeKey(maker, tx, { ...fields, hash, hint: hintOf(accessClientId), accessClientId });
}

async function storeKey({ now }: KeyMaker, tx: Tx, key: Omit<NewApiKey, 'id'>): Promise<z.output<typeof KeyItem>> {
  const stored = await createKey(tx, { ...key, id: newId(now()), scopes: [...new Set(key.scopes)] });
  if (!stored) throw new Error('a new key had the hash of an older one');
  return viewKey(key.tenantId, stored);
}

/** Throws `scope_missing`: whoever could give more than he has would have it. */
export function refuseBeyond({ scopes: own }: Caller, scopes: readonly string[]): void {
  const beyond = scopes.find((scope) => !own.includes(scope));
  if (beyond !== undefined) throw new CarillonError('scope_missing', `A key can't give the scope \`${beyond}\`, which it does not have.`);
}

export function viewKey(tenantId: string, key: ApiKey): z.output<typeof KeyItem> {
  return {
    id: publicId('key', key.id),
    tenant_id: tenantId,
    name: key.name,
    hint: key.hint,
    scopes: [...key.scopes],
    created_at: toWire(key.createdAt),
    expires_at: toWire(key.expiresAt),
    revoked_at: toWire(key.revokedAt),
    replaced_by: key.replacedBy && publicId('key', key.replacedBy),
    access_client_id: key.accessClientId,
    rate_limit: key.rateLimit,
    last_used_at: toWire(key.lastUsedAt),
    request_count: key.requestCount,
    event_count: key.eventCount,
  };
}
