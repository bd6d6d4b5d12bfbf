-- Which uploads are shown with a message, so that what nobody shows any more can be deleted, row and object.

alter table attachments
    -- As the uploader's device calls it.
    add column file_name text,
    -- How many messages show it. Counted by triggers, so that no send, deletion or cascade can forget to.
    add column uses integer not null default 0,
    -- Since when nobody does; of no meaning while somebody does.
    add column unused_since timestamptz not null default now();

-- Serves the sweeper: what is in use is not in it.
create index attachments_unused on attachments (unused_since) where uses = 0;

-- How many messages more, or fewer, show which uploads. It runs as its owner: a chat's owner deletes the messages of others,
-- and nobody counts by hand.
create function count_uses(senders text[], shown jsonb[], more integer) returns void
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    used uuid[] := array(
        -- A message that shows an upload twice uses it once.
        select a.id
        from unnest(senders, shown) with ordinality as m (sender, attachments, place)
        cross join lateral (
            select distinct regexp_replace(one ->> 'url', '^s3://[^/]+/', '') as object_key
            from jsonb_array_elements(m.attachments) as one
            where one ->> 'url' like 's3://%'
        ) as named
        join attachments a on a.owner_id = m.sender and a.object_key = named.object_key
    );
begin
    -- One after the other in order of id, so that two who count the same uploads cannot deadlock.
    perform 1 from attachments where id = any (used) order by id for update;
    update attachments a
    -- A count that was wrong must not forbid a deletion.
    set uses = greatest(a.uses + more * counted.times, 0), unused_since = now()
    from (select id, count(*) as times from unnest(used) as id group by id) as counted
    where a.id = counted.id;
end
$$;

create function attachments_are_shown() returns trigger
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    perform count_uses(array[new.sender_id], array[new.attachments], 1);
    return null;
end
$$;

create function attachments_are_withdrawn() returns trigger
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    perform count_uses(array[old.sender_id], array[old.attachments], -1);
    return null;
end
$$;

create function attachments_are_gone() returns trigger
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    perform count_uses(array_agg(sender_id), array_agg(attachments), -1) from gone
    where attachments <> '[]'
    having count(*) > 0;
    return null;
end
$$;

create trigger attachments_shown after insert on messages
    for each row when (new.attachments <> '[]') execute function attachments_are_shown();
-- A deleted message keeps its row and loses its attachments.
create trigger attachments_withdrawn after update of attachments on messages
    for each row when (old.attachments <> '[]' and new.attachments = '[]') execute function attachments_are_withdrawn();
-- All messages of a deleted chat together.
create trigger attachments_gone after delete on messages
    referencing old table as gone for each statement execute function attachments_are_gone();

revoke execute on function count_uses from public;

-- Whoever acts for a person makes uploads and looks them up; counts and deletions are the system's.
revoke update, delete on attachments from backtalk_app;
