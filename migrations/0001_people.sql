-- Everyone who ever signed in: `id` is the token's `sub`, verbatim.
create table people (
    id text primary key check (length(id) between 1 and 255),
    name text not null,
    image text,
    -- Active assistant chats. A counter, so that the cap is one conditional update and cannot be raced.
    assistant_chats integer not null default 0 check (assistant_chats >= 0),
    last_seen_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
) with (fillfactor = 80);

-- How far each person's inbox has come: the ETag of their polls and the `id:` of their event stream.
-- Narrow and apart from `people`, for it is written with every event.
create table inbox_heads (
    user_id text primary key references people (id) on delete cascade,
    version bigint not null default 0
) with (fillfactor = 50);

-- What happened, per person and contiguous by version. It points at the chat and its seq; what a message says is read
-- from the message, so that a late reader gets the current text. No foreign key: news of a deleted chat outlives it.
create table inbox (
    user_id text not null references people (id) on delete cascade,
    version bigint not null,
    chat_id uuid not null,
    seq bigint,
    event text not null,
    message_id uuid,
    data jsonb,
    created_at timestamptz not null default now(),
    primary key (user_id, version)
);

-- Serves the sweeper, which trims what is older than the inbox keeps.
create index inbox_created_at on inbox (created_at);
