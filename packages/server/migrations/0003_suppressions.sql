-- Addresses that are not written to again: mailboxes that bounced or complained, and what a person put here.
-- A mailbox or a phone number may be several users', or come inline and belong to nobody: so the list knows addresses, not users.
-- users.suppressed stays for what is a user's own registration and ends with it (a webhook's URL that answered 410): a channel
-- is either of this kind or of that (domain/suppression.ts), and webhook batches ask for nothing more than the users' rows.
create table carillon.suppressions (
  tenant_id   text collate "C" not null references carillon.tenants on delete cascade,
  channel     text collate "C" not null,
  address     text collate "C" not null,      -- a mailbox in lower case, its domain in ASCII
  reason      smallint not null,              -- domain/suppression.ts; the weightier one stays
  source      text not null,                  -- api, report, provider, unsubscribe
  detail      text,                           -- what the far end, or the person, said
  delivery_id uuid,                           -- what came back
  created_at  timestamptz not null default carillon.now(),
  primary key (tenant_id, channel, address)
);
alter table carillon.suppressions enable row level security;
alter table carillon.suppressions force row level security;
create policy engine on carillon.suppressions to carillon_engine using (true) with check (true);
create policy api on carillon.suppressions to carillon_api
  using (tenant_id = current_setting('carillon.tenant', true)) with check (tenant_id = current_setting('carillon.tenant', true));
grant select, insert, update, delete on carillon.suppressions to carillon_api;
