-- Failover between the providers of a channel: who was asked last, and what came of it (domain/delivery.ts OUTCOMES). One that
-- may have accepted is asked again under the same id before anybody else is; after a refusal for now it is the next one's turn.
-- Null until a first attempt has failed, so that nothing is written for what arrives at once.
alter table carillon.deliveries add column last_provider text, add column last_outcome smallint;
