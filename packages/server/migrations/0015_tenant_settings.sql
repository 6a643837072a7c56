-- What a tenant says of its events (domain/tenant.ts: unknown_type, base_url, locale, default_recipients) stands in its settings.

-- Other processes ask whose settings have changed lately, every few seconds.
create index tenants_updated_idx on carillon.tenants (updated_at);

-- What the templates of a delivery's channel missed when they were rendered to be sent; null: nothing. Rows without take no room for it.
alter table carillon.deliveries add column warnings json;
