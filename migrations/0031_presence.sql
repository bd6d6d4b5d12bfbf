-- Who is online: by Pusher's presence webhooks, or by the heartbeat of those without Pusher.

alter table people
    -- Online until then, unless something says otherwise. Reading it needs nothing else.
    add column online_until timestamptz;

-- Which of Pusher's presence channels a person is in. Webhooks may come late, twice and in any order: the latest of each
-- kind decides, and a row stays for a while when they have left.
create table presences (
    user_id text not null references people (id) on delete cascade,
    channel text not null,
    came_at timestamptz,
    left_at timestamptz,
    -- When the row was last written: what is old is forgotten.
    noted_at timestamptz not null default now(),
    primary key (user_id, channel)
) with (fillfactor = 70);

create index presences_noted_at on presences (noted_at);

alter table presences enable row level security;
grant select, insert, update on presences to backtalk_app;
create policy presences_own on presences for all to backtalk_app using (user_id = (select caller()));

-- Somebody came to a channel or left one: whether they were online before, and are now. A webhook that never came is made
-- up for after a day.
--
-- A function, for what is in other channels must be looked at once the person's row is held: two that are left at once
-- would each take the other for still visited.
create function note_presence(person text, in_channel text, moment timestamptz, came boolean)
    returns table (was_online boolean, is_online boolean)
    language plpgsql volatile
    set search_path from current
    as $$
begin
    select coalesce(people.online_until > now(), false) into was_online from people where id = person for update;
    if not found then
        return;
    end if;
    insert into presences as known (user_id, channel, came_at, left_at)
    values (person, in_channel, case when came then least(moment, now()) end, case when not came then least(moment, now()) end)
    on conflict (user_id, channel) do update
    set came_at = greatest(known.came_at, excluded.came_at), left_at = greatest(known.left_at, excluded.left_at),
        noted_at = now();
    select exists (
        select 1 from presences p
        where p.user_id = person and p.came_at > coalesce(p.left_at, '-infinity') and p.came_at > now() - interval '1 day'
    ) into is_online;
    update people
    set online_until = case when is_online then now() + interval '1 day' else now() end,
        last_seen_at = greatest(last_seen_at, least(moment, now()))
    where id = person;
    return next;
end
$$;
