/** When a user was last seen: what `active_within` looks at. */
import type { Tx } from '../domain/event.ts';
import { within } from './database.ts';
import type { InboxOwner } from './inbox.ts';

/** Seen now. Creates a user not seen before, unless `create` is false: then false says that there is none. */
export async function seeUser(tx: Tx, { tenantId, userId, create }: InboxOwner & { create: boolean }): Promise<boolean> {
  const { rowCount } = await within(tx).query(
    create
      ? {
          name: 'activity-see-or-create',
          text: `insert into carillon.users (tenant_id, id, last_active_at) values ($1, $2, carillon.now())
                     on conflict (tenant_id, id) do update set last_active_at = excluded.last_active_at`,
          values: [tenantId, userId],
        }
      : {
          name: 'activity-see',
          text: 'update carillon.users set last_active_at = carillon.now() where tenant_id = $1 and id = $2',
          values: [tenantId, userId],
        },
  );
  return rowCount === 1;
}

/** Seen now, written at most once a minute: readers that come back all at once must not rewrite every row. */
export async function touchUser(tx: Tx, { tenantId, userId }: InboxOwner): Promise<void> {
  await within(tx).query({
    name: 'activity-touch',
    text: `update carillon.users set last_active_at = carillon.now()
            where tenant_id = $1 and id = $2 and (last_active_at is null or last_active_at < carillon.now() - interval '1 minute')`,
    values: [tenantId, userId],
  });
}
