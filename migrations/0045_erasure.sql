-- What a person said, in the order of its ids: for the export and the erasure of one person. What nobody said is not in it.
create index messages_said_by on messages (sender_id, id) where sender_id is not null;
drop index messages_sender;

-- Who goes is looked for on both sides of a pair.
create index chats_direct_high on chats (direct_high) where direct_high is not null;

-- A person is erased by one job, however often it is asked for.
create unique index jobs_erase on jobs ((payload ->> 'userId')) where kind = 'erase';

-- What inboxes tell of a person within a time is told without them: of a reaction, that its message is as it is now; of all
-- else that they did or that was done to them, that the chat has changed; of what they did to others, that somebody did.
-- For the system alone: a person may change no inbox. How many rows named them.
create function forget_in_inboxes(person text, since timestamptz, up_to timestamptz) returns bigint
    language plpgsql
    set search_path from current
as $$
declare
    changed bigint;
begin
    with named as materialized (
        -- inbox_created_at
        select
            user_id, version,
            coalesce(data ->> 'userId' = person, false)
                or coalesce(data -> 'members' @> jsonb_build_array(jsonb_build_object('userId', person)), false)
                as is_about_them
        from inbox
        where created_at > since and created_at <= up_to and data is not null and (
            data ->> 'userId' = person or data ->> 'by' = person
            or data -> 'members' @> jsonb_build_array(jsonb_build_object('userId', person))
        )
        order by user_id, version
        for update
    )
    update inbox i
    set event = case
            when named.is_about_them and i.event = 'reaction.changed' then 'message.updated'
            when named.is_about_them then 'chat.updated'
            else i.event
        end,
        data = case when not named.is_about_them then i.data || '{"by": null}' end
    from named
    where i.user_id = named.user_id and i.version = named.version;
    get diagnostics changed = row_count;
    return changed;
end
$$;
