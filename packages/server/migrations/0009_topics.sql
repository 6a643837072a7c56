-- Named sets of users that an event can address. A topic is made by its first subscriber.
create table carillon.topics (
  tenant_id  text collate "C" not null references carillon.tenants on delete cascade,
  id         text collate "C" not null,
  created_at timestamptz not null default carillon.now(),
  primary key (tenant_id, id)
);

-- Ends with the topic and with the user: whoever is erased is in no set any more.
-- The key is the order in which routing reads a topic, in chunks.
create table carillon.topic_subscriptions (
  tenant_id  text collate "C" not null,
  topic_id   text collate "C" not null,
  user_id    text collate "C" not null,
  created_at timestamptz not null default carillon.now(),
  primary key (tenant_id, topic_id, user_id),
  foreign key (tenant_id, topic_id) references carillon.topics (tenant_id, id) on delete cascade,
  foreign key (tenant_id, user_id) references carillon.users (tenant_id, id) on delete cascade
);
create index topic_subscriptions_user_idx on carillon.topic_subscriptions (tenant_id, user_id, topic_id);

do $$
declare t text;
begin
  foreach t in array array['topics', 'topic_subscriptions'] loop
    execute format('alter table carillon.%I enable row level security', t);
    execute format('alter table carillon.%I force row level security', t);
    execute format('create policy engine on carillon.%I to carillon_engine using (true) with check (true)', t);
    execute format('create policy api on carillon.%I to carillon_api using (tenant_id = current_setting(''carillon.tenant'', true)) with check (tenant_id = current_setting(''carillon.tenant'', true))', t);
    execute format('grant select, insert, update, delete on carillon.%I to carillon_api', t);
  end loop;
end $$;
