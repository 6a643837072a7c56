-- Channels that are told later than the others: not before this time, and then only if the event type's condition still holds (it stands in
-- the event's request, as it was when the event was accepted). Null for all others, so that nothing is written or read for them.
alter table carillon.deliveries add column delayed_until timestamptz;

-- Recurring events: each row makes events at the times of its cron expression. `next_at` moves in the transaction that accepts the event of
-- the time before, and only from the time at which it stood: whichever process is first, each time is accepted once. Null: paused, or over.
create table carillon.recurring_events (
  tenant_id     text collate "C" not null references carillon.tenants on delete cascade,
  id            uuid not null,
  name          text not null,
  content       jsonb not null,              -- a body of POST /v1/events or /v1/notifications
  cron          text not null,
  time_zone     text not null,
  starts_at     timestamptz,
  ends_at       timestamptz,
  active        boolean not null,            -- a person's switch
  next_at       timestamptz,
  revision      integer not null default 1,  -- counts changes: what was read before one is not accepted after it
  last_at       timestamptz,                 -- the time that was accepted last, or that could not be
  last_event_id uuid,
  last_error    jsonb,                       -- why it could not be
  created_at    timestamptz not null default carillon.now(),
  updated_at    timestamptz not null default carillon.now(),
  primary key (tenant_id, id)
);
create index recurring_events_next_idx on carillon.recurring_events (next_at) where next_at is not null;
alter table carillon.recurring_events enable row level security;
alter table carillon.recurring_events force row level security;
create policy engine on carillon.recurring_events to carillon_engine using (true) with check (true);
create policy api on carillon.recurring_events to carillon_api
  using (tenant_id = current_setting('carillon.tenant', true)) with check (tenant_id = current_setting('carillon.tenant', true));
grant select, insert, update, delete on carillon.recurring_events to carillon_api;
