/** Users' webhook secrets that were rotated: their number, and until when the one before signs too. */
import type { Tx } from '../domain/event.ts';
import { within, type Queryable } from './database.ts';
import type { UserKey } from './users.ts';

export interface RotatedSecret {
  readonly tenantId: string;
  readonly userId: string;
  readonly number: number;
  /** Null: the one before was ended at once. */
  readonly previousUntil: Date | null;
}

const COLUMNS = 'tenant_id as "tenantId", user_id as "userId", number, previous_until as "previousUntil"';

/** The next secret signs from now on. The one before signs too for so long; the one before that no more. */
export async function rotateSecret(tx: Tx, { tenantId, id }: UserKey, overlapMs: number): Promise<RotatedSecret> {
  const { rows } = await within(tx).query<RotatedSecret>({
    name: 'webhook-secrets-rotate',
    text: `insert into carillon.webhook_secrets as s (tenant_id, user_id, number, previous_until, changed_at)
           values ($1, $2, 1, case when $3::float8 > 0 then carillon.now() + make_interval(secs => $3::float8 / 1000) end, carillon.now())
               on conflict (tenant_id, user_id) do update set number = s.number + 1, previous_until = excluded.previous_until, changed_at = excluded.changed_at
        returning ${COLUMNS}`,
    values: [tenantId, id, overlapMs],
  });
  const [row] = rows;
  if (!row) throw new Error('an upsert gave no row');
  return row;
}

/** Undefined for a secret that was never rotated. */
export async function rotatedSecret(tx: Tx, { tenantId, id }: UserKey): Promise<RotatedSecret | undefined> {
  const { rows } = await within(tx).query<RotatedSecret>({
    name: 'webhook-secrets-get',
    text: `select ${COLUMNS} from carillon.webhook_secrets where tenant_id = $1 and user_id = $2`,
    values: [tenantId, id],
  });
  return rows[0];
}

/** All tenants' that have changed since then, oldest first; null: all there are. */
export async function rotatedSince(db: Queryable, since: Date | null): Promise<(RotatedSecret & { readonly changedAt: Date })[]> {
  const { rows } = await db.query<RotatedSecret & { changedAt: Date }>({
    name: 'webhook-secrets-since',
    text: `select ${COLUMNS}, changed_at as "changedAt" from carillon.webhook_secrets where changed_at >= coalesce($1::timestamptz, '-infinity') order by changed_at`,
    values: [since],
  });
  return rows;
}
