-- Budgets that hold: what a reply may cost is reserved by the statement that accepts it, and settled by the one that ends it.

-- How much of a hold is the prompt's, as estimated: owed once a model was asked, whatever became of its answer.
alter table holds add column input_tokens bigint not null default 0 check (input_tokens >= 0);
-- The limits under which it was reserved; null is no limit.
alter table holds add column person_limit bigint;
alter table holds add column org_limit bigint;


-- When a period began: a day, a week from Monday, or a month, in UTC whatever the server's zone.
create function budget_period_start(period text) returns timestamptz
    language sql stable
    as $$ select date_trunc(period, now() at time zone 'UTC') at time zone 'UTC' $$;

create function budget_period_end(period text) returns timestamptz
    language sql stable
    as $$
        select (date_trunc(period, now() at time zone 'UTC') + ('1 ' || period)::interval) at time zone 'UTC'
    $$;

-- A text's tokens, before any model has counted them: bytes / 4 × 1.3, rounded up.
create function estimated_tokens(bytes bigint) returns bigint
    language sql immutable
    as $$ select (bytes * 13 + 39) / 40 $$;

-- What the newest messages of a chat will take in a prompt, at most `room`: what is said, what frames each message, and images.
--
-- In plpgsql, whose plans last as long as the connection; a function in SQL would be planned with every send.
create function estimated_context(chat uuid, up_to bigint, room bigint, image_tokens bigint) returns bigint
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return (
        select least(room, coalesce(sum(estimated_tokens(bytes) + 4) + least(sum(images), 10) * image_tokens, 0))::bigint
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

-- Reserves tokens in one budget, if it has room for them: one statement.
create function reserve_tokens(
    of_subject text, id text, start timestamptz, need bigint, bound bigint
) returns boolean
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    insert into budgets as b (subject, subject_id, period_start, reserved)
    select of_subject, id, start, need
    where bound is null or need <= bound
        or exists (select 1 from budgets where subject = of_subject and subject_id = id and period_start = start)
    on conflict (subject, subject_id, period_start) do update
        set reserved = b.reserved + need
        where bound is null or b.used + b.reserved + need <= bound;
    return found;
end
$$;
revoke execute on function reserve_tokens(text, text, timestamptz, bigint, bigint) from public;

-- How a budget stands that has no room.
create function refused_by_budget(of_subject text, id text, start timestamptz, bound bigint, ends timestamptz)
    returns jsonb
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    return jsonb_build_object('refused', of_subject, 'limit', bound, 'resets_at', ends, 'used', 0, 'reserved', 0) || coalesce(
        (
            select jsonb_build_object('used', used, 'reserved', reserved) from budgets
            where subject = of_subject and subject_id = id and period_start = start
        ),
        '{}'
    );
end
$$;
revoke execute on function refused_by_budget(text, text, timestamptz, bigint, timestamptz) from public;

-- Reserves a reply's tokens, or says why not and changes nothing. The chat's row is locked by now, or is locked here: all that
-- answer in one chat come one after the other, and see what the one before them left.
--
-- Budgets are locked person first, then organisation, and always before members and inboxes: no two statements wait for
-- each other. It runs as its owner, for nobody reads or writes a budget by themselves.
create function admit_reply(
    chat uuid, person text, org text, reply uuid, client text, when_busy text,
    input bigint, output bigint, default_person_limit bigint, default_org_limit bigint, period text
) returns jsonb
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    start timestamptz := budget_period_start(period);
    need bigint := input + output;
    bound_of_person bigint;
    bound_of_org bigint;
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
        and exists (select 1 from replies where chat_id = chat and state in ('queued', 'streaming'))
    then
        return jsonb_build_object('refused', 'busy');
    end if;

    bound_of_person := coalesce(
        (select tokens from budget_limits where subject = 'person' and subject_id = person), default_person_limit
    );
    if not reserve_tokens('person', person, start, need, bound_of_person) then
        return refused_by_budget('person', person, start, bound_of_person, budget_period_end(period));
    end if;
    if org is not null then
        bound_of_org := coalesce(
            (select tokens from budget_limits where subject = 'organisation' and subject_id = org), default_org_limit
        );
        if not reserve_tokens('organisation', org, start, need, bound_of_org) then
            -- Nobody has seen what is taken back here: it was never committed.
            update budgets set reserved = reserved - need
            where subject = 'person' and subject_id = person and period_start = start;
            return refused_by_budget('organisation', org, start, bound_of_org, budget_period_end(period));
        end if;
    end if;
    insert into holds (reply_id, person_id, org_id, period_start, tokens, input_tokens, person_limit, org_limit)
    values (reply, person, org, start, need, input, bound_of_person, bound_of_org);
    return null;
end
$$;

-- Ends a reply's hold: what it spent is used, the rest is free again. A second time it does nothing.
create function settle_reply(reply uuid, spent bigint) returns boolean
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    held holds;
begin
    delete from holds where reply_id = reply and person_id = coalesce(caller(), person_id) returning * into held;
    if not found then
        return false;
    end if;
    update budgets set used = used + spent, reserved = reserved - held.tokens
    where subject = 'person' and subject_id = held.person_id and period_start = held.period_start;
    update budgets set used = used + spent, reserved = reserved - held.tokens
    where subject = 'organisation' and subject_id = held.org_id and period_start = held.period_start;
    return true;
end
$$;

-- Pays for an attempt that failed, and reserves for the next as much as the limits still allow, at most what this one
-- had. So used and reserved together never grow past a limit by trying again.
create function pay_for_attempt(reply uuid, spent bigint) returns boolean
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    held holds;
    persons budgets;
    orgs budgets;
    kept bigint;
begin
    select * into held from holds
    where reply_id = reply and person_id = coalesce(caller(), person_id)
    for update;
    if not found or spent = 0 then
        return found;
    end if;
    select * into persons from budgets
    where subject = 'person' and subject_id = held.person_id and period_start = held.period_start
    for no key update;
    select * into orgs from budgets
    where subject = 'organisation' and subject_id = held.org_id and period_start = held.period_start
    for no key update;
    kept := greatest(0, least(
        held.tokens,
        held.person_limit - (persons.used + persons.reserved - held.tokens + spent),
        held.org_limit - (orgs.used + orgs.reserved - held.tokens + spent)
    ));
    update budgets set used = used + spent, reserved = reserved - held.tokens + kept
    where subject = 'person' and subject_id = held.person_id and period_start = held.period_start;
    update budgets set used = used + spent, reserved = reserved - held.tokens + kept
    where subject = 'organisation' and subject_id = held.org_id and period_start = held.period_start;
    update holds set tokens = kept where reply_id = reply;
    return true;
end
$$;

-- What an attempt cost whose writer vanished without a word: the prompt, and what was written of the answer.
create function cost_of_lost_attempt(reply uuid, lost_attempt integer, out input bigint, out output bigint)
    language sql stable security definer
    set search_path from current
    as $$
        select
            coalesce((select input_tokens from holds where reply_id = reply), 0),
            coalesce((
                select estimated_tokens(sum(octet_length(text))) from reply_parts
                where reply_id = reply and attempt = lost_attempt
            ), 0)
    $$;

-- What the caller's budgets say now.
create function usage_of_caller(org text, default_person_limit bigint, default_org_limit bigint, period text)
    returns table (subject text, used bigint, reserved bigint, bound bigint, resets_at timestamptz)
    language sql stable security definer
    set search_path from current
    as $$
        select
            mine.subject, coalesce(b.used, 0), coalesce(b.reserved, 0), coalesce(l.tokens, mine.bound),
            budget_period_end(period)
        from (values ('person', caller(), default_person_limit), ('organisation', org, default_org_limit))
            as mine (subject, id, bound)
        left join budgets b
            on b.subject = mine.subject and b.subject_id = mine.id and b.period_start = budget_period_start(period)
        left join budget_limits l on l.subject = mine.subject and l.subject_id = mine.id
        where mine.id is not null
    $$;

-- A hold is shown to the person whose it is: the writer of a reply must know how much it may spend.
grant select on holds to backtalk_app;
create policy holds_own on holds for select to backtalk_app using (person_id = (select caller()));
