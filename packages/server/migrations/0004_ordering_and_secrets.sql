-- Deliveries in order: those of one lane and ordering key go out one at a time. And users' webhook secrets that were rotated.

-- In which order events with an ordering key were accepted: ids come from several clocks, a sequence from one place.
create sequence carillon.ordering;

-- 48 bits, so that every client reads it exactly. Two keys with one hash wait for each other, which harms nobody.
create function carillon.ordering_hash(text) returns bigint language sql immutable strict parallel safe
  as $$ select ('x' || left(encode(sha256(convert_to($1, 'UTF8')), 'hex'), 12))::bit(48)::bigint $$;

alter table carillon.events
  add column ordering        bigint,          -- hash of tenant and key; null without a key
  add column ordering_number bigint;
-- A delivery does not go before an event that was accepted earlier and is still to be routed.
create index events_ordering_idx on carillon.events (ordering, ordering_number) where ordering is not null and due_at is not null;

-- What waits for its turn has no due_at, so that the claim neither sees nor passes over it. Without a key all three are null, and no index grows.
alter table carillon.deliveries
  add column ordering        bigint,
  add column ordering_number bigint,
  add column queue           bigint;          -- hash of lane and key
create index deliveries_queue_idx on carillon.deliveries (queue, ordering_number, id) where queue is not null and status = 1 and due_at is null;
-- At most one of a queue: pending, held or sending.
create index deliveries_turn_idx on carillon.deliveries (queue) where queue is not null and (due_at is not null or status = 3);

-- Secrets are derived from the tenant's key and the user's id; a rotated one from its number as well. A user without a row has number 0.
create table carillon.webhook_secrets (
  tenant_id      text collate "C" not null references carillon.tenants on delete cascade,
  user_id        text collate "C" not null,
  number         integer not null,
  previous_until timestamptz,                 -- until then the one before signs too; null: not at all
  changed_at     timestamptz not null,
  primary key (tenant_id, user_id)
);
-- Processes ask for what has changed since they asked last.
create index webhook_secrets_changed_idx on carillon.webhook_secrets (changed_at);
alter table carillon.webhook_secrets enable row level security;
alter table carillon.webhook_secrets force row level security;
create policy engine on carillon.webhook_secrets to carillon_engine using (true) with check (true);
create policy api on carillon.webhook_secrets to carillon_api
  using (tenant_id = current_setting('carillon.tenant', true)) with check (tenant_id = current_setting('carillon.tenant', true));
grant select, insert, update, delete on carillon.webhook_secrets to carillon_api;
