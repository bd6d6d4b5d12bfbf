-- Full-text search over one's own messages.
--
-- The words of a message are indexed together with its chat and the block of 1,024 seqs that it lies in: `chat.block/word`.
-- So a search reads what its own chats say and nothing else, however much everybody writes; a common word in a busy chat is
-- read block by block, newest first, and no further than a page needs; and the words of one message lie side by side in
-- the index, so that a send touches a page or two of it.

-- Where the words of a part of a chat stand in the index: its id in base64, which is shorter, and its block.
--
-- What an index calls may name nothing of ours, for whoever restores a dump has no search path.
create function search_key(chat uuid, place bigint) returns text
    language plpgsql immutable strict parallel safe
    as $$
begin
    return rtrim(translate(encode(uuid_send(chat), 'base64'), '/', '_'), '=') || '.' || to_hex(place >> 10) || '/';
end
$$;

-- The words of a message as they are indexed. What is longer than any word, or beyond any text's end, is left out: Postgres
-- would refuse to store what it cannot index.
create function search_words(chat uuid, place bigint, content text) returns tsvector
    language plpgsql immutable strict parallel safe
    as $$
declare
    key text := rtrim(translate(encode(uuid_send(chat), 'base64'), '/', '_'), '=') || '.' || to_hex(place >> 10) || '/';
begin
    return array_to_tsvector(array(
        select key || lexeme
        from unnest(to_tsvector('pg_catalog.simple', left(content, 50000)))
        where octet_length(lexeme) <= 1024
    ));
end
$$;

-- Without the pending list: every search would read all of it once for each of a person's chats.
create index messages_search on messages using gin (search_words(chat_id, seq, content)) with (fastupdate = off);

-- What is looked for: `websearch_to_tsquery`, which takes any text, with the last word as the beginning of one while it is
-- being typed.
create function search_query(q text) returns tsquery
    language plpgsql immutable strict
    as $$
declare
    parsed text := websearch_to_tsquery('pg_catalog.simple', q)::text;
begin
    if q ~ '\w$' then
        -- Not of a word that is excluded: "-the" must not hide "theatre".
        parsed := regexp_replace(parsed, '(^|[^!])(''(?:[^'']|'''')*'')$', '\1\2:*');
    end if;
    return parsed::tsquery;
end
$$;

-- A message that was found, and where it stands in the order of results.
create type found_message as (created_at timestamptz, id uuid, chat_id uuid, seq bigint);

-- The newest messages of the caller's chats that match, before a place in that order.
--
-- Chats are searched block by block, those first that have the newest messages, a few at a time and then more: once there
-- are enough results, and no block left that could have a newer one, the rest is not looked at. Times may be out of order
-- by as long as a send waits, so blocks are told apart by a minute more.
--
-- It runs as its owner, for under a policy no index of words is used: it asks for the caller's memberships itself.
create function search_messages(
    wanted tsquery, only_chat uuid, before_at timestamptz, before_id uuid, most integer
) returns setof found_message
    language plpgsql stable security definer
    set search_path from current
    set enable_seqscan = off
    as $$
declare
    slack constant interval := interval '1 minute';
    -- Exclusions and neighbourhood are no matter for the index.
    words constant text := regexp_replace(querytree(wanted), ' <(-|\d+)> ', ' & ', 'g');
    -- With room for a key in each word: U+0001 is in none.
    template constant text := regexp_replace(words, '''((?:[^'']|'''')*)''', E'''\x01\\1''', 'g');
    is_words_alone constant boolean := wanted::text !~ '[!<]';
    found found_message[] := '{}';
    keys text[];
    bounds timestamptz[];
    at integer := 1;
    few integer := 8;
    probe tsquery;
begin
    if caller() is null or words in ('', 'T') then
        return;
    end if;
    -- The blocks of my chats, and until when each has messages. All but the largest chats have one.
    select array_agg(search_key(chat_id, block << 10) order by until desc), array_agg(until order by until desc)
    into keys, bounds
    from (
        select
            c.id as chat_id, block,
            case when block = c.last_message_seq >> 10 then c.last_message_at else later.created_at end as until,
            case when block > 0 then earlier.created_at end as since
        from members m
        join chats c on c.id = m.chat_id
        cross join lateral generate_series(m.visible_after >> 10, c.last_message_seq >> 10) as block
        left join lateral (
            -- messages_pkey: the next block begins where this one ends.
            select created_at from messages
            where chat_id = c.id and block < c.last_message_seq >> 10 and seq >= (block + 1) << 10
            order by seq limit 1
        ) as later on true
        left join lateral (
            select created_at from messages
            where chat_id = c.id and block > 0 and seq >= block << 10
            order by seq limit 1
        ) as earlier on true
        where m.user_id = caller() and (only_chat is null or m.chat_id = only_chat)
    ) as blocks
    where before_at is null or since is null or since <= before_at + slack;

    while at <= coalesce(cardinality(keys), 0) loop
        exit when cardinality(found) >= most and found[most].created_at > bounds[at] + slack;
        select string_agg('( ' || replace(template, E'\x01', key) || ' )', ' | ')::tsquery
        into probe
        from unnest(keys[at : at + few - 1]) as key;
        with matching as materialized (
            select m.created_at, m.id, m.chat_id, m.seq
            from messages m
            where search_words(m.chat_id, m.seq, m.content) @@ probe
                and (before_at is null or (m.created_at, m.id) < (before_at, before_id))
                and m.deleted_at is null and m.type <> 'ERROR'
                and (is_words_alone or to_tsvector('pg_catalog.simple', m.content) @@ wanted)
        ),
        candidates as (
            select created_at, id, chat_id, seq from unnest(found)
            union all
            -- What was said before somebody joined may not be theirs to see.
            select matching.created_at, matching.id, matching.chat_id, matching.seq
            from matching
            join members m on m.chat_id = matching.chat_id and m.user_id = caller() and matching.seq > m.visible_after
        ),
        newest as (
            select created_at, id, chat_id, seq from candidates order by created_at desc, id desc limit most
        )
        select coalesce(
            array_agg((created_at, id, chat_id, seq)::found_message order by created_at desc, id desc), '{}'
        )
        into found
        from newest;
        at := at + few;
        few := least(few * 2, 128);
    end loop;
    return query select * from unnest(found);
end
$$;
