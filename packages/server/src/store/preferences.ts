/** What users want, and what their tenant says of everybody. */
import { DELIVERY_STATES as S } from '../domain/delivery.ts';
import type { Tx } from '../domain/event.ts';
import { NO_PREFERENCES, type Preferences } from '../domain/preference.ts';
import { REASONS } from '../domain/reason.ts';
import type { TenantSettings } from '../domain/tenant.ts';
import { within } from './database.ts';
import { recheckDigests } from './digest-outcomes.ts';
import type { UserKey } from './users.ts';

/** Undefined for a user that is not there. */
export async function getPreferences(tx: Tx, { tenantId, id }: UserKey): Promise<Preferences | undefined> {
  const { rows } = await within(tx).query<{ preferences: Partial<Preferences> }>({
    name: 'users-preferences',
    text: 'select preferences from carillon.users where tenant_id = $1 and id = $2',
    values: [tenantId, id],
  });
  return rows[0] && { ...NO_PREFERENCES, ...rows[0].preferences };
}

/** Replaces them. Creates a user not seen before: an opt-out must not be lost because nobody has mentioned him yet. */
export async function putPreferences(tx: Tx, { tenantId, id }: UserKey, preferences: Preferences): Promise<void> {
  await within(tx).query({
    name: 'users-put-preferences',
    text: `insert into carillon.users as u (tenant_id, id, preferences) values ($1, $2, $3::jsonb)
               on conflict (tenant_id, id) do update set preferences = excluded.preferences, updated_at = carillon.now()`,
    values: [tenantId, id, JSON.stringify(preferences)],
  });
}

/**
 * Switches a channel off and keeps all else that the user wants. Where an event type or a category had it on it is off too:
 * nobody who unsubscribes means "but not from this". Makes a user who is not there: an opt-out must not be lost.
 * False for a tenant that is not there.
 */
export async function optOut(tx: Tx, { tenantId, id }: UserKey, channel: string): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'users-opt-out',
    text: `insert into carillon.users as u (tenant_id, id, preferences)
           select t.id, $2, jsonb_build_object('channels', jsonb_build_object($3::text, '{"enabled":false}'::jsonb)) from carillon.tenants t where t.id = $1
               on conflict (tenant_id, id) do update
              set preferences = u.preferences || jsonb_build_object('channels', coalesce(u.preferences -> 'channels', '{}')
                    || jsonb_build_object($3::text, coalesce(u.preferences #> array['channels', $3], '{}') || '{"enabled":false}'))
                    || ${offIn('categories')} || ${offIn('event_types')},
                  updated_at = carillon.now()`,
    values: [tenantId, id, channel],
  });
  return rowCount > 0;
}

/** The group with the channel ($3) off wherever one of its names speaks of it; nothing when there is no such group. */
function offIn(group: 'categories' | 'event_types'): string {
  return `(select case when count(*) = 0 then '{}'::jsonb else jsonb_build_object('${group}', jsonb_object_agg(name,
             case when own ? $3::text then own || jsonb_build_object($3::text, (own -> $3::text) || '{"enabled":false}') else own end)) end
             from jsonb_each(u.preferences -> '${group}') as e (name, own))`;
}

/** What quiet hours hold for these users is due at once: what they want now is asked at the gate. Returns how many. */
export async function recheckHeld(tx: Tx, tenantId: string, userIds: readonly string[]): Promise<number> {
  const [deliveries, digests] = await Promise.all([recheckDeliveries(tx, tenantId, userIds), recheckDigests(tx, tenantId, userIds)]);
  return deliveries + digests;
}

async function recheckDeliveries(tx: Tx, tenantId: string, userIds: readonly string[]): Promise<number> {
  const { rowCount } = await within(tx).query({
    name: 'deliveries-recheck-held',
    text: `with theirs as materialized (
             select d.id from carillon.deliveries d
              where d.status = ${S.held} and d.tenant_id = $1 and d.user_id = any($2) and d.reason = ${REASONS.quiet_hours_held.number}
              order by d.id for update
           )
           update carillon.deliveries d set due_at = carillon.now()
             from theirs where d.status = ${S.held} and d.tenant_id = $1 and d.user_id = any($2) and d.id = theirs.id`,
    values: [tenantId, userIds],
  });
  return rowCount;
}

export async function putDefaults(tx: Tx, tenantId: string, preferences: Preferences): Promise<void> {
  await within(tx).query({
    name: 'preference-defaults-put',
    text: `insert into carillon.preference_defaults (tenant_id, preferences) values ($1, $2::jsonb)
               on conflict (tenant_id) do update set preferences = excluded.preferences, updated_at = carillon.now()`,
    values: [tenantId, JSON.stringify(preferences)],
  });
}

export async function getDefaults(tx: Tx, tenantId: string): Promise<Preferences> {
  const { rows } = await within(tx).query<{ preferences: Preferences }>({
    name: 'preference-defaults-get',
    text: 'select preferences from carillon.preference_defaults where tenant_id = $1',
    values: [tenantId],
  });
  return rows[0]?.preferences ?? NO_PREFERENCES;
}

/** What a tenant says of everybody. */
export interface TenantRules {
  readonly preferences: Preferences | null;
  readonly settings: TenantSettings;
}

async function loadRules(tx: Tx, tenantIds: readonly string[]): Promise<Map<string, TenantRules>> {
  const { rows } = await within(tx).query<TenantRules & { id: string }>({
    name: 'tenant-rules-load',
    text: `select t.id, p.preferences, t.settings
             from unnest($1::text[]) as k (id)
            cross join lateral (select id, settings from carillon.tenants t where t.id = k.id offset 0) as t
             left join lateral (select preferences from carillon.preference_defaults p where p.tenant_id = k.id offset 0) as p on true`,
    values: [tenantIds],
  });
  return new Map(rows.map((row) => [row.id, row]));
}

/** The tenants' rules as the stages see them: remembered, so that no event waits for them. */
export interface Defaults {
  /** Sees to it that those of these tenants are known, and not older than a few seconds. */
  readonly read: (tx: Tx, tenantIds: ReadonlySet<string>) => Promise<Defaults['of']>;
  /** As they were last read. */
  readonly of: (tenantId: string) => Preferences | undefined;
  readonly settingsOf: (tenantId: string) => TenantSettings;
  readonly forget: () => void;
}

/** How long a change that another process has made goes unnoticed. */
const TTL_MS = 5_000;

const NO_SETTINGS: TenantSettings = {};

export function rememberDefaults(monotonicMs: () => number): Defaults {
  const known = new Map<string, { readonly rules: TenantRules | undefined; readonly untilMs: number }>();
  const of = (tenantId: string) => known.get(tenantId)?.rules?.preferences ?? undefined;
  return {
    of,
    settingsOf: (tenantId) => known.get(tenantId)?.rules?.settings ?? NO_SETTINGS,
    read: async (tx, tenantIds) => {
      const nowMs = monotonicMs();
      const old = [...tenantIds].filter((id) => (known.get(id)?.untilMs ?? 0) <= nowMs);
      if (old.length === 0) return of;
      const loaded = await loadRules(tx, old);
      for (const id of old) known.set(id, { rules: loaded.get(id), untilMs: nowMs + TTL_MS });
      return of;
    },
    forget: () => {
      known.clear();
    },
  };
}
