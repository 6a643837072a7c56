-- What telling a set of users has come to, readable while it runs. Counted by each chunk in the transaction that tells it and
-- moves the cursor: a kill loses both or neither, and reading looks at one row instead of a row for each user.
alter table carillon.events
  add column audience_size      integer, -- null: not an audience, or not begun; an estimate until everybody has been decided on
  add column audience_created   integer,
  add column audience_failed    integer,
  add column audience_throttled integer,
  add column audience_skipped   integer;
