/** The first start: a tenant to work in and a key to begin with. */
import { hashApiKey, newApiKey, type Vault } from '../lib/crypto.ts';
import { newId } from '../lib/id.ts';
import { createKey } from './api-keys.ts';
import type { Database } from './database.ts';
import { createTenant, newTenantSecrets } from './tenants.ts';

const DEFAULT_TENANT = 'default';

export interface BootstrapOptions {
  readonly vault: Vault;
  readonly pepper: Uint8Array;
  /** Taken as it is, without its checksum being looked at. Else one is made, at the first start only. */
  readonly bootstrapKey: string | undefined;
  readonly scopes: readonly string[];
  readonly now: () => Date;
  readonly random: (bytes: number) => Buffer;
}

/**
 * Makes what is missing. Safe to run at every start and in several processes at once: the tenant's row decides who made it.
 * Resolves with the key to print, which nobody can read again; undefined when none was made here.
 */
export async function bootstrap(database: Pick<Database, 'transaction'>, options: BootstrapOptions): Promise<string | undefined> {
  const { vault, pepper, bootstrapKey, scopes, now, random } = options;
  const secrets = newTenantSecrets(DEFAULT_TENANT, vault, random);
  return database.transaction(async (tx) => {
    const first = await createTenant(tx, secrets);
    const made = first && bootstrapKey === undefined ? newApiKey('live', random) : undefined;
    const key = bootstrapKey ?? made;
    if (key === undefined) return undefined;
    await createKey(tx, {
      tenantId: DEFAULT_TENANT,
      id: newId(now()),
      hash: hashApiKey(pepper, key),
      name: 'bootstrap',
      hint: hintOf(key),
      scopes,
      expiresAt: null,
      rateLimit: null,
      accessClientId: null,
    });
    return made;
  });
}

/** Enough to recognise a key, far too little to guess it. */
export function hintOf(key: string): string {
  return key.startsWith('cn_') ? `${key.slice(0, 12)}…` : `${key.slice(0, Math.min(4, Math.floor(key.length / 8)))}…`;
}
