-- The core path: tenants, users, events, notifications, deliveries, attempts, inbox rows.
-- Run by carillon_engine, which owns every object here. Names are always qualified: nothing relies on search_path.

-- The one clock of every statement. Inlined by the planner; tests replace it by one with an offset.
create function carillon.now() returns timestamptz language sql stable parallel safe as 'select now()';

-- What the installation itself has to remember (development's secrets). No tenant: carillon_api has no right to it.
create table carillon.settings (
  name  text primary key,
  value text not null
);

-- Who else is running against this database: hints are published only when somebody listens.
create table carillon.processes (
  id      uuid primary key,
  roles   text[] not null,
  seen_at timestamptz not null
);

create table carillon.tenants (
  id         text collate "C" primary key,
  created_at timestamptz not null default carillon.now()
);

-- Keys of a tenant (purpose: webhook, token), sealed with AES-256-GCM before they get here.
create table carillon.tenant_secrets (
  tenant_id  text collate "C" not null references carillon.tenants on delete cascade,
  purpose    text not null,
  sealed     bytea not null,
  created_at timestamptz not null default carillon.now(),
  primary key (tenant_id, purpose)
);

create table carillon.api_keys (
  tenant_id    text collate "C" not null references carillon.tenants on delete cascade,
  id           uuid not null,
  hash         bytea not null,               -- HMAC-SHA256 of the key with the installation's pepper
  name         text not null,
  hint         text not null,                -- the key's first characters, for people
  scopes       text[] not null,
  created_at   timestamptz not null default carillon.now(),
  expires_at   timestamptz,
  revoked_at   timestamptz,
  last_used_at timestamptz,
  primary key (tenant_id, id)
);
create unique index api_keys_hash_idx on carillon.api_keys (hash, tenant_id);

-- Addresses and preferences stand in the user's row: routing reads one row per recipient.
create table carillon.users (
  tenant_id      text collate "C" not null references carillon.tenants on delete cascade,
  id             text collate "C" not null,
  email          text,
  phone          text,
  webhook_url    text,
  roles          text[] not null default '{}',
  locale         text,
  time_zone      text,
  active         boolean not null default true,
  last_active_at timestamptz,
  attributes     jsonb not null default '{}',
  preferences    jsonb not null default '{}',
  suppressed     jsonb not null default '{}', -- channel -> address that was refused for good
  created_at     timestamptz not null default carillon.now(),
  updated_at     timestamptz not null default carillon.now(),
  primary key (tenant_id, id)
);

-- Inbox counts and the sequence change in the transaction of the notification, under this row's lock:
-- counts cannot drift, and numbers become visible in order.
create table carillon.inbox (
  tenant_id text collate "C" not null,
  user_id   text collate "C" not null,
  sequence  bigint not null default 0,
  floor     bigint not null default 0,        -- a stream that resumes below it must load the list again
  unread    integer not null default 0,
  total     integer not null default 0,
  primary key (tenant_id, user_id)
) with (fillfactor = 70);

-- First answer per request key. Not partitioned: expired rows are overwritten in place and swept in small batches.
create table carillon.idempotency_keys (
  tenant_id    text collate "C" not null,
  route        text not null,                 -- method and concrete path; an item's own key has the route `item`
  key          text collate "C" not null,
  request_hash bytea not null,                -- SHA-256 of the raw body
  answer       json not null,
  created_at   timestamptz not null default carillon.now(),
  expires_at   timestamptz not null,
  primary key (tenant_id, route, key)
);
create index idempotency_keys_expiry_idx on carillon.idempotency_keys (expires_at);

-- Partitioned tables: range by UUIDv7, one partition a day, made ahead and dropped by store/partitions.ts.
-- The primary key starts with the id because tenant first cost 20-25 % of the pipeline.
create table carillon.events (
  id             uuid not null,
  tenant_id      text collate "C" not null,
  type           text not null,
  status         smallint not null,           -- domain/event.ts
  severity       smallint not null,
  tags           text[] not null,
  accepted_at    timestamptz not null,
  due_at         timestamptz,                 -- when (the rest of) it is to be routed; null once nothing is left
  scheduled_for  timestamptz,
  expires_at     timestamptz,
  routed_at      timestamptz,
  cancelled_at   timestamptz,
  correlation_id text,
  traceparent    text,
  request        json not null,               -- what the caller said: domain/event.ts EventRequest
  cursor         text collate "C",            -- a large audience: the last user id that has been routed
  failures       smallint not null default 0, -- routing attempts that threw
  primary key (id, tenant_id)
) partition by range (id);
create index events_due_idx on carillon.events (due_at) where due_at is not null;

create table carillon.notifications (
  id               uuid not null,
  tenant_id        text collate "C" not null,
  event_id         uuid not null,
  user_id          text collate "C" not null,
  type             text not null,
  subject          text not null,
  body             text not null,
  action_url       text,
  severity         smallint not null,
  tags             text[] not null,
  metadata         json not null,
  created_at       timestamptz not null,
  inbox_at         timestamptz,               -- set when the in-app delivery completes; only then counted and numbered
  created_sequence bigint,
  sequence         bigint,                    -- of its last change in the inbox
  read_at          timestamptz,
  clicked_at       timestamptz,
  archived_at      timestamptz,
  deleted_at       timestamptz,
  primary key (id, tenant_id)
) partition by range (id);
create index notifications_user_idx on carillon.notifications (tenant_id, user_id, id);
create index notifications_sequence_idx on carillon.notifications (tenant_id, user_id, sequence) where sequence is not null;

create table carillon.deliveries (
  id               uuid not null,
  tenant_id        text collate "C" not null,
  event_id         uuid not null,
  notification_id  uuid,                      -- null for destinations and for recipients that were dropped
  user_id          text collate "C",
  channel          text not null,             -- '*' for a dropped recipient
  address          text,
  lane             text,                      -- what shares one far end: concurrency is limited per lane
  status           smallint not null,         -- domain/delivery.ts
  reason           smallint not null,         -- domain/reason.ts
  critical         boolean not null default false,
  due_at           timestamptz,               -- pending, held: when due; sending: end of the lease; else null
  expires_at       timestamptz,
  created_at       timestamptz not null,
  sent_at          timestamptz,               -- first lease
  finished_at      timestamptz,
  attempt_count    smallint not null default 0,
  entry_count      smallint not null default 0, -- rows in attempts
  max_attempts     smallint,                  -- null: the channel's policy
  lease_token      uuid,
  cancel_requested boolean not null default false,
  last_error       text,
  primary key (id, tenant_id),
  check ((status = 2) = (lease_token is not null))
) partition by range (id);
-- One index for claim and sweep alike. Starts with due_at, so that it stays flat whatever the backlog.
create index deliveries_due_idx on carillon.deliveries (due_at) where due_at is not null;
create index deliveries_event_idx on carillon.deliveries (event_id);

create table carillon.attempts (
  delivery_id     uuid not null,
  number          smallint not null,          -- counts the entries of a delivery's timeline, from 1
  tenant_id       text collate "C" not null,
  kind            smallint not null,          -- domain/delivery.ts ENTRY_KINDS
  at              timestamptz not null,
  duration_ms     integer,
  provider        text,
  outcome         smallint,                   -- domain/delivery.ts OUTCOMES
  reason          smallint not null,
  status          integer,                    -- HTTP or SMTP code
  detail          text,
  response        text,                       -- cut at 4 KiB
  next_attempt_at timestamptz,
  primary key (delivery_id, number, tenant_id)
) partition by range (delivery_id);

-- Isolation. The engine serves all tenants; a reading request exactly one, named in its own transaction.
-- Policies by role cost nothing; one that looked at a setting for everyone cost 35-40 % of the pipeline.
do $$
declare t text; tenant_column text;
begin
  foreach t in array array['tenants','tenant_secrets','api_keys','users','inbox','idempotency_keys','events','notifications','deliveries','attempts'] loop
    tenant_column := case t when 'tenants' then 'id' else 'tenant_id' end;
    execute format('alter table carillon.%I enable row level security', t);
    execute format('alter table carillon.%I force row level security', t);
    execute format('create policy engine on carillon.%I to carillon_engine using (true) with check (true)', t);
    execute format('create policy api on carillon.%I to carillon_api using (%I = current_setting(''carillon.tenant'', true)) with check (%I = current_setting(''carillon.tenant'', true))', t, tenant_column, tenant_column);
    execute format('grant select, insert, update, delete on carillon.%I to carillon_api', t);
  end loop;
end $$;
revoke insert, update, delete on carillon.tenants from carillon_api;
revoke insert, update, delete on carillon.tenant_secrets from carillon_api;
grant usage on schema carillon to carillon_api;
