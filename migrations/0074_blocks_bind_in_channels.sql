-- A block binds in what two people share with others, too: neither is put into a channel by the other, shown to the other
-- as online, or called by the other's mention.

-- Everybody with whom a person has a block, whoever made it: a range of blocks_pkey and one of blocks_blocked. It runs as
-- its owner, for nobody sees who has blocked them.
create function blocked_with(person text) returns setof text
    language plpgsql stable security definer rows 5
    set search_path from current
    as $$
begin
    return query
    select blocked from blocks where blocker = person
    union
    select blocker from blocks where blocked = person;
end
$$;

-- Whether a person shares a chat with somebody with whom they have a block.
create function meets_blocked(chat uuid, person text) returns boolean
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return exists (
        select 1 from blocked_with(person) as other
        where exists (select 1 from members where chat_id = chat and user_id = other)
    );
end
$$;

-- A mention between two of whom one has blocked the other: it is in the text, is found by an erasure, and calls nobody.
alter table mentions add column silent boolean not null default false;

create or replace function mentions_after(chat uuid, place bigint, person text) returns bigint
    language plpgsql stable
    set search_path from current
    as $$
begin
    return (
        select count(*) from (
            select from mentions where chat_id = chat and user_id = person and seq > place and not silent limit 100
        ) as named
    );
end
$$;

create or replace function name_people(chat uuid, place bigint, people text[], sender text) returns void
    language plpgsql volatile
    set search_path from current
    as $$
begin
    delete from mentions where chat_id = chat and seq = place and user_id <> all (people);
    insert into mentions (chat_id, user_id, seq, silent)
    select chat, named, place, blocked_between(named, sender) from unnest(people) as named
    where named <> sender
    on conflict do nothing;
end
$$;

-- Those whom a message names, as its reader is to know of them: whoever is named in silence is not told so, and neither is
-- an organisation's own server. Everybody else sees the text as it was sent.
create function named_to_caller(m messages) returns text[]
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return array(
        select named from unnest(m.mentions) with ordinality as listed (named, place)
        where named is distinct from coalesce(caller(), named) or not exists (
            select 1 from mentions
            where mentions.chat_id = m.chat_id and mentions.user_id = named and mentions.seq = m.seq and silent
        )
        order by place
    );
end
$$;

-- As before, but for whom it names.
create or replace function message_json(m messages) returns jsonb
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return to_jsonb(m) || jsonb_build_object(
        'mentions', case when m.mentions = '{}' then m.mentions else named_to_caller(m) end,
        'reactions', case
            when m.deleted_at is not null then '[]'
            else coalesce(
                (
                    select jsonb_agg(jsonb_build_object('emoji', emoji, 'userIds', user_ids) order by first_at, emoji)
                    from (
                        select
                            emoji, jsonb_agg(user_id order by created_at, user_id) as user_ids, min(created_at) as first_at
                        from reactions
                        where message_id = m.id
                        group by emoji
                    ) as by_emoji
                ),
                '[]'
            )
        end,
        'reply_preview', case
            when m.reply_to is not null then (
                select reply_preview(original) from messages original
                where original.id = m.reply_to and original.chat_id = m.chat_id
            )
        end
    );
end
$$;
