-- What reacting needs: both functions see what was committed while their caller waited for the chat's row, and what its
-- own statement has done. That is why they are volatile.

-- Whether a message takes this emoji: it has it already, or has fewer than `most` different ones.
create function takes_emoji(message uuid, wanted text, most integer) returns boolean
    language plpgsql volatile
    set search_path from current
    as $$
begin
    return (
        select count(distinct emoji) < most or coalesce(bool_or(emoji = wanted), false)
        from reactions
        where message_id = message
    );
end
$$;

-- A message as it is at this moment, not as the statement that asks has found it.
create function message_now(chat uuid, place bigint) returns jsonb
    language plpgsql volatile
    set search_path from current
    as $$
begin
    return (select message_json(m) from messages m where m.chat_id = chat and m.seq = place);
end
$$;

-- One takes back one's own reaction; all of them go with a message that its sender deletes.
create policy reactions_removed_by_their_own on reactions as restrictive for delete to backtalk_app
    using (
        user_id = (select caller())
        or exists (
            select 1 from messages where messages.id = reactions.message_id and messages.sender_id = (select caller())
        )
    );
