-- When an inbox began to count its versions: somebody who was erased and comes back counts from 0 again, and what is
-- remembered of the inbox before (an ETag) must not be taken for what it says now.
--
-- `now()` is one value for all rows that there are, which Postgres keeps beside the table: nothing is rewritten.
alter table inbox_heads add column begun_at timestamptz not null default now();
