-- Preferences in layers, and quiet hours that hold.

-- What a tenant says of everybody's preferences, below what each user says himself. A table of its own: routing reads it
-- through a cache, once in a few seconds and tenant, and nothing else of the tenant's row concerns it.
create table carillon.preference_defaults (
  tenant_id   text collate "C" primary key references carillon.tenants on delete cascade,
  preferences jsonb not null,               -- domain/preference.ts Preferences
  updated_at  timestamptz not null default carillon.now()
);
alter table carillon.preference_defaults enable row level security;
alter table carillon.preference_defaults force row level security;
create policy engine on carillon.preference_defaults to carillon_engine using (true) with check (true);
create policy api on carillon.preference_defaults to carillon_api
  using (tenant_id = current_setting('carillon.tenant', true)) with check (tenant_id = current_setting('carillon.tenant', true));
grant select, insert, update, delete on carillon.preference_defaults to carillon_api;

-- What is held (domain/delivery.ts: 3) for a user is looked at again as soon as he changes what he wants.
create index deliveries_held_idx on carillon.deliveries (tenant_id, user_id) where status = 3;
