-- Digests: several notifications for one user on one channel in one message. An item is a row of deliveries without a due time;
-- the message is an event, a notification and a delivery like any other, and its outcome becomes that of its items.

-- Who adds an item locks the row, as does who closes it: an item is either in the message or in the next digest, whichever process
-- does what. Not partitioned: there is one row for many deliveries, and those that have ended are swept.
create table carillon.digests (
  tenant_id       text collate "C" not null references carillon.tenants on delete cascade,
  id              uuid not null,
  slot            text collate "C" not null,         -- hash of user, channel, address and key: as an index entry they would be too long
  open            boolean not null default true,     -- takes items
  user_id         text collate "C" not null,
  channel         text not null,
  address         text not null,
  key             text collate "C" not null,         -- what goes together: router/digest.ts
  items           integer not null,                  -- that ever came in
  low             uuid not null,                     -- bounds of their ids, so that statements name their partitions
  high            uuid not null,
  opened_at       timestamptz not null,
  closes_at       timestamptz not null,
  held_until      timestamptz,                       -- it was due in quiet hours
  closed_at       timestamptz,
  delivery_id     uuid,                              -- of its message; null while there is none, and when nothing was left to say
  notification_id uuid,                              -- of the same
  settled_at      timestamptz,                       -- its items have ended
  primary key (id, tenant_id)
) with (fillfactor = 70);
-- Each begins with what it is asked by: with the tenant first, a plan made while there were few digests could take any of them.
create unique index digests_open_idx on carillon.digests (slot, tenant_id) where open;
create index digests_due_idx on carillon.digests (closes_at) where closed_at is null;
-- What a killed process, a cancellation or an erasure has left to settle is found by walking through it.
create index digests_unsettled_idx on carillon.digests (id) where closed_at is not null and settled_at is null;
create index digests_settled_idx on carillon.digests (settled_at) where settled_at is not null;
create index digests_delivery_idx on carillon.digests (delivery_id, tenant_id) where delivery_id is not null;
create index digests_user_idx on carillon.digests (user_id, tenant_id);

alter table carillon.digests enable row level security;
alter table carillon.digests force row level security;
create policy engine on carillon.digests to carillon_engine using (true) with check (true);
create policy api on carillon.digests to carillon_api
  using (tenant_id = current_setting('carillon.tenant', true)) with check (tenant_id = current_setting('carillon.tenant', true));
grant select, update, delete on carillon.digests to carillon_api; -- opened by the engine alone

-- Of an item. Once its digest has closed the item is `sending` under the digest's id as its lease, and still without a due time:
-- a cancellation comes too late from then on, and no claim sees it.
alter table carillon.deliveries add column digest_id uuid;
create index deliveries_digest_idx on carillon.deliveries (digest_id) where digest_id is not null;
