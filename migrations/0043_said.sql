-- Whom a message names, as it is shown.
alter table messages add column mentions text[] not null default '{}';

-- The same for those who are named, to be told how often since they read: a range of the primary key for each chat, and
-- only as many rows as there are mentions. It needs nobody to keep a count right as read positions move.
create table mentions (
    chat_id uuid not null,
    user_id text not null references people (id) on delete cascade,
    seq bigint not null,
    primary key (chat_id, user_id, seq),
    foreign key (chat_id, seq) references messages (chat_id, seq) on delete cascade
);

-- Serve an edit or a deletion, and the erasure of a person.
create index mentions_message on mentions (chat_id, seq);
create index mentions_user on mentions (user_id);

alter table mentions enable row level security;
grant select, insert, delete on mentions to backtalk_app;
-- One's own, and those that one has made oneself.
create policy mentions_seen on mentions for select to backtalk_app
    using (
        user_id = (select caller())
        or exists (
            select 1 from messages m
            where m.chat_id = mentions.chat_id and m.seq = mentions.seq and m.sender_id = (select caller())
        )
    );
-- The message may be of the same statement, so it is not looked for.
create policy mentions_added on mentions for insert to backtalk_app with check (caller_is_member(chat_id));
create policy mentions_removed on mentions for delete to backtalk_app
    using (
        exists (
            select 1 from messages m
            where m.chat_id = mentions.chat_id and m.seq = mentions.seq and m.sender_id = (select caller())
        )
    );

-- How often a person was named after a place: at most 100, which clients show as many. Of a chat's mentions it reads no
-- more, however many there are.
create function mentions_after(chat uuid, place bigint, person text) returns bigint
    language plpgsql stable
    set search_path from current
    as $$
begin
    return (
        select count(*) from (
            select from mentions where chat_id = chat and user_id = person and seq > place limit 100
        ) as named
    );
end
$$;

-- What a reply shows of the message that it replies to.
create function reply_preview(original messages) returns jsonb
    language sql stable
    as $$
        select jsonb_build_object(
            'id', original.id, 'senderId', original.sender_id, 'role', original.role,
            'content', left(original.content, 200), 'deletedAt', original.deleted_at
        )
    $$;

-- A message as the store reads it: with its reactions, emojis in the order in which they were first used, and with what it
-- replies to as that is now (one look-up in messages_id_key). A deleted one has neither reactions nor content.
--
-- Not in SQL, for a function of that language is planned anew by each statement that calls it, and most do. It runs as its
-- owner: whoever holds a message has passed the policy of `messages`, and to ask again for each reaction and each original
-- takes three times as long.
create or replace function message_json(m messages) returns jsonb
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return to_jsonb(m) || jsonb_build_object(
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

-- The next two are volatile for the same reason: what others did while their caller waited must not outlive it.

-- Names others in a message than before.
create function name_people(chat uuid, place bigint, people text[], sender text) returns void
    language plpgsql volatile
    set search_path from current
    as $$
begin
    delete from mentions where chat_id = chat and seq = place and user_id <> all (people);
    insert into mentions (chat_id, user_id, seq)
    select chat, named, place from unnest(people) as named
    where named <> sender
    on conflict do nothing;
end
$$;

-- Takes from a deleted message all that hangs on it.
create function strip_message(chat uuid, place bigint, message uuid) returns void
    language plpgsql volatile
    set search_path from current
    as $$
begin
    delete from mentions where chat_id = chat and seq = place;
    delete from reactions where message_id = message;
    delete from message_versions where message_id = message;
end
$$;
