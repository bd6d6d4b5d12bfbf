-- One row a conversation: hot and narrow, for every message and every other event takes its next `last_seq` here.
create table chats (
    id uuid primary key,
    kind text not null check (kind in ('direct', 'channel', 'assistant', 'post', 'task')),
    title text,
    -- Who made it; null in direct chats, which belong to both.
    owner_id text references people (id) on delete set null,
    org_id text,
    -- The two people of a direct chat, in text order, so that a pair has one chat.
    direct_low text references people (id) on delete set null,
    direct_high text references people (id) on delete set null,
    post_id uuid references posts (id) on delete cascade,
    task_id text,
    -- The last sequence number given: to a message or to any other event. Contiguous, for a rollback gives it back.
    last_seq bigint not null default 0,
    -- The last message's ordinal: 1, 2, 3 over messages alone. Unread is its difference to a member's `read_number`.
    last_number bigint not null default 0,
    last_message_seq bigint,
    last_message_at timestamptz,
    -- What chat lists are ordered by: the last message, or else the creation. Not indexed, so that updates stay HOT.
    active_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check ((kind = 'post') = (post_id is not null)),
    check ((kind = 'task') = (task_id is not null))
) with (fillfactor = 70);

create unique index chats_direct_pair on chats (direct_low, direct_high) where kind = 'direct';
create unique index chats_post on chats (post_id) where post_id is not null;
create unique index chats_task on chats (owner_id, task_id) where kind = 'task';
create index chats_owner on chats (owner_id);

create table members (
    chat_id uuid not null references chats (id) on delete cascade,
    user_id text not null references people (id) on delete cascade,
    role text not null default 'member' check (role in ('owner', 'admin', 'member')),
    -- The read position as a seq, and the ordinal of the last message at or before it.
    read_seq bigint not null default 0,
    read_number bigint not null default 0,
    -- Messages after the read position that do not count as unread: own ones, deleted ones, notices read one by one.
    uncounted bigint not null default 0,
    read_at timestamptz,
    delivered_seq bigint not null default 0,
    joined_seq bigint not null default 0,
    muted boolean not null default false,
    archived boolean not null default false,
    joined_at timestamptz not null default now(),
    primary key (chat_id, user_id)
) with (fillfactor = 70);

create index members_user on members (user_id, chat_id);

-- Tells every member of a chat of one event: their inboxes move by one version each. Returns who was told.
--
-- Inboxes are locked in person order, so that two chats with the same people cannot deadlock. It runs as its owner, for
-- news must reach all members, whatever the sender may see of them.
create function tell(chat uuid, at_seq bigint, what text, message uuid, detail jsonb) returns setof text
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    return query
    with readers as materialized (
        select h.user_id
        from members m
        join inbox_heads h on h.user_id = m.user_id
        where m.chat_id = chat
        order by h.user_id
        for update of h
    ),
    moved as (
        update inbox_heads h set version = h.version + 1
        from readers
        where h.user_id = readers.user_id
        returning h.user_id, h.version
    ),
    noted as (
        insert into inbox (user_id, version, chat_id, seq, event, message_id, data)
        select moved.user_id, moved.version, chat, at_seq, what, message, detail
        from moved
    )
    select moved.user_id from moved;
end
$$;

-- Locks the inboxes of several chats' members at once and in person order, before each chat is told.
create function hold_inboxes(chats uuid[]) returns void
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    perform 1
    from inbox_heads h
    where h.user_id in (select m.user_id from members m where m.chat_id = any(chats))
    order by h.user_id
    for update;
end
$$;
