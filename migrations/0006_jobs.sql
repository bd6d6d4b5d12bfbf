-- Work to be done after a commit. SQS only wakes it: a job whose wake-up was lost is found by the sweeper.
create table jobs (
    id uuid primary key,
    kind text not null check (kind in ('reply', 'welcome', 'follow_up', 'notice', 'webhook', 'erase')),
    chat_id uuid references chats (id) on delete cascade,
    reply_id uuid references replies (id) on delete cascade,
    payload jsonb not null default '{}',
    state text not null default 'waiting' check (state in ('waiting', 'dead')),
    -- Not before. The sweeper wakes what is due and unclaimed.
    run_at timestamptz not null default now(),
    attempts integer not null default 0,
    lease_until timestamptz,
    last_error text,
    created_at timestamptz not null default now()
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

create index jobs_due on jobs (run_at) where state = 'waiting';
create unique index jobs_reply on jobs (reply_id) where reply_id is not null;
create index jobs_chat on jobs (chat_id);
