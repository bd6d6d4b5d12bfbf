create table messages (
    chat_id uuid not null references chats (id) on delete cascade,
    seq bigint not null,
    id uuid not null unique,
    -- Its ordinal among the chat's messages; `seq` also numbers edits, reactions and the like.
    number bigint not null,
    -- The seq of the last event that touched this message: what changed since N is one range of its index.
    changed_seq bigint not null,
    role text not null check (role in ('user', 'assistant', 'system')),
    type text not null default 'TEXT'
        check (type in ('TEXT', 'SCHEDULING_UPDATE', 'CONFIRMATION', 'CLARIFICATION', 'CANCELLATION', 'ERROR', 'INFO')),
    status text not null default 'sent' check (status in ('sent', 'failed')),
    sender_id text references people (id) on delete set null,
    client_id text,
    content text not null,
    metadata jsonb not null default '{}',
    attachments jsonb not null default '[]',
    reply_to uuid,
    -- {inputTokens, outputTokens, cachedTokens, model} of an assistant's message.
    usage jsonb,
    -- Notices alone are read one by one; elsewhere the member's read position says it all.
    read_at timestamptz,
    created_at timestamptz not null default now(),
    edited_at timestamptz,
    deleted_at timestamptz,
    primary key (chat_id, seq)
);

create index messages_changed on messages (chat_id, changed_seq);
-- A retry is never a second message.
create unique index messages_client_id on messages (chat_id, sender_id, client_id) where client_id is not null;
-- Serves the erasure of a person.
create index messages_sender on messages (sender_id);

create table reactions (
    message_id uuid not null references messages (id) on delete cascade,
    emoji text not null,
    user_id text not null references people (id) on delete cascade,
    created_at timestamptz not null default now(),
    primary key (message_id, emoji, user_id)
);

create index reactions_user on reactions (user_id);

create table attachments (
    id uuid primary key,
    owner_id text not null references people (id) on delete cascade,
    object_key text not null unique,
    mime_type text not null,
    size bigint not null check (size > 0),
    created_at timestamptz not null default now()
);

create index attachments_owner on attachments (owner_id);

-- A message with its reactions, as the store reads it; emojis in the order in which they were first used.
create function message_json(m messages) returns jsonb
    language sql stable
    as $$
        select to_jsonb(m) || jsonb_build_object('reactions', coalesce(
            (
                select jsonb_agg(jsonb_build_object('emoji', emoji, 'userIds', user_ids) order by first_at, emoji)
                from (
                    select emoji, jsonb_agg(user_id order by created_at, user_id) as user_ids, min(created_at) as first_at
                    from reactions
                    where message_id = m.id
                    group by emoji
                ) as by_emoji
            ),
            '[]'
        ))
    $$;
