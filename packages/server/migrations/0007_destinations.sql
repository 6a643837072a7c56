-- Destinations: an account's own addresses, told of the events that are switched on for them.

-- `config` and the signing secrets are sealed with AES-256-GCM before they get here: the address of a chat channel is a credential.
create table carillon.destinations (
  tenant_id       text collate "C" not null references carillon.tenants on delete cascade,
  id              uuid not null,
  name            text not null,
  channel         text not null,
  config          bytea not null,
  secret          bytea not null,               -- what webhooks are signed with
  previous_secret bytea,                        -- signs too, until previous_until: receivers change over in between
  previous_until  timestamptz,
  active          boolean not null,             -- a person's switch
  events          jsonb not null,               -- event type or * -> true, false, null
  severities      smallint[] not null,          -- empty: any
  include_tags    text[] not null,
  exclude_tags    text[] not null,
  max_retries     smallint not null,
  retry_delays_ms bigint[] not null,
  disabled_at     timestamptz,                  -- Carillon's switch: after 410, or days of nothing but failure
  disabled_reason text,
  failing_since   timestamptz,                  -- first failure after the last success
  failures        integer not null default 0,   -- attempts since then
  last_error      text,
  created_at      timestamptz not null default carillon.now(),
  updated_at      timestamptz not null default carillon.now(),
  primary key (tenant_id, id)
);
alter table carillon.destinations enable row level security;
alter table carillon.destinations force row level security;
create policy engine on carillon.destinations to carillon_engine using (true) with check (true);
create policy api on carillon.destinations to carillon_api
  using (tenant_id = current_setting('carillon.tenant', true)) with check (tenant_id = current_setting('carillon.tenant', true));
grant select, insert, update, delete on carillon.destinations to carillon_api;

-- Null for deliveries to users. They are not in the index either, so that they do not pay for it.
alter table carillon.deliveries add column destination_id uuid;
create index deliveries_destination_idx on carillon.deliveries (destination_id, id) where destination_id is not null;
