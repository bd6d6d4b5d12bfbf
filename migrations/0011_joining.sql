-- The second lock on joining: nobody acting for a person puts anybody into a chat that is not theirs.

-- Whether the caller may add members. It is volatile, for it must see a chat that the same statement has opened, and runs
-- as its owner, for the caller does not see that chat yet.
create function caller_may_add_members(chat uuid) returns boolean
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    return caller_is_member(chat) or exists (
        select 1 from chats where id = chat and (owner_id = caller() or caller() in (direct_low, direct_high))
    );
end
$$;

drop policy members_added on members;
create policy members_added on members for insert to backtalk_app with check (caller_may_add_members(chat_id));

-- A membership never moves to another chat or person. A grant by column costs a send nothing; a policy would ask again.
revoke update on members from backtalk_app;
grant update (
    role, read_seq, read_number, uncounted, read_at, delivered_seq, joined_seq, muted, archived
) on members to backtalk_app;
