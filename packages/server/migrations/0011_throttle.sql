-- How many notifications a user may get in a window: exact under any number of routers, because they count under one row's lock.

-- A row for each user and bucket (domain/throttle.ts) that was throttled lately. The times are those of the transactions that told
-- the user; they are kept a minute longer than the window, since transactions get the lock in another order than they began.
create table carillon.throttles (
  tenant_id  text collate "C" not null references carillon.tenants on delete cascade,
  user_id    text collate "C" not null,
  bucket     text collate "C" not null,
  hits       timestamptz[] not null,
  max_hits   integer not null,
  window_s   integer not null,
  granted    integer not null,               -- by the last statement: RETURNING can't subtract what was there before
  expires_at timestamptz not null,           -- then nothing in it counts any more
  primary key (tenant_id, user_id, bucket)
) with (fillfactor = 70);
create index throttles_expiry_idx on carillon.throttles (expires_at);
alter table carillon.throttles enable row level security;
alter table carillon.throttles force row level security;
create policy engine on carillon.throttles to carillon_engine using (true) with check (true);
create policy api on carillon.throttles to carillon_api
  using (tenant_id = current_setting('carillon.tenant', true)) with check (tenant_id = current_setting('carillon.tenant', true));
grant select, delete on carillon.throttles to carillon_api; -- counted by the engine alone
