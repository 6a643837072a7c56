-- The catalog: what is known of each type of event, in immutable versions.

-- One row per content: an event is pinned to the version that was current when it was accepted, and is rendered from it as
-- long as it is kept. The tenant '' is the installation: types from the operator's files hold for every tenant that has none
-- of its own of that name. It is no row of carillon.tenants, so that there is no foreign key.
create table carillon.event_type_versions (
  tenant_id  text collate "C" not null,
  version    uuid not null,                   -- from the SHA-256 of type and files
  type       text collate "C" not null,
  files      json not null,                   -- path -> text, with the layouts and partials that they use
  created_at timestamptz not null default carillon.now(),
  primary key (tenant_id, version)
);
create index event_type_versions_type_idx on carillon.event_type_versions (tenant_id, type, created_at);

-- Which version of a type is current. A retired one keeps its row, with no version: it hides the installation's type.
create table carillon.event_types (
  tenant_id  text collate "C" not null,
  type       text collate "C" not null,
  version    uuid,
  summary    json,                            -- title, category, severity …: lists need not read the files
  updated_at timestamptz not null default carillon.now(),
  primary key (tenant_id, type)
);
-- Other processes ask what has changed lately.
create index event_types_updated_idx on carillon.event_types (updated_at);

-- A tenant reads the installation's rows beside its own, and writes only its own.
do $$
declare t text;
begin
  foreach t in array array['event_types','event_type_versions'] loop
    execute format('alter table carillon.%I enable row level security', t);
    execute format('alter table carillon.%I force row level security', t);
    execute format('create policy engine on carillon.%I to carillon_engine using (true) with check (true)', t);
    execute format('create policy api on carillon.%I to carillon_api using (tenant_id = current_setting(''carillon.tenant'', true)) with check (tenant_id = current_setting(''carillon.tenant'', true))', t);
    execute format('create policy api_installation on carillon.%I for select to carillon_api using (tenant_id = '''' and current_setting(''carillon.tenant'', true) <> '''')', t);
    execute format('grant select, insert, update, delete on carillon.%I to carillon_api', t);
  end loop;
end $$;

-- The version an event was accepted with; null without a catalog entry.
alter table carillon.events add column version uuid;

-- What its templates missed; null: nothing.
alter table carillon.notifications add column warnings json;
