-- How many messages after a place do not count as unread for a person: own ones and deleted ones.
--
-- A function, and a volatile one, for its query sees what was committed while its caller waited for the person's row of
-- `members`: a deletion that the waiting statement itself cannot see must not be counted again.
create function uncounted_after(chat uuid, place bigint, person text) returns bigint
    language plpgsql volatile
    set search_path from current
    as $$
begin
    return (
        select count(*) from messages
        where chat_id = chat and seq > place and (sender_id = person or deleted_at is not null)
    );
end
$$;
