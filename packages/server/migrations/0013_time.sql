-- Channels that are told later than the others: not before this time, and then only if the event type's condition still holds (it stands in
-- the event's request, as it was when the event was accepted). Null for all others, so that nothing is written or read for them.
alter table carillon.deliveries add column delayed_until timestamptz;
