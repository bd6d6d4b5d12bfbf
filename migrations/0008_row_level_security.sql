-- The second lock: functions that act for a person run as `backtalk_app`, which sees only that person's chats, whatever
-- a query forgets. The first lock is the membership check in every query. Workers, the sweeper and migrations run as
-- the owner of the tables, whom these policies do not bind.
do $$
begin
    create role backtalk_app nologin;
exception
    -- Roles belong to the server: another database of it, or a migration at the same moment, made it already.
    when duplicate_object or unique_violation then null;
end
$$;

do $$
begin
    -- Superusers and those who have it already need no grant, and two grants at once would collide.
    if not pg_has_role(current_user, 'backtalk_app', 'member') then
        execute format('grant backtalk_app to %I', current_user);
    end if;
    execute format('grant usage on schema %I to backtalk_app', current_schema());
end
$$;

-- Names who acts, for this statement alone. Queries call it as `(select acting_as($1))` in their `where`: a condition
-- without columns becomes a one-time filter above the scan, so it runs before any policy looks for the caller.
create function acting_as(person text) returns boolean
    language sql volatile
    as $$ select set_config('backtalk.caller', person, true) is not null $$;

create function caller() returns text
    language sql stable
    as $$ select nullif(current_setting('backtalk.caller', true), '') $$;

-- Whether the caller is in a chat. It runs as its owner: the policy of `members` cannot ask `members` itself.
create function caller_is_member(chat uuid) returns boolean
    language sql stable security definer
    set search_path from current
    as $$ select exists (select 1 from members where chat_id = chat and user_id = caller()) $$;

alter table people enable row level security;
alter table inbox_heads enable row level security;
alter table inbox enable row level security;
alter table posts enable row level security;
alter table chats enable row level security;
alter table members enable row level security;
alter table messages enable row level security;
alter table reactions enable row level security;
alter table attachments enable row level security;
alter table replies enable row level security;
alter table reply_parts enable row level security;
alter table jobs enable row level security;
alter table budgets enable row level security;
alter table budget_limits enable row level security;
alter table holds enable row level security;

grant select, insert, update, delete on
    people, inbox_heads, inbox, posts, chats, members, messages, reactions, attachments, replies, reply_parts, jobs
    to backtalk_app;

-- Names and pictures are known to all; only one's own row is written.
create policy people_seen on people for select to backtalk_app using (true);
create policy people_added on people for insert to backtalk_app with check (id = (select caller()));
create policy people_changed on people for update to backtalk_app using (id = (select caller()));

-- Inboxes are written by `tell` alone, which runs as its owner.
create policy inbox_heads_own on inbox_heads for all to backtalk_app using (user_id = (select caller()));
create policy inbox_own on inbox for select to backtalk_app using (user_id = (select caller()));

create policy posts_own on posts for all to backtalk_app using (owner_id = (select caller()));

create policy chats_of_members on chats for all to backtalk_app
    using (
        owner_id = (select caller())
        or (select caller()) in (direct_low, direct_high)
        or exists (select 1 from members where members.chat_id = chats.id and members.user_id = (select caller()))
    );

create policy members_seen on members for select to backtalk_app
    using (user_id = (select caller()) or caller_is_member(chat_id));
create policy members_added on members for insert to backtalk_app with check (true);
create policy members_changed on members for update to backtalk_app
    using (user_id = (select caller()) or caller_is_member(chat_id)) with check (true);
create policy members_removed on members for delete to backtalk_app
    using (user_id = (select caller()) or caller_is_member(chat_id));

create policy messages_of_members on messages for all to backtalk_app
    using (exists (select 1 from members where members.chat_id = messages.chat_id and members.user_id = (select caller())));

-- The policy of `messages` applies inside.
create policy reactions_of_members on reactions for all to backtalk_app
    using (exists (select 1 from messages where messages.id = reactions.message_id))
    with check (user_id = (select caller()));

create policy attachments_own on attachments for all to backtalk_app using (owner_id = (select caller()));

create policy replies_of_members on replies for all to backtalk_app
    using (exists (select 1 from members where members.chat_id = replies.chat_id and members.user_id = (select caller())));
create policy reply_parts_of_members on reply_parts for all to backtalk_app
    using (exists (select 1 from replies where replies.id = reply_parts.reply_id));

create policy jobs_of_members on jobs for all to backtalk_app
    using (exists (select 1 from members where members.chat_id = jobs.chat_id and members.user_id = (select caller())));
