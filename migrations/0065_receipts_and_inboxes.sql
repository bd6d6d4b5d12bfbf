-- As of 0056, but that a receipt is told to all in chats of at most twenty members, not a hundred: a message that all of n
-- read is n times n rows, and as many messages of Pusher. In larger ones it is told to the reader's own devices alone, and where each of
-- the others stands can be read from the chat.
create or replace function tell(
    chat uuid, at_seq bigint, what text, message uuid, detail jsonb, besides text[] default '{}'
)
    returns setof text
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    held text[];
begin
    if what = 'message.created' then
        perform announce(chat, what, message, null);
    end if;
    if what = 'reply.ended' or what in ('message.created', 'message.updated') and detail ? 'state' then
        perform announce(chat, 'reply.ended', message, detail);
    end if;
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
        if what = 'read' and cardinality(held) > 20 then
            held := array[detail ->> 'userId'];
        end if;
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

-- Rows come with every event and go after a week: what the trim has deleted is to be written again soon.
alter table inbox set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
