-- What was said before somebody joined, where that is not theirs to see, is not shown by what came later either.

-- As before, but what a message replies to is shown to those alone who may see it. Without a caller the system reads.
create or replace function message_json(m messages) returns jsonb
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return to_jsonb(m) || jsonb_build_object(
        'mentions', case when m.mentions = '{}' then m.mentions else named_to_caller(m) end,
        'reactions', case
            when m.deleted_at is not null then '[]'
            else coalesce(
                (
                    select jsonb_agg(jsonb_build_object('emoji', emoji, 'userIds', user_ids) order by first_at, emoji)
                    from (
                        select
                            emoji, jsonb_agg(user_id order by created_at, user_id) as user_ids, min(created_at) as first_at
                        from reactions
                        where message_id = m.id
                        group by emoji
                    ) as by_emoji
                ),
                '[]'
            )
        end,
        'reply_preview', case
            when m.reply_to is not null then (
                select reply_preview(original) from messages original
                where original.id = m.reply_to and original.chat_id = m.chat_id and (
                    caller() is null or exists (
                        select 1 from members me
                        where me.chat_id = m.chat_id and me.user_id = caller() and me.visible_after < original.seq
                    )
                )
            )
        end
    );
end
$$;

-- What of a message is not for all who are told of it. Volatile, for the message may be of the caller's own statement,
-- which holds the chat's row: nobody joins meanwhile.
--
-- blind: those who do not see the message at all. without_preview: those who do not see what it replies to. unnamed: those
-- whom it names in silence.
create function withheld(chat uuid, place bigint) returns jsonb
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    return (
        select jsonb_build_object(
            'blind', array(select user_id from members where chat_id = chat and visible_after >= m.seq),
            'without_preview', array(
                select members.user_id
                from messages original
                join members on members.chat_id = chat and members.visible_after >= original.seq
                where original.id = m.reply_to and original.chat_id = chat
            ),
            'unnamed', array(select user_id from mentions where chat_id = chat and mentions.seq = m.seq and silent)
        )
        from messages m
        where m.chat_id = chat and m.seq = place
    );
end
$$;
