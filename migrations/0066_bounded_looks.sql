-- As `uncounted_after`, of a read position that moves: what lies between the old place and the new one is counted where that is
-- less than what lies after the new one. Somebody who reads a page of a chat of 100,000 unread messages has passed 50.
--
-- Volatile, as that is: the caller holds the person's row of `members`, and what was committed while it waited is seen here. For
-- moves at which no notice is marked by itself.
create function uncounted_at(
    chat uuid, from_place bigint, from_number bigint, from_uncounted bigint, place bigint, number bigint, person text
) returns bigint
    language plpgsql volatile
    set search_path from current
    as $$
declare
    passed bigint := abs(number - from_number);
    passed_uncounted bigint;
begin
    if passed > (select c.last_number from chats c where c.id = chat) - number then
        return uncounted_after(chat, place, number, person);
    end if;
    passed_uncounted := passed - (
        select count(*) from messages m
        where m.chat_id = chat and m.seq > least(from_place, place) and m.seq <= greatest(from_place, place)
            and m.sender_id is distinct from person and m.deleted_at is null and m.read_at is null
    );
    return from_uncounted - sign(number - from_number)::bigint * passed_uncounted;
end
$$;

-- The first event that waits of each webhook in each chat: what waits behind it, and what was parked before, is not looked at.
create index jobs_webhook_waiting on jobs (webhook_id, chat_id, place) where webhook_id is not null and state = 'waiting';
