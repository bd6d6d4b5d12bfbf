-- Tokens used and reserved per person or organisation and period. `reserved` is the sum of its open holds.
create table budgets (
    subject text not null check (subject in ('person', 'organisation')),
    subject_id text not null,
    period_start timestamptz not null,
    used bigint not null default 0 check (used >= 0),
    reserved bigint not null default 0 check (reserved >= 0),
    primary key (subject, subject_id, period_start)
) with (fillfactor = 50);

-- Limits that differ from the configured default.
create table budget_limits (
    subject text not null check (subject in ('person', 'organisation')),
    subject_id text not null,
    tokens bigint not null check (tokens >= 0),
    primary key (subject, subject_id)
);

-- What a reply has reserved until it is settled. No foreign key: a hold outlives a deleted chat, so that its tokens
-- go back to the budget instead of vanishing with the row.
create table holds (
    reply_id uuid primary key,
    person_id text not null,
    org_id text,
    period_start timestamptz not null,
    tokens bigint not null check (tokens >= 0),
    created_at timestamptz not null default now()
);

create index holds_created_at on holds (created_at);
