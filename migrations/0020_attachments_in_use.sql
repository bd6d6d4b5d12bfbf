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

-- It runs as its owner: a chat's owner deletes the messages of others, and nobody counts by hand.
create function count_attachments() returns trigger
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    more integer := case when tg_op = 'INSERT' then 1 else -1 end;
    sender text := case when tg_op = 'INSERT' then new.sender_id else old.sender_id end;
    shown jsonb := case when tg_op = 'INSERT' then new.attachments else old.attachments end;
begin
    update attachments a
    -- A count that was wrong must not forbid a deletion.
    set uses = greatest(a.uses + more, 0), unused_since = now()
    from (
        -- One after the other in order of id, so that two messages with the same images cannot deadlock.
        select id from attachments
        where owner_id = sender and object_key in (
            select regexp_replace(one ->> 'url', '^s3://[^/]+/', '')
            from jsonb_array_elements(shown) as one
            where one ->> 'url' like 's3://%'
        )
        order by id
        for update
    ) as named
    where a.id = named.id;
    return null;
end
$$;

create trigger attachments_shown after insert on messages
    for each row when (new.attachments <> '[]') execute function count_attachments();
-- A deleted message keeps its row and loses its attachments.
create trigger attachments_withdrawn after update of attachments on messages
    for each row when (old.attachments <> '[]' and new.attachments = '[]') execute function count_attachments();
create trigger attachments_gone after delete on messages
    for each row when (old.attachments <> '[]') execute function count_attachments();

-- Whoever acts for a person makes uploads and looks them up; counts and deletions are the system's.
revoke update, delete on attachments from backtalk_app;
