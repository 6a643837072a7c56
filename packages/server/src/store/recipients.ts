/** The users that routing needs, in a few set-based statements. */
import type { Tx } from '../domain/event.ts';
import { NO_PREFERENCES, type Preferences } from '../domain/preference.ts';
import type { Recipient } from '../domain/user.ts';
import { textArray } from './arrays.ts';
import { within, type Statement } from './database.ts';

export interface UserKey {
  readonly tenantId: string;
  readonly userId: string;
}

export interface RecipientRow extends Recipient {
  readonly tenantId: string;
}

interface Row {
  tenant_id: string;
  id: string;
  email: string | null;
  phone: string | null;
  webhook_url: string | null;
  time_zone: string | null;
  locale: string | null;
  attributes: Record<string, unknown>;
  active: boolean;
  preferences: Partial<Preferences>;
  suppressed: Recipient['suppressed'];
}

const COLUMNS =
  'u.tenant_id, u.id, u.email, u.phone, u.webhook_url, u.time_zone, u.locale, u.attributes, u.active, u.preferences, u.suppressed';

export async function loadRecipients(tx: Tx, keys: readonly UserKey[]): Promise<RecipientRow[]> {
  const { rows } = await within(tx).query<Row>({
    name: 'recipients-load',
    // `offset 0`: one look by key for each. A join planned while there were few users would read them all.
    text: `select u.* from unnest($1::text[], $2::text[]) as k (tenant_id, id)
            cross join lateral (select ${COLUMNS} from carillon.users u where u.tenant_id = k.tenant_id and u.id = k.id offset 0) as u`,
    values: [textArray(keys.map((key) => key.tenantId)), textArray(keys.map((key) => key.userId))],
  });
  return rows.map(toRecipient);
}

/** Loads them, and with `create` makes those that do not exist yet. By `tenant\0user`. */
export async function recipientsFor(tx: Tx, keys: readonly UserKey[], { create }: { create: boolean }): Promise<Map<string, RecipientRow>> {
  const found = new Map<string, RecipientRow>();
  const add = (rows: readonly RecipientRow[]) => {
    for (const row of rows) found.set(`${row.tenantId}\0${row.id}`, row);
  };
  const missing = () => distinct(keys).filter((key) => !found.has(`${key.tenantId}\0${key.userId}`));
  add(await loadRecipients(tx, distinct(keys)));
  if (!create || missing().length === 0) return found;
  add(await insertMentioned(tx, missing()));
  if (missing().length > 0) add(await loadRecipients(tx, missing())); // made by somebody else meanwhile
  return found;
}

function distinct(keys: readonly UserKey[]): UserKey[] {
  return [...new Map(keys.map((key) => [`${key.tenantId}\0${key.userId}`, key])).values()];
}

/** Users not seen before, by id only. Returns those that were inserted: the others exist, or were made by somebody else meanwhile. */
export async function insertMentioned(tx: Tx, keys: readonly UserKey[]): Promise<RecipientRow[]> {
  const { rows } = await within(tx).query<Row>({
    name: 'recipients-insert',
    text: `insert into carillon.users as u (tenant_id, id)
           select tenant_id, id from unnest($1::text[], $2::text[]) as k (tenant_id, id) order by tenant_id collate "C", id collate "C"
               on conflict (tenant_id, id) do nothing
        returning ${COLUMNS}`,
    values: [textArray(keys.map((key) => key.tenantId)), textArray(keys.map((key) => key.userId))],
  });
  return rows.map(toRecipient);
}

export interface AudienceQuery {
  readonly tenantId: string;
  readonly named: readonly string[];
  readonly roles: readonly string[];
  readonly topics: readonly string[];
  readonly all: boolean;
  readonly activeWithinMs: number | null;
  /** Exclusive: the last user of the chunk before. */
  readonly after: string | null;
  readonly limit: number;
}

/** The next users of an audience, by id. Fewer than `limit`: that was the last chunk. */
export async function audienceChunk(tx: Tx, query: AudienceQuery): Promise<RecipientRow[]> {
  const { rows } = await within(tx).query<Row>(audienceStatement(query));
  return rows.map(toRecipient);
}

function audienceStatement(query: AudienceQuery): Statement {
  const ofTopics = query.roles.length === 0 && !query.all && query.activeWithinMs === null;
  return ofTopics ? subscribers(query) : anybody(query);
}

const EVERYBODY = 2_147_483_647;

/** All users of an audience, those that exist. */
export async function audienceSize(tx: Tx, query: Omit<AudienceQuery, 'after' | 'limit'>): Promise<number> {
  const { name, text, values } = audienceStatement({ ...query, after: null, limit: EVERYBODY });
  const { rows } = await within(tx).query<{ size: number }>({
    name: `${name}-size`,
    text: `select count(*)::integer as size from (${text}) as audience`,
    values,
  });
  return rows[0]?.size ?? 0;
}

/** Read through in the order of ids: roles and times have no index of their own. */
function anybody({ tenantId, after, all, named, roles, activeWithinMs, limit, topics }: AudienceQuery): Statement {
  return {
    name: 'recipients-audience',
    text: `select ${COLUMNS} from carillon.users u
            where u.tenant_id = $1 and u.id > coalesce($2, '') collate "C"
              and ($3 or u.id = any($4) or u.roles && $5::text[] or u.last_active_at >= carillon.now() - make_interval(secs => $6::float8 / 1000)
                or ($8::text[] <> '{}' and exists (select from carillon.topic_subscriptions s
                                                    where s.tenant_id = $1 and s.topic_id = any($8) and s.user_id = u.id)))
            order by u.id limit $7`,
    values: [tenantId, after, all, named, roles, activeWithinMs, limit, topics],
  };
}

/** From the topics alone: no user is read who is in none of them. Each topic gives a chunk, in the order of its key. */
function subscribers({ tenantId, after, named, topics, limit }: AudienceQuery): Statement {
  return {
    name: 'recipients-topics',
    text: `select u.* from (
             select distinct id from (
               select s.user_id as id from unnest($2::text[]) as t (topic_id)
                cross join lateral (select s.user_id from carillon.topic_subscriptions s
                                     where s.tenant_id = $1 and s.topic_id = t.topic_id and s.user_id > $3 order by s.user_id limit $5) as s
               union all
               select u.id from unnest($4::text[]) as n (id)
                cross join lateral (select u.id from carillon.users u where u.tenant_id = $1 and u.id = n.id and u.id > $3 offset 0) as u
             ) as addressed order by id limit $5) as k
            cross join lateral (select ${COLUMNS} from carillon.users u where u.tenant_id = $1 and u.id = k.id offset 0) as u
            order by u.id`,
    values: [tenantId, textArray(topics), after ?? '', textArray(named), limit], // no id is empty
  };
}

function toRecipient(row: Row): RecipientRow {
  return {
    tenantId: row.tenant_id,
    id: row.id,
    email: row.email,
    phone: row.phone,
    webhookUrl: row.webhook_url,
    timeZone: row.time_zone,
    locale: row.locale,
    attributes: row.attributes,
    active: row.active,
    preferences: preferencesOf(row.preferences),
    suppressed: row.suppressed,
  };
}

/** Most people have said nothing: all of them share one object, which deciding knows. */
function preferencesOf(stored: Partial<Preferences>): Preferences {
  return Object.keys(stored).length === 0 ? NO_PREFERENCES : { ...NO_PREFERENCES, ...stored };
}
