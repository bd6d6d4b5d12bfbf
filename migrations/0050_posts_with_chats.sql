-- Posts and what their AI chats need: a welcome and follow-ups are replies that no message has asked for, so that they are
-- claimed, leased, paid for and ended once like every other.

-- A retry is never a second post.
alter table posts add column client_id text;
create unique index posts_client_id on posts (owner_id, client_id) where client_id is not null;
-- The hash of the text that the assistant was last called upon to speak of: what comes back to it is no news.
alter table posts add column spoken_of text;

-- Pages go by both, newest first.
drop index posts_owner;
create index posts_owner on posts (owner_id, created_at desc, id desc);
-- What a welcome looks at.
create index posts_sent on posts (owner_id, sent_at desc) where status = 'SENT';

-- A post is its owner's for good, and when it was created stays as it was.
revoke update on posts from backtalk_app;
grant update (content, providers, auth_provider_ids, status, updated_at, sent_at) on posts to backtalk_app;

alter table replies add column purpose text not null default 'answer' check (purpose in ('answer', 'welcome', 'follow_up'));
-- What a follow-up was caused by, in the client's own word.
alter table replies add column trigger text;
-- Whatever is retried, doubled or raced: a chat is welcomed once.
create unique index replies_one_welcome on replies (chat_id) where purpose = 'welcome';
-- Edits of one post move one job, until it has become a reply.
create unique index jobs_one_follow_up on jobs (chat_id) where kind = 'follow_up' and reply_id is null and state = 'waiting';

-- What the newest messages of a chat take in a prompt: what is said, what frames each message, and images.
create function estimated_messages(chat uuid, up_to bigint, image_tokens bigint) returns bigint
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return (
        select coalesce(sum(estimated_tokens(bytes) + 4) + least(sum(images), 10) * image_tokens, 0)::bigint
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
revoke execute on function estimated_messages(uuid, bigint, bigint) from public;

-- What a post takes in a prompt: its text, where it goes to with which limits, and what frames them. `draft` is a text in its
-- place. 0 where the chat is no post's.
create function estimated_post(chat uuid, draft text) returns bigint
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return coalesce((
        select estimated_tokens(coalesce(octet_length(draft), octet_length(p.content)) + 400 + 100 * cardinality(p.providers))
        from chats c
        join posts p on p.id = c.post_id
        where c.id = chat
    ), 0);
end
$$;
revoke execute on function estimated_post(uuid, text) from public;

-- What a chat will take in a prompt, at most `room`: of a post's chat, the post as well.
create or replace function estimated_context(chat uuid, up_to bigint, room bigint, image_tokens bigint) returns bigint
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return least(room, estimated_messages(chat, up_to, image_tokens) + estimated_post(chat, null));
end
$$;

-- As of 0013, but that a reply nobody has asked for makes nobody busy: a question waits for it under all terms.
create or replace function admit_reply(
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
        and exists (
            select 1 from replies where chat_id = chat and state in ('queued', 'streaming') and purpose = 'answer'
        )
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

-- A post with its chat, whose one member is the owner, its welcome and the welcome's job; or the post that the same `client`
-- has made before. Without budget the welcome has no hold, and is written without a model.
--
-- It runs as its caller, under their policies: each of its statements sees what those before it have made.
create function create_post(
    post uuid, chat uuid, welcome uuid, job uuid, person text, org text, client text,
    content text, providers text[], auth_provider_ids text[],
    input bigint, output bigint, default_person_limit bigint, default_org_limit bigint, period text
) returns jsonb
    language plpgsql volatile
    set search_path from current
    as $$
declare
    made posts;
begin
    if client is not null then
        select p.* into made from posts p where p.owner_id = person and p.client_id = client;
        if found then
            return jsonb_build_object(
                'post', to_jsonb(made), 'is_new', false, 'chat_id', (select c.id from chats c where c.post_id = made.id)
            );
        end if;
    end if;
    insert into posts as p (id, owner_id, content, providers, auth_provider_ids, client_id, spoken_of)
    values (
        post, person, create_post.content, create_post.providers, create_post.auth_provider_ids, client,
        md5(create_post.content)
    )
    returning p.* into made;
    insert into chats (id, kind, owner_id, org_id, post_id) values (chat, 'post', person, org, post);
    insert into members (chat_id, user_id, role) values (chat, person, 'owner');
    -- Before whatever is said: its place is 0.
    insert into replies (id, chat_id, asked_by, org_id, prompt_seq, state, purpose)
    values (welcome, chat, person, org, 0, 'queued', 'welcome');
    insert into jobs (id, kind, chat_id, reply_id) values (job, 'welcome', chat, welcome);
    perform admit_reply(
        chat, person, org, welcome, null, 'queue', input, output, default_person_limit, default_org_limit, period
    );
    perform tell(chat, 0, 'chat.updated', null, null);
    return jsonb_build_object('post', to_jsonb(made), 'is_new', true, 'chat_id', chat);
end
$$;

-- Has a follow-up written once a post has been left alone for `quiet`; each edit pushes it on. Whether there was none yet.
-- The chat's row is locked by the caller. `draft` is a text that is not saved; without one, the post's own will be read.
create function schedule_follow_up(chat uuid, job uuid, draft text, trigger text, org text, quiet float8) returns boolean
    language plpgsql volatile
    set search_path from current
    as $$
declare
    scheduled uuid;
begin
    insert into jobs as j (id, kind, chat_id, payload, run_at)
    select
        job, 'follow_up', c.id,
        jsonb_strip_nulls(jsonb_build_object('text', draft, 'trigger', trigger, 'org', org, 'since', c.last_seq)),
        clock_timestamp() + make_interval(secs => quiet)
    from chats c
    where c.id = chat
    on conflict (chat_id) where kind = 'follow_up' and reply_id is null and state = 'waiting'
    do update set run_at = excluded.run_at, payload = excluded.payload
    returning j.id into scheduled;
    return scheduled = job;
end
$$;

-- Makes a reply of a follow-up that is due, if there still is something to follow up: `opened`, `later` with the seconds to
-- wait, or `over`. The text is fixed here, so that every attempt speaks of the same.
--
-- It waits while a reply is open; it is dropped when the person has said something since the edit (that was answered with
-- the post's text at hand), when the text is what was spoken of last, too short, or when there is no budget.
create function open_follow_up(
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
    refusal := admit_reply(
        place.id, about.owner_id, due.payload ->> 'org', reply, null, 'queue',
        instruction + least(
            greatest(context - output - instruction, 0),
            estimated_messages(place.id, null, image_tokens) + estimated_post(place.id, said)
        ),
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
revoke execute on function open_follow_up(
    uuid, uuid, integer, float8, bigint, bigint, bigint, bigint, bigint, bigint, text
) from public;
