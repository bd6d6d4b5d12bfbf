-- Members see one another's messages and replies, but nobody adds one in another's name; and to react to a message one
-- must see it.
create policy messages_added_in_own_name on messages as restrictive for insert to backtalk_app
    with check (sender_id is null or sender_id = (select caller()));

create policy replies_added_in_own_name on replies as restrictive for insert to backtalk_app
    with check (asked_by = (select caller()));

-- The policy of `messages` applies inside.
create policy reactions_added_by_members on reactions as restrictive for insert to backtalk_app
    with check (exists (select 1 from messages where messages.id = reactions.message_id));
