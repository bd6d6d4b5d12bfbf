-- An answer can be written again: the reply is opened once more, under its own id, and what it says replaces the message,
-- whose earlier text is kept as a version.
alter table replies add column version integer not null default 1;
-- Attempts that earlier versions took; each version has its own so many.
alter table replies add column earlier_attempts integer not null default 0;
-- The `clientId` of the request that opened it again: the same request twice opens it once.
alter table replies add column regenerated_by text;

alter table messages add column version integer not null default 1;
