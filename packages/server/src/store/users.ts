/** Users: written whole, read by id, erased with what is known of them. */
import type { Tx } from '../domain/event.ts';
import type { User } from '../domain/user.ts';
import { textArray } from './arrays.ts';
import { within } from './database.ts';

export interface StoredUser extends User {
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const COLUMNS = `u.id, u.email, u.phone, u.webhook_url as "webhookUrl", u.roles, u.locale, u.time_zone as "timeZone", u.active,
  u.last_active_at as "lastActiveAt", u.attributes, u.created_at as "createdAt", u.updated_at as "updatedAt"`;

/**
 * Creates or replaces. No id may stand twice among the users; the rows come back in no order.
 * A new address in the profile is tried again: what was suppressed of the old one is forgotten.
 */
export async function putUsers(tx: Tx, tenantId: string, users: readonly User[]): Promise<StoredUser[]> {
  const { rows } = await within(tx).query<StoredUser>({
    name: 'users-put',
    // Sorted, so that two batches wait for each other instead of deadlocking.
    text: `insert into carillon.users as u (tenant_id, id, email, phone, webhook_url, roles, locale, time_zone, active, last_active_at, attributes)
           select $1, id, email, phone, webhook_url, roles::text[], locale, time_zone, active, last_active_at, attributes::jsonb
             from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::boolean[], $10::timestamptz[], $11::text[])
               as given (id, email, phone, webhook_url, roles, locale, time_zone, active, last_active_at, attributes)
            order by id collate "C"
               on conflict (tenant_id, id) do update
              set email = excluded.email, phone = excluded.phone, webhook_url = excluded.webhook_url, roles = excluded.roles, locale = excluded.locale,
                  time_zone = excluded.time_zone, active = excluded.active, last_active_at = excluded.last_active_at, attributes = excluded.attributes,
                  suppressed = case when u.suppressed = '{}' then u.suppressed else (
                    select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each_text(u.suppressed)
                     where (value = any(array[excluded.email, excluded.phone, excluded.webhook_url])) is true
                        or (value = any(array[u.email, u.phone, u.webhook_url])) is not true) end,
                  updated_at = carillon.now()
        returning ${COLUMNS}`,
    values: [
      tenantId,
      users.map((user) => user.id),
      users.map((user) => user.email),
      users.map((user) => user.phone),
      users.map((user) => user.webhookUrl),
      users.map((user) => textArray(user.roles)),
      users.map((user) => user.locale),
      users.map((user) => user.timeZone),
      users.map((user) => user.active),
      users.map((user) => user.lastActiveAt?.toISOString() ?? null),
      users.map((user) => JSON.stringify(user.attributes)),
    ],
  });
  return rows;
}

export interface UserKey {
  readonly tenantId: string;
  readonly id: string;
}

export async function getUser(tx: Tx, { tenantId, id }: UserKey): Promise<StoredUser | undefined> {
  const { rows } = await within(tx).query<StoredUser>({
    name: 'users-get',
    text: `select ${COLUMNS} from carillon.users u where u.tenant_id = $1 and u.id = $2`,
    values: [tenantId, id],
  });
  return rows[0];
}

export interface UserPage {
  readonly tenantId: string;
  /** Exclusive. Null: from the first one on. */
  readonly cursor: string | null;
  /** Towards smaller ids: the rows come in that order too. */
  readonly backward: boolean;
  readonly limit: number;
}

/** By id, compared by bytes. */
export async function listUsers(tx: Tx, { tenantId, cursor, backward, limit }: UserPage): Promise<StoredUser[]> {
  const { rows } = await within(tx).query<StoredUser>({
    name: backward ? 'users-list-backward' : 'users-list',
    text: `select ${COLUMNS} from carillon.users u
            where u.tenant_id = $1 and u.id ${backward ? '<' : '>'} $2
            order by u.id ${backward ? 'desc' : 'asc'} limit $3`,
    values: [tenantId, cursor ?? '', limit], // no id is empty; COALESCE would keep row-level security from using the index
  });
  return rows;
}
