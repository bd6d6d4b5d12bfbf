-- A reservation is a bound: what is held for a reply is never less than what a provider can count for its prompt and its answer.
--
-- Estimates (0013) are for prose, and dense text has three times as many tokens. No tokenizer makes more tokens of a text than
-- it has bytes, so a text holds its bytes. Where a budget has no room for all that a window may show, it holds what is left, and
-- the prompt is cut to that: nobody is refused for what was said before.

-- What the newest messages of a chat take in a prompt at most: what is said, what frames each message, images and a note for each
-- that is not shown. `domain::tokens` of the code has the same numbers.
create function bounded_messages(chat uuid, up_to bigint, image_tokens bigint) returns bigint
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return (
        select coalesce(
            sum(bytes + 16) + least(sum(images), 10) * image_tokens + greatest(sum(images) - 10, 0) * 12, 0
        )::bigint
        from (
            -- messages_pkey, newest first; as many as a prompt looks at. Lengths are known without reading long texts.
            select octet_length(content) as bytes, jsonb_array_length(attachments) as images
            from messages
            where chat_id = chat and seq <= coalesce(up_to, 9223372036854775807) and type = 'TEXT' and deleted_at is null
            order by seq desc
            limit 200
        ) as newest
    );
end
$$;
revoke execute on function bounded_messages(uuid, bigint, bigint) from public;

-- The same of the post that a chat is about; `draft` is a text in its place. 0 where the chat is no post's.
create function bounded_post(chat uuid, draft text) returns bigint
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return coalesce((
        select coalesce(octet_length(draft), octet_length(p.content)) + 400 + 100 * cardinality(p.providers)
        from chats c
        join posts p on p.id = c.post_id
        where c.id = chat
    ), 0);
end
$$;
revoke execute on function bounded_post(uuid, text) from public;

-- Reserves `wanted` tokens in one budget, or what is left of it if that is `fewest` at least. How many, null if none.
create function reserve_up_to(
    of_subject text, id text, start timestamptz, fewest bigint, wanted bigint, bound bigint
) returns bigint
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    remaining bigint;
begin
    loop
        if reserve_tokens(of_subject, id, start, wanted, bound) then
            return wanted;
        end if;
        select bound - used - reserved into remaining from budgets
        where subject = of_subject and subject_id = id and period_start = start
        for no key update;
        if not found then
            remaining := bound;
        end if;
        if remaining < fewest then
            return null;
        end if;
        -- The row is locked, or there is none: unless it came into being at this moment, this succeeds. What was given back
        -- since the first look is left to others.
        remaining := least(remaining, wanted);
        if reserve_tokens(of_subject, id, start, remaining, bound) then
            return remaining;
        end if;
    end loop;
end
$$;
revoke execute on function reserve_up_to(text, text, timestamptz, bigint, bigint, bigint) from public;

-- As `admit_reply` (0050), but that it reserves between `fewest` and `wanted` tokens, of which the answer may have `output`.
create function admit_reply_within(
    chat uuid, person text, org text, reply uuid, client text, when_busy text,
    fewest bigint, wanted bigint, output bigint, default_person_limit bigint, default_org_limit bigint, period text
) returns jsonb
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    start timestamptz := budget_period_start(period);
    bound_of_person bigint;
    bound_of_org bigint;
    persons bigint;
    granted bigint;
begin
    if person is distinct from caller() then
        raise exception 'a reply is admitted for its caller alone';
    end if;
    perform 1 from chats where id = chat for no key update;
    -- Its twin was stored while we waited.
    if client is not null
        and exists (select 1 from messages where chat_id = chat and sender_id = person and client_id = client)
    then
        return jsonb_build_object('refused', 'known');
    end if;
    if when_busy = 'reject'
        and exists (
            select 1 from replies where chat_id = chat and state in ('queued', 'streaming') and purpose = 'answer'
        )
    then
        return jsonb_build_object('refused', 'busy');
    end if;
    -- Those that it ends, before any budget: an end has its reply, and waits for the budget.
    if when_busy = 'replace' then
        perform 1 from replies r where r.chat_id = chat and r.state in ('queued', 'streaming') order by r.id for update;
    end if;

    bound_of_person := coalesce(
        (select tokens from budget_limits where subject = 'person' and subject_id = person), default_person_limit
    );
    persons := reserve_up_to('person', person, start, fewest, wanted, bound_of_person);
    if persons is null then
        return refused_by_budget('person', person, start, bound_of_person, budget_period_end(period));
    end if;
    granted := persons;
    if org is not null then
        bound_of_org := coalesce(
            (select tokens from budget_limits where subject = 'organisation' and subject_id = org), default_org_limit
        );
        granted := reserve_up_to('organisation', org, start, fewest, persons, bound_of_org);
        if granted is distinct from persons then
            -- Nobody has seen what is taken back here: it was never committed.
            update budgets set reserved = reserved - persons + coalesce(granted, 0)
            where subject = 'person' and subject_id = person and period_start = start;
        end if;
        if granted is null then
            return refused_by_budget('organisation', org, start, bound_of_org, budget_period_end(period));
        end if;
    end if;
    -- What a prompt of prose has, for an attempt whose writer vanishes before anybody has counted it.
    insert into holds (reply_id, person_id, org_id, period_start, tokens, input_tokens, person_limit, org_limit)
    values (reply, person, org, start, granted, estimated_tokens(granted - output), bound_of_person, bound_of_org);
    return null;
end
$$;

-- Admits an answer. `asked`: what is always shown, the instruction and the question, at most; `output`: the longest answer;
-- `context`: the window, in tokens of prose, for what was said up to `up_to` beside them.
create function admit_answer(
    chat uuid, person text, org text, reply uuid, client text, when_busy text,
    asked bigint, output bigint, context bigint, up_to bigint, image_tokens bigint,
    default_person_limit bigint, default_org_limit bigint, period text
) returns jsonb
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    -- `estimated_tokens` backwards: bytes of prose.
    room bigint := greatest((context - output) * 40 / 13 - asked, 0);
    about bigint := least(bounded_post(chat, null), room);
begin
    return admit_reply_within(
        chat, person, org, reply, client, when_busy,
        asked + about + output,
        asked + least(about + bounded_messages(chat, up_to, image_tokens), room) + output,
        output, default_person_limit, default_org_limit, period
    );
end
$$;

-- As of 0050, but for what it reserves.
create or replace function open_follow_up(
    job uuid, reply uuid, shortest integer, quiet float8, instruction bigint, output bigint, context bigint,
    image_tokens bigint, default_person_limit bigint, default_org_limit bigint, period text,
    out outcome text, out after_seconds integer
)
    language plpgsql volatile
    set search_path from current
    as $$
declare
    place chats;
    due jobs;
    about posts;
    said text;
    room bigint := greatest((context - output) * 40 / 13 - instruction, 0);
    shown bigint;
    refusal jsonb;
begin
    outcome := 'over';
    -- The chat before its jobs, as by whoever sends, edits or deletes.
    select c.* into place from jobs j join chats c on c.id = j.chat_id where j.id = job for no key update of c;
    if not found then
        return;
    end if;
    select j.* into due from jobs j where j.id = job and j.kind = 'follow_up' and j.state = 'waiting' for update;
    if not found then
        return;
    end if;
    if due.reply_id is not null then
        outcome := 'opened';
        return;
    end if;
    if due.run_at <= clock_timestamp()
        and exists (select 1 from replies r where r.chat_id = place.id and r.state in ('queued', 'streaming'))
    then
        update jobs set run_at = clock_timestamp() + make_interval(secs => greatest(quiet, 1)) where id = job
        returning * into due;
    end if;
    if due.run_at > clock_timestamp() then
        outcome := 'later';
        after_seconds := greatest(1, ceil(extract(epoch from due.run_at - clock_timestamp())));
        return;
    end if;

    select p.* into about from posts p where p.id = place.post_id;
    perform acting_as(about.owner_id);
    said := coalesce(due.payload ->> 'text', about.content);
    if char_length(said) < shortest or md5(said) is not distinct from about.spoken_of
        or exists (
            select 1 from messages m
            where m.chat_id = place.id and m.seq > (due.payload ->> 'since')::bigint and m.role = 'user'
        )
    then
        delete from jobs where id = job;
        return;
    end if;
    insert into replies (id, chat_id, asked_by, org_id, prompt_seq, state, purpose, trigger)
    values (
        reply, place.id, about.owner_id, due.payload ->> 'org', place.last_seq, 'queued', 'follow_up',
        due.payload ->> 'trigger'
    );
    shown := least(bounded_post(place.id, said), room);
    refusal := admit_reply_within(
        place.id, about.owner_id, due.payload ->> 'org', reply, null, 'queue',
        instruction + shown + output,
        instruction + least(shown + bounded_messages(place.id, null, image_tokens), room) + output,
        output, default_person_limit, default_org_limit, period
    );
    if refusal is not null then
        delete from replies where id = reply;
        delete from jobs where id = job;
        return;
    end if;
    update posts set spoken_of = md5(said) where id = about.id;
    update jobs
    set reply_id = reply, payload = jsonb_build_object('text', said), run_at = clock_timestamp()
    where id = job;
    outcome := 'opened';
end
$$;

-- As of 0013, but that nobody is taken to have spent more than was held: an answer's bytes over a third may be more than its tokens.
create or replace function cost_of_lost_attempt(reply uuid, lost_attempt integer, out input bigint, out output bigint)
    language sql stable security definer
    set search_path from current
    as $$
        select
            coalesce(least(held.input_tokens, held.tokens), 0),
            coalesce(
                least(
                    (
                        select estimated_tokens(sum(octet_length(text))) from reply_parts
                        where reply_id = reply and attempt = lost_attempt
                    ),
                    held.tokens - least(held.input_tokens, held.tokens)
                ),
                0
            )
        from (values (reply)) as lost (id)
        left join holds held on held.reply_id = lost.id
    $$;
