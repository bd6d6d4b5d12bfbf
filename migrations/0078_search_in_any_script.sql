-- Search finds what one can see and paste, in any script: addresses, paths, names with dots, hyphens or underscores, words
-- inside a run of Chinese, Japanese, Korean, Thai and their like, and the same letters however they are encoded.
--
-- Characters are named one by one, for classes such as \w depend on the server's locale.

-- What parts words: blanks, punctuation, and what is for private use.
create function search_parting() returns text
    language sql immutable parallel safe
    as $$
        select
            '\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7'
            '\u02c2-\u02c5\u02d2-\u02df\u0375\u037e\u0387\u055a-\u055f\u0589\u058a\u05be\u05c0\u05c3\u05c6\u05f3\u05f4'
            '\u0609-\u060d\u061b-\u061f\u066a-\u066d\u06d4\u0700-\u070d\u0964\u0965\u0970\u0df4\u0e3f\u0e4f\u0e5a'
            '\u0e5b\u0f04-\u0f14\u0f3a-\u0f3d\u0f85\u0fd0-\u0fda\u104a-\u104f\u10fb\u1360-\u1368\u1400\u166e\u1680'
            '\u169b\u169c\u16eb-\u16ed\u1735\u1736\u17d4-\u17db\u1800-\u180a\u1944\u1945\u1aa0-\u1aad\u1b5a-\u1b60'
            '\u1bfc-\u1bff\u1c3b-\u1c3f\u1c7e\u1c7f\u2000-\u200a\u2010-\u2029\u202f-\u203b\u203d-\u205f\u2cf9-\u2cff\u2e00-\u2e7f\u3000-\u3004'
            '\u3008-\u3020\u3030\u303d-\u303f\u30a0\u30fb\ua4fe\ua4ff\ua60d-\ua60f\ua673\ua6f2-\ua6f7\ua874-\ua877'
            '\ua8ce\ua8cf\ua8f8-\ua8fa\ua92e\ua92f\ua95f\ua9c1-\ua9cd\uaa5c-\uaa5f\uaaf0\uaaf1\uabeb\ue000-\uf8ff'
            '\ufd3e\ufd3f\ufe10-\ufe19\ufe30-\ufe6b\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\ufff0-\uffff'
    $$;

-- Arrows, symbols and emojis, each of which is a word.
create function search_signs() returns text
    language sql immutable parallel safe
    as $$ select '\u203c\u2190-\u2bff\U0001f000-\U0001faff' $$;

-- Scripts that are written without blanks, or whose words take endings as those do.
create function search_unparted() returns text
    language sql immutable parallel safe
    as $$
        select
            '\u0e01-\u0e4e\u0e80-\u0eff\u0f20-\u0f39\u0f3e-\u0fbc\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u19e0-\u19ff'
            '\u1a20-\u1aad\u3005-\u3007\u3021-\u302f\u3031-\u303c\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f'
            '\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9fe\uaa60-\uaa7f\uac00-\ud7a3\uf900-\ufaff'
            '\U00020000-\U000323af'
    $$;

-- The words of a text, in order: one function for what is stored and for what is looked for. Of a script without blanks
-- each character makes one with the next, and the first and the last of a run one alone: `ABC` is `A AB BC C`. What is
-- longer than any word is left out: Postgres would refuse to store what it cannot index. Its callers have the search path.
create function search_tokens(content text) returns text[]
    language plpgsql immutable strict parallel safe
    as $$
declare
    plain text;
begin
    if octet_length(content) = length(content) then
        plain := btrim(regexp_replace(lower(content), '[^a-z0-9]+', ' ', 'g'));
    else
        plain := regexp_replace(lower(normalize(content, nfkc)), '[' || search_parting() || ']+', ' ', 'g');
        -- Most of what is written has nothing of this.
        if plain ~ '[\u00ad\u034f-\U0010ffff]' then
            -- Nobody sees these, and where a sigma stands does not change its word.
            plain := translate(regexp_replace(
                plain,
                '[\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]+', '', 'g'
            ), 'ς', 'σ');
            plain := regexp_replace(plain, '([' || search_signs() || '])', ' \1 ', 'g');
            if plain ~ ('[' || search_unparted() || ']') then
                -- Each twice with a blank between, so that neighbours become words.
                plain := regexp_replace(plain, '([' || search_unparted() || ']+)', ' \1 ', 'g');
                plain := regexp_replace(plain, '([' || search_unparted() || '])', '\1 \1', 'g');
            end if;
        end if;
        plain := btrim(plain);
    end if;
    if octet_length(plain) <= 1024 then
        return array_remove(string_to_array(plain, ' '), '');
    end if;
    return array(
        select word
        from unnest(string_to_array(plain, ' ')) with ordinality as words (word, place)
        where word <> '' and octet_length(word) <= 1024
        order by place
    );
end
$$;

-- As before, of those words. It has a search path of its own, for whoever restores a dump has none.
create or replace function search_words(chat uuid, place bigint, content text) returns tsvector
    language plpgsql immutable strict parallel safe
    set search_path from current
    as $$
declare
    key text := rtrim(translate(encode(uuid_send(chat), 'base64'), '/', '_'), '=') || '.' || to_hex(place >> 10) || '/';
begin
    return array_to_tsvector(array(select key || token from unnest(search_tokens(left(content, 50000))) as token));
end
$$;

-- Every message anew. Who writes one waits meanwhile.
reindex index messages_search;

-- The words of a text with their places, for what the index does not know: neighbourhood and exclusions.
create function search_places(content text) returns tsvector
    language plpgsql immutable strict parallel safe
    set search_path from current
    as $$
declare
    tokens text[] := search_tokens(left(content, 50000));
    plain text := array_to_string(tokens, ' ');
begin
    -- Postgres' own parser is faster, and takes such words as they are, but for numbers with an exponent.
    if octet_length(plain) = length(plain) and plain !~ '[0-9]e[0-9]' then
        return to_tsvector('pg_catalog.simple', plain);
    end if;
    return coalesce(
        (
            -- No word has a quote or a backslash in it. Postgres tells 16,383 places apart.
            select string_agg('''' || token || ''':' || least(place, 16383), ' ')
            from unnest(tokens) with ordinality as found (token, place)
        ),
        ''
    )::tsvector;
end
$$;

-- What is asked, term by term: words, "phrases", -exclusions, and `or` between two terms. Words that touch, as those of an
-- address do, are a phrase, too. What is being typed at the end may be the beginning of a word, but not of one that is
-- excluded: "-the" must not hide "theatre".
create function search_terms(q text) returns table (tokens text[], excludes boolean, begins boolean, alternative boolean)
    language plpgsql immutable strict
    set search_path from current
    as $$
declare
    parts text[] := array(
        select piece[1] from regexp_matches(translate(q, '“”„', '"""'), '(-?"[^"]*"?|[^\s"]+)', 'g') as piece
    );
    part text;
    last text;
    is_or boolean := false;
    has_term boolean := false;
begin
    for nr in 1..cardinality(parts) loop
        part := parts[nr];
        if has_term and not is_or and lower(part) = 'or' and nr < cardinality(parts) then
            is_or := true;
            continue;
        end if;
        excludes := part ~ '^-[^-]';
        tokens := search_tokens(part);
        continue when tokens = '{}';
        begins := nr = cardinality(parts) and not excludes and search_tokens(right(q, 1)) <> '{}';
        -- Of a script without blanks, a text may go on before and after what is asked: what stands alone at an end of it is
        -- in the pair beside it, and without one it is the beginning of any pair.
        if search_tokens(tokens[1]) = array[tokens[1], tokens[1]] then
            tokens := tokens[2:];
        end if;
        last := tokens[cardinality(tokens)];
        if search_tokens(last) = array[last, last] then
            begins := cardinality(tokens) = 1 or length(tokens[cardinality(tokens) - 1]) <> 2
                or right(tokens[cardinality(tokens) - 1], 1) <> last;
            if not begins then
                tokens := trim_array(tokens, 1);
            end if;
        end if;
        alternative := is_or;
        is_or := false;
        has_term := true;
        return next;
    end loop;
end
$$;

-- What is looked for, of any text.
create or replace function search_query(q text) returns tsquery
    language plpgsql immutable strict
    set search_path from current
    as $$
declare
    term record;
    wanted text := '';
begin
    for term in select * from search_terms(q) loop
        wanted := wanted
            || case when wanted = '' then '' when term.alternative then ' | ' else ' & ' end
            || case when term.excludes then '!' else '' end
            || '( ''' || array_to_string(term.tokens, ''' <-> ''') || '''' || case when term.begins then ':*' else '' end || ' )';
    end loop;
    return wanted::tsquery;
end
$$;

-- A part of a text around the first match, with what matches between two marks. One window of the text is looked at after
-- the other, so that a long one costs no more than up to there.
create function search_snippet(content text, q text, opens text, closes text) returns text
    language plpgsql immutable strict
    set search_path from current
    as $$
declare
    step constant integer := 400;
    before constant integer := 80;
    after constant integer := 180;
    whole text := normalize(translate(left(content, 30000), opens || closes, ''), nfc);
    -- Words between blanks; open at the end where it is the beginning of a word.
    phrases text[] := array(
        select ' ' || array_to_string(tokens, ' ') || case when begins then '' else ' ' end
        from search_terms(q)
        where not excludes
    );
    part text;
    joined text;
begin
    for nr in 0..length(whole) / step loop
        -- Windows overlap by more than a query is long, and begin with a whole word where they can.
        part := substr(whole, nr * step + 1, 2 * step);
        if nr > 0 then
            part := regexp_replace(part, '^\S{0,100}\s+', '');
        end if;
        joined := ' ' || array_to_string(search_tokens(part), ' ') || ' ';
        exit when exists (select 1 from unnest(phrases) as phrase where strpos(joined, phrase) > 0);
        part := left(whole, 2 * step);
    end loop;
    return (
        with pieces as materialized (
            select
                matched.piece[1] as piece, place, matched.piece[1] ~ ('^[' || search_unparted() || ']') as is_unparted,
                sum(length(matched.piece[1])) over (order by place) - length(matched.piece[1]) as offset_there
            from regexp_matches(
                part,
                '[' || search_unparted() || search_signs() || ']|[' || search_parting() || ']+|[^' || search_unparted()
                    || search_signs() || search_parting() || ']+',
                'g'
            ) with ordinality as matched (piece, place)
        ),
        tokens as materialized (
            select
                pieces.*, is_unparted and lead(is_unparted, 1, false) over in_order as has_next,
                case
                    when not is_unparted then array_to_string(search_tokens(piece), ' ')
                    else
                        case when lag(is_unparted, 1, false) over in_order then '' else piece || ' ' end || piece
                            || case when lead(is_unparted, 1, false) over in_order then lead(piece) over in_order else '' end
                end as token
            from pieces
            window in_order as (order by place)
        ),
        placed as materialized (
            -- Where each word stands among all words between blanks, and for what parts them the blank.
            select
                tokens.*,
                1 + sum(case when token = '' then 0 else length(token) + 1 end) over (order by place)
                    - case when token = '' then 0 else length(token) end as starts
            from tokens
        ),
        line as materialized (
            select ' ' || coalesce(string_agg(token, ' ' order by place) filter (where token <> ''), '') || ' ' as words from placed
        ),
        matches as materialized (
            select at + 1 as starts, at + length(phrase) - 1 - (phrase like '% ')::integer as ends
            from line
            cross join unnest(phrases) as phrase
            cross join lateral generate_series(1, length(line.words)) as at
            where substr(line.words, at, length(phrase)) = phrase
        ),
        marked as materialized (
            select
                piece, place, offset_there,
                exists (
                    select 1 from matches
                    where case
                        when token = '' then matches.starts < placed.starts and placed.starts < matches.ends
                        else matches.starts <= placed.starts + length(token) - 1 and matches.ends >= placed.starts
                    end
                ) or lag(
                    has_next and exists (
                        select 1 from matches
                        where matches.starts <= placed.starts + length(token) - 2
                            and matches.ends >= placed.starts + length(token) - 1
                    ),
                    1, false
                ) over (order by place) as is_match
            from placed
        ),
        first as (
            select coalesce(min(offset_there) filter (where is_match), 0) as offset_there from marked
        )
        select coalesce(string_agg(case when is_match then opens || piece || closes else piece end, '' order by place), '')
        from marked
        cross join first
        where marked.offset_there between first.offset_there - before and first.offset_there + after
    );
end
$$;

-- As before, but for what the words of a message are where the index does not know.
create or replace function search_messages(
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
                and (is_words_alone or search_places(m.content) @@ wanted)
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
