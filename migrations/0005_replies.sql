-- The AI's answering of one message. `id` is also the id of the assistant message it will write.
create table replies (
    id uuid primary key,
    chat_id uuid not null references chats (id) on delete cascade,
    -- Who asked, and for which organisation: whose budget it spends.
    asked_by text not null references people (id) on delete cascade,
    org_id text,
    prompt_seq bigint not null,
    state text not null check (state in ('queued', 'streaming', 'completed', 'failed', 'stopped')),
    attempt integer not null default 0,
    -- Whoever holds the newest fence writes; every write names it, so a worker that lost its lease writes nothing.
    fence uuid,
    lease_until timestamptz,
    stop_requested_at timestamptz,
    -- Why it failed, as a stable word for clients and operators.
    failure text,
    model text,
    input_tokens bigint,
    output_tokens bigint,
    cached_tokens bigint,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    ended_at timestamptz,
    check (state <> 'streaming' or (fence is not null and lease_until is not null))
) with (fillfactor = 70);

-- One reply a chat is written at a time, whatever races.
create unique index replies_one_streaming on replies (chat_id) where state = 'streaming';
-- Who is next in a chat, and what the sweeper looks through: open replies only, so it stays small.
create index replies_open on replies (chat_id, prompt_seq) where state in ('queued', 'streaming');
create index replies_prompt on replies (chat_id, prompt_seq);
create index replies_asked_by on replies (asked_by);

-- The text of a running reply as it comes; deleted with the reply's end, when the message holds it all.
create table reply_parts (
    reply_id uuid not null references replies (id) on delete cascade,
    attempt integer not null,
    -- Where this part starts, in UTF-8 bytes of the attempt's text.
    byte_offset integer not null,
    text text not null,
    primary key (reply_id, attempt, byte_offset)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
