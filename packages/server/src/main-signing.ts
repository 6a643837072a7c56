/** The secrets that users' webhooks are signed with, in memory: nothing is asked on the way of a delivery. Part of the composition root. */
import { deriveWebhookSecret } from './lib/crypto.ts';
import { makeLru } from './lib/lru.ts';
import type { Core } from './main-core.ts';
import { rotatedSince, type RotatedSecret } from './store/webhook-secrets.ts';

/** Whose webhooks are signed. */
interface SignedUser {
  readonly tenantId: string;
  readonly userId: string;
}

export interface Signing {
  /** Raw keys, the newest first; two while a secret rotates. */
  readonly secretsOf: (owner: SignedUser) => Promise<readonly Uint8Array[]>;
  /** What was rotated in other processes. Until then this one signs with the secret before. */
  readonly refresh: () => Promise<void>;
  readonly rotated: (secret: RotatedSecret) => void;
}

const SECRETS_KEPT = 10_000;
/** A rotation is dated with the begin of its transaction, and seen once that has committed. */
const COMMIT_MS = 60_000;

interface Derived {
  readonly number: number;
  readonly both: boolean;
  readonly secrets: readonly Uint8Array[];
}

const nameOf = (tenantId: string, userId: string): string => `${tenantId}\0${userId}`;

export function makeSigning({ database, clock, webhookKey }: Pick<Core, 'database' | 'clock' | 'webhookKey'>): Signing {
  const derived = makeLru<Derived>(SECRETS_KEPT); // once per user: HKDF on every attempt would be work for nothing
  const rotations = new Map<string, RotatedSecret>();
  let seenUpTo: Date | null = null;

  function rotated(secret: RotatedSecret): void {
    const name = nameOf(secret.tenantId, secret.userId);
    if ((rotations.get(name)?.number ?? 0) <= secret.number) rotations.set(name, secret);
  }

  async function secretsOf({ tenantId, userId }: SignedUser): Promise<readonly Uint8Array[]> {
    const name = nameOf(tenantId, userId);
    const rotation = rotations.get(name);
    const number = rotation?.number ?? 0;
    const both = rotation?.previousUntil != null && clock.now() < rotation.previousUntil;
    const known = derived.get(name);
    if (known?.number === number && known.both === both) return known.secrets;
    const key = await webhookKey(tenantId);
    const secrets = (both ? [number, number - 1] : [number]).map((one) => deriveWebhookSecret(key, userId, one));
    derived.set(name, { number, both, secrets });
    return secrets;
  }

  async function refresh(): Promise<void> {
    const since = seenUpTo && new Date(seenUpTo.getTime() - COMMIT_MS);
    for (const secret of await rotatedSince(database.engine, since)) {
      rotated(secret);
      seenUpTo = secret.changedAt;
    }
  }

  return { secretsOf, refresh, rotated };
}
