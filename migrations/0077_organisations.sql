-- Which organisation somebody is of, as the token said with which they came last; null where none has said. It bounds who
-- may tell them something, where ORGANISATIONS says so.
alter table people add column org_id text;

-- Whether an organisation would reach somebody who is known to be of another one. Not where the task is another
-- organisation's already: that is said by `send_notice`. It runs as its owner, for an agent is no member of the chat.
create function beyond_organisation(person text, task text, organisation text) returns boolean
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return exists (select 1 from people where id = person and org_id <> organisation)
        and not exists (
            select 1 from chats
            where owner_id = person and task_id = task and kind = 'task' and org_id is distinct from organisation
        );
end
$$;
