-- Accepting takes what arrives for new and sends keys, events and COMMIT in one packet. This is what stops that COMMIT when a
-- key was known: the error aborts the transaction, and the batch is written again with a look at each key first.
create function carillon.require_new(is_new boolean) returns void language plpgsql as $$
begin
  if not is_new then
    raise exception 'an idempotency key was known' using errcode = 'CN001';
  end if;
end $$;
