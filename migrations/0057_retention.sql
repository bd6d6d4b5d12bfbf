-- Retention: what is older than an organisation keeps of a kind of chat is deleted, a bite at a time.

-- An organisation's own rule, before the configured one. `days` null: kept for ever.
create table retention (
    org_id text not null,
    kind text not null check (kind in ('direct', 'channel', 'assistant', 'post', 'task')),
    days integer check (days > 0),
    primary key (org_id, kind)
);
-- How far a round of the sweeper has come.
create table sweeps (
    name text primary key,
    place uuid not null
);
alter table retention enable row level security;
alter table sweeps enable row level security;

-- How many messages after a read position, of which `number` is the ordinal, do not count as unread for a person. It counts
-- those that do, and takes the rest: own ones, deleted ones, notices that were read one by one, and what retention took.
--
-- A function, and a volatile one, for its query sees what was committed while its caller waited for the person's row of
-- `members`: a deletion that the waiting statement itself cannot see must not be counted again.
drop function uncounted_after(uuid, bigint, text);
create function uncounted_after(chat uuid, place bigint, number bigint, person text) returns bigint
    language plpgsql volatile
    set search_path from current
    as $$
begin
    return (
        select c.last_number - number - (
            select count(*) from messages m
            where m.chat_id = chat and m.seq > place
                and m.sender_id is distinct from person and m.deleted_at is null and m.read_at is null
        )
        from chats c where c.id = chat
    );
end
$$;

-- Deletes at most so many of a chat's messages from before a time, what was read first, and nothing while an answer is being
-- written. Whoever had not read one has one less to read. Returns how many.
--
-- The locks of a deletion: the chat, the members, the messages, the inboxes.
create function expire_messages(chat uuid, before timestamptz, most integer) returns integer
    language plpgsql volatile
    set search_path from current
    as $$
declare
    expired integer;
begin
    perform 1 from chats where id = chat for update;
    if not found or exists (select 1 from replies where chat_id = chat and state in ('queued', 'streaming')) then
        return 0;
    end if;
    perform 1 from members where chat_id = chat order by user_id for update;
    with old as (
        select seq from (
            -- Of the oldest a few more than are deleted, so that what was read can go before them.
            select m.seq, m.created_at, m.read_at is not null as is_read from messages m
            where m.chat_id = chat
            order by m.seq
            limit 4 * most
        ) as oldest
        where created_at < before
        order by is_read desc, seq
        limit most
    ),
    gone as (
        delete from messages m using old
        where m.chat_id = chat and m.seq = old.seq
        returning m.seq, m.sender_id, m.deleted_at, m.read_at
    ),
    missed as (
        select r.user_id, count(*) as messages
        from gone
        join members r on r.chat_id = chat and r.read_seq < gone.seq
        where gone.sender_id is distinct from r.user_id and gone.deleted_at is null and gone.read_at is null
        group by r.user_id
    ),
    uncounted as (
        update members r set uncounted = r.uncounted + missed.messages
        from missed
        where r.chat_id = chat and r.user_id = missed.user_id
        returning r.user_id, r.read_seq, r.read_at, r.delivered_seq
    ),
    told as materialized (
        -- So that whoever polls by the inbox's version asks anew.
        select tell(chat, null, 'read', null, jsonb_build_object(
            'userId', user_id, 'readSeq', read_seq, 'readAt', read_at, 'deliveredSeq', delivered_seq
        ))
        from (select * from uncounted order by user_id) as each
    )
    select count(*) into expired from gone where (select count(*) from told) >= 0;
    return expired;
end
$$;

revoke execute on function expire_messages from public;
