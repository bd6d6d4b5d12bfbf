-- Which request to write an answer again was heard, by the client's key: a retry of any of them opens nothing, however many
-- others came since. Those that joined an answer which was being written are among them. They go with their answer.
create table regenerations (
    chat_id uuid not null,
    asked_by text not null references people (id) on delete cascade,
    client_id text not null,
    reply_id uuid not null references replies (id) on delete cascade,
    -- Whether it named the answer; else it asked for the newest one of then.
    is_named boolean not null,
    created_at timestamptz not null default now(),
    primary key (chat_id, asked_by, client_id)
);

-- Serve the end of an answer, and the erasure of a person.
create index regenerations_reply on regenerations (reply_id);
create index regenerations_asked_by on regenerations (asked_by);

-- The last of each answer is known from before.
insert into regenerations (chat_id, asked_by, client_id, reply_id, is_named)
select chat_id, asked_by, regenerated_by, id, false from replies where regenerated_by is not null
on conflict do nothing;

alter table regenerations enable row level security;
grant select, insert on regenerations to backtalk_app;
create policy regenerations_own on regenerations for all to backtalk_app using (asked_by = (select caller()));
