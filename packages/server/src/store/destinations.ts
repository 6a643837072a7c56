/** Destinations as they are stored: configuration and secrets sealed, opened with `openDestination`. */
import type { Destination, DestinationConfig, DestinationSettings } from '../domain/destination.ts';
import { nameOf } from '../domain/delivery.ts';
import { SEVERITIES, type Tx } from '../domain/event.ts';
import type { Vault } from '../lib/crypto.ts';
import { textArray } from './arrays.ts';
import { within } from './database.ts';

/** Of the row: why and since when it does not go well. */
export interface DestinationHealth {
  readonly disabledReason: string | null;
  readonly failingSince: Date | null;
  readonly lastError: string | null;
  readonly previousUntil: Date | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export type StoredDestination = Destination & DestinationHealth;

interface Row extends DestinationHealth {
  id: string;
  tenantId: string;
  name: string;
  channel: string;
  config: Buffer;
  secret: Buffer;
  previousSecret: Buffer | null;
  active: boolean;
  events: Destination['events'];
  severities: number[];
  includeTags: string[];
  excludeTags: string[];
  maxRetries: number;
  retryDelaysMs: number[];
  disabledAt: Date | null;
}

const COLUMNS = `d.id, d.tenant_id as "tenantId", d.name, d.channel, d.config, d.secret, d.active, d.events, d.severities, d.include_tags as "includeTags",
  case when d.previous_until > carillon.now() then d.previous_secret end as "previousSecret", case when d.previous_until > carillon.now() then d.previous_until end as "previousUntil",
  d.exclude_tags as "excludeTags", d.max_retries as "maxRetries", d.retry_delays_ms::float8[] as "retryDelaysMs", d.disabled_at as "disabledAt",
  d.disabled_reason as "disabledReason", d.failing_since as "failingSince", d.last_error as "lastError", d.created_at as "createdAt", d.updated_at as "updatedAt"`;

export interface DestinationKey {
  readonly tenantId: string;
  /** UUID. */
  readonly id: string;
}

/** What is sealed is bound to its row and purpose: in another one it does not open. */
function contextOf({ tenantId, id }: DestinationKey, purpose: 'config' | 'secret'): string {
  return `destination:${tenantId}:${id}:${purpose}`;
}

function opened(vault: Vault, { config, secret, previousSecret, ...row }: Row): StoredDestination {
  const open = (sealed: Buffer) => vault.open(sealed, contextOf(row, 'secret'));
  return {
    ...row,
    ...(JSON.parse(vault.open(config, contextOf(row, 'config')).toString()) as DestinationConfig),
    severities: row.severities.map((number) => nameOf(SEVERITIES, number)),
    secrets: previousSecret ? [open(secret), open(previousSecret)] : [open(secret)],
  };
}

/** The settings' columns, in this order: `$3` and on of the statements that write them. */
function settingValues(settings: DestinationSettings): unknown[] {
  return [
    settings.name,
    settings.active,
    JSON.stringify(settings.events),
    settings.severities.map((severity) => SEVERITIES[severity]),
    textArray(settings.includeTags),
    textArray(settings.excludeTags),
    settings.maxRetries,
    settings.retryDelaysMs,
  ];
}

function sealedConfig(vault: Vault, key: DestinationKey, { addresses, list, headers }: DestinationConfig): Uint8Array {
  return vault.seal(Buffer.from(JSON.stringify({ addresses, list, headers })), contextOf(key, 'config'));
}

type NewDestination = DestinationKey & DestinationSettings & DestinationConfig & { readonly channel: string; readonly secret: Uint8Array };

export async function createDestination(tx: Tx, vault: Vault, destination: NewDestination): Promise<StoredDestination> {
  const { tenantId, id, channel, secret } = destination;
  const { rows } = await within(tx).query<Row>({
    name: 'destinations-create',
    text: `insert into carillon.destinations as d (tenant_id, id, name, active, events, severities, include_tags, exclude_tags, max_retries, retry_delays_ms, channel, config, secret)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) returning ${COLUMNS}`,
    values: [
      tenantId,
      id,
      ...settingValues(destination),
      channel,
      sealedConfig(vault, destination, destination),
      vault.seal(secret, contextOf(destination, 'secret')),
    ],
  });
  return opened(vault, rows[0] as Row);
}

/** Replaces settings and configuration. Switched on by a person, it is no longer disabled and has not failed. */
export async function updateDestination(
  tx: Tx,
  vault: Vault,
  destination: DestinationKey & DestinationSettings & DestinationConfig,
  { enable }: { enable: boolean },
): Promise<StoredDestination | undefined> {
  const { rows } = await within(tx).query<Row>({
    name: 'destinations-update',
    text: `update carillon.destinations d
              set name = $3, active = $4, events = $5, severities = $6, include_tags = $7, exclude_tags = $8, max_retries = $9, retry_delays_ms = $10, config = $11,
                  disabled_at = case when not $12 then d.disabled_at end, disabled_reason = case when not $12 then d.disabled_reason end,
                  failing_since = case when not $12 then d.failing_since end, failures = case when $12 then 0 else d.failures end,
                  updated_at = carillon.now()
            where d.tenant_id = $1 and d.id = $2 returning ${COLUMNS}`,
    values: [destination.tenantId, destination.id, ...settingValues(destination), sealedConfig(vault, destination, destination), enable],
  });
  return rows[0] && opened(vault, rows[0]);
}

/** The old secret signs beside the new one for `overlapMs`. */
export async function rotateSecret(
  tx: Tx,
  vault: Vault,
  { secret, overlapMs, ...key }: DestinationKey & { secret: Uint8Array; overlapMs: number },
): Promise<StoredDestination | undefined> {
  const { rows } = await within(tx).query<Row>({
    name: 'destinations-rotate',
    text: `update carillon.destinations d
              set previous_secret = d.secret, previous_until = carillon.now() + make_interval(secs => $4::float8 / 1000), secret = $3, updated_at = carillon.now()
            where d.tenant_id = $1 and d.id = $2 returning ${COLUMNS}`,
    values: [key.tenantId, key.id, vault.seal(secret, contextOf(key, 'secret')), overlapMs],
  });
  return rows[0] && opened(vault, rows[0]);
}

export async function deleteDestination(tx: Tx, { tenantId, id }: DestinationKey): Promise<boolean> {
  const { rowCount } = await within(tx).query({
    name: 'destinations-delete',
    text: 'delete from carillon.destinations where tenant_id = $1 and id = $2',
    values: [tenantId, id],
  });
  return rowCount > 0;
}

export async function getDestination(tx: Tx, vault: Vault, { tenantId, id }: DestinationKey): Promise<StoredDestination | undefined> {
  const { rows } = await within(tx).query<Row>({
    name: 'destinations-get',
    text: `select ${COLUMNS} from carillon.destinations d where d.tenant_id = $1 and d.id = $2`,
    values: [tenantId, id],
  });
  return rows[0] && opened(vault, rows[0]);
}

/** The same, and nobody else changes it until the transaction ends. */
export async function lockDestination(tx: Tx, vault: Vault, { tenantId, id }: DestinationKey): Promise<StoredDestination | undefined> {
  const { rows } = await within(tx).query<Row>({
    name: 'destinations-lock',
    text: `select ${COLUMNS} from carillon.destinations d where d.tenant_id = $1 and d.id = $2 for update`,
    values: [tenantId, id],
  });
  return rows[0] && opened(vault, rows[0]);
}

export interface DestinationPage {
  readonly tenantId: string;
  /** Exclusive. */
  readonly cursor: string | null;
  /** Against the list's order, which is newest first. */
  readonly backward: boolean;
  readonly limit: number;
}

export async function listDestinations(
  tx: Tx,
  vault: Vault,
  { tenantId, cursor, backward, limit }: DestinationPage,
): Promise<StoredDestination[]> {
  const { rows } = await within(tx).query<Row>({
    name: backward ? 'destinations-list-backward' : 'destinations-list',
    text: `select ${COLUMNS} from carillon.destinations d where d.tenant_id = $1 and ($2::uuid is null or d.id ${backward ? '>' : '<'} $2)
            order by d.id ${backward ? 'asc' : 'desc'} limit $3`,
    values: [tenantId, cursor, limit],
  });
  return rows.map((row) => opened(vault, row));
}

/** All of these tenants', in the order in which they were made. */
export async function destinationsOfTenants(tx: Tx, vault: Vault, tenantIds: readonly string[]): Promise<Destination[]> {
  const { rows } = await within(tx).query<Row>({
    name: 'destinations-of-tenants',
    text: `select ${COLUMNS} from carillon.destinations d where d.tenant_id = any($1) order by d.tenant_id, d.id`,
    values: [tenantIds],
  });
  return rows.map((row) => opened(vault, row));
}

/** By id; those that were deleted are missing. */
export async function loadDestinations(tx: Tx, vault: Vault, keys: readonly DestinationKey[]): Promise<Map<string, Destination>> {
  if (keys.length === 0) return new Map();
  const { rows } = await within(tx).query<Row>({
    name: 'destinations-load',
    // `offset 0`: one look by key for each. A join planned while there were few would read them all.
    text: `select ${COLUMNS} from unnest($1::text[], $2::uuid[]) as k (tenant_id, id)
            cross join lateral (select d.* from carillon.destinations d where d.tenant_id = k.tenant_id and d.id = k.id offset 0) as d`,
    values: [keys.map(({ tenantId }) => tenantId), keys.map(({ id }) => id)],
  });
  return new Map(rows.map((row) => [row.id, opened(vault, row)]));
}
