-- Channels: people who come and go, and what they see of before.

-- The seq up to which a chat's history is not this member's to see: 0 for all of it. It is fixed by the configuration at
-- the time of joining, so that a later change of it neither hides what was seen nor shows what was kept.
alter table members
    add column visible_after bigint not null default 0,
    add constraint members_read_what_they_see check (read_seq >= visible_after);

drop policy messages_of_members on messages;
create policy messages_of_members on messages for all to backtalk_app
    using (exists (
        select 1 from members
        where members.chat_id = messages.chat_id and members.user_id = (select caller())
            and messages.seq > members.visible_after
    ));

-- Who is in a chat by now: what was committed while the calling statement waited for the chat's row included, which the
-- statement itself does not see. It runs as its owner: whoever calls it holds the chat's row.
create function members_now(chat uuid) returns setof text
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    return query select user_id from members where chat_id = chat;
end
$$;

create function is_in_now(chat uuid, person text) returns boolean
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    return exists (select 1 from members where chat_id = chat and user_id = person);
end
$$;

-- The second lock on joining and leaving: owner and admins add and remove, and everyone may go.
create function caller_manages(chat uuid) returns boolean
    language sql stable security definer
    set search_path from current
    as $$
        select exists (
            select 1 from members where chat_id = chat and user_id = caller() and role in ('owner', 'admin')
        )
    $$;

create or replace function caller_may_add_members(chat uuid) returns boolean
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    return caller_manages(chat) or exists (
        select 1 from chats where id = chat and (owner_id = caller() or caller() in (direct_low, direct_high))
    );
end
$$;

drop policy members_removed on members;
create policy members_removed on members for delete to backtalk_app
    using (user_id = (select caller()) or caller_manages(chat_id));

-- People who were named before they ever signed in: their id is their name until they do.
create function introduce(ids text[]) returns void
    language sql volatile security definer
    set search_path from current
    as $$
        insert into people (id, name) select id, id from unnest(ids) as named (id) order by id on conflict (id) do nothing;
        insert into inbox_heads (user_id) select id from unnest(ids) as named (id) order by id on conflict (user_id) do nothing;
    $$;

-- Tells every member of a chat of one event, and those besides who are not in it any more: their inboxes move by one
-- version each. Returns who was told.
--
-- Inboxes are locked in person order, so that two chats with the same people cannot deadlock. It runs as its owner, for
-- news must reach all members, whatever the sender may see of them.
drop function tell(uuid, bigint, text, uuid, jsonb);
create function tell(chat uuid, at_seq bigint, what text, message uuid, detail jsonb, besides text[] default '{}')
    returns setof text
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    held text[];
begin
    if at_seq is not null and cardinality(besides) = 0 then
        -- Whoever takes a seq holds the chat's row: nobody comes or goes meanwhile.
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
    else
        held := besides || array(select m.user_id from members m where m.chat_id = chat);
        perform 1 from inbox_heads h where h.user_id = any(held) order by h.user_id for update;
        -- Looked for anew: somebody may have been removed while their inbox was waited for, and then this is not theirs.
        return query
        with moved as (
            update inbox_heads h set version = h.version + 1
            where h.user_id = any(held) and (
                h.user_id = any(besides)
                or exists (select 1 from members m where m.chat_id = chat and m.user_id = h.user_id)
            )
            returning h.user_id, h.version
        ),
        noted as (
            insert into inbox (user_id, version, chat_id, seq, event, message_id, data)
            select moved.user_id, moved.version, chat, at_seq, what, message, detail
            from moved
        )
        select moved.user_id from moved;
    end if;
end
$$;

-- What concerns one person's devices alone: how they keep a chat, not what happens in it.
create function tell_only(person text, chat uuid, what text, detail jsonb) returns void
    language sql volatile security definer
    set search_path from current
    as $$
        with moved as (
            update inbox_heads set version = version + 1 where user_id = person returning user_id, version
        )
        insert into inbox (user_id, version, chat_id, event, data)
        select user_id, version, chat, what, detail from moved;
    $$;

-- Notices that were read one by one count as little as own and deleted messages. In other chats no message has `read_at`.
create or replace function uncounted_after(chat uuid, place bigint, person text) returns bigint
    language plpgsql volatile
    set search_path from current
    as $$
begin
    return (
        select count(*) from messages
        where chat_id = chat and seq > place
            and (sender_id = person or deleted_at is not null or read_at is not null)
    );
end
$$;

-- The ordinal of the last message at or before a place, of what is committed by now.
create function number_at(chat uuid, place bigint) returns bigint
    language plpgsql volatile
    set search_path from current
    as $$
begin
    return coalesce(
        (select number - 1 from messages where chat_id = chat and seq > place order by seq limit 1),
        (select last_number from chats where id = chat)
    );
end
$$;
