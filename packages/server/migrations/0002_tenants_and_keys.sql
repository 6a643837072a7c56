-- Tenants and keys as resources, limits shared by processes, and the soft mark of what POST /api/notifications took.

-- Settings are one document with a strict schema (domain/tenant.ts): a setting more is no migration.
alter table carillon.tenants
  add column name       text not null default '',
  add column settings   jsonb not null default '{}',
  add column updated_at timestamptz not null default carillon.now();

alter table carillon.api_keys
  add column replaced_by      uuid,                       -- rotated: the key that takes over
  add column request_count    bigint not null default 0,
  add column event_count      bigint not null default 0,  -- accepted with it, repeats not counted
  add column rate_limit       jsonb,                      -- domain/tenant.ts RateLimit; null: the installation's
  add column access_client_id text;                       -- a client of Cloudflare Access: then nobody holds a key

-- What of a limit has been lent to processes in the current window; they count requests on their own against what they hold.
-- Unlogged: after a crash of the server a window begins anew, and nothing else depends on it.
create unlogged table carillon.rate_limits (
  tenant_id    text collate "C" not null references carillon.tenants on delete cascade,
  name         text not null,               -- `tenant`, or the id of a key
  window_s     integer not null,
  window_start timestamptz not null,
  used         bigint not null,
  granted      bigint not null,             -- by the last statement: RETURNING can't subtract what was there before
  primary key (tenant_id, name)
) with (fillfactor = 50);
alter table carillon.rate_limits enable row level security;
alter table carillon.rate_limits force row level security;
create policy engine on carillon.rate_limits to carillon_engine using (true) with check (true);
create policy api on carillon.rate_limits to carillon_api
  using (tenant_id = current_setting('carillon.tenant', true)) with check (tenant_id = current_setting('carillon.tenant', true));
grant select on carillon.rate_limits to carillon_api; -- lent by the engine alone

-- Hidden from GET /api/notifications; what had become of the event stays readable under /v1/events.
alter table carillon.events add column deleted_at timestamptz;
