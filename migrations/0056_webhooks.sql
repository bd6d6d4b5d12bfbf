-- Outgoing webhooks: what happens in an organisation's chats, told to its own servers. The outbox is `jobs`.
create table webhooks (
    id uuid primary key,
    org_id text not null,
    url text not null,
    -- Where the worker finds the secret that signs: `env:NAME` or `ssm:/path`, never the secret itself.
    secret text not null,
    events text[] not null check (
        cardinality(events) > 0 and events <@ array['message.created', 'clarification.answered', 'reply.ended']
    ),
    active boolean not null default true,
    created_at timestamptz not null default now()
);

create index webhooks_organisation on webhooks (org_id) where active;

-- Nobody who acts for a person sees them.
alter table webhooks enable row level security;

create sequence webhook_places;

alter table jobs
    add column webhook_id uuid references webhooks (id) on delete cascade,
    -- The order of a webhook's events in one chat: they are written while its row is held, so numbers and commits agree.
    add column place bigint,
    add constraint jobs_webhook_has_a_place check ((webhook_id is null) = (place is null));

create index jobs_webhook on jobs (webhook_id, chat_id, place) where webhook_id is not null;

-- Writes an event for each webhook of the chat's organisation that wants it. What was written is named in the setting
-- `backtalk.announced` for the rest of the statement, so that it can be woken. Where there is no webhook it costs two
-- look-ups of a key.
create function announce(chat uuid, what text, message uuid, detail jsonb) returns void
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    written text;
begin
    with listening as materialized (
        -- One that is just being removed is not told, and fails nobody.
        select w.id
        from chats c
        join webhooks w on w.org_id = c.org_id and w.active
        where c.id = chat and what = any (w.events)
        for key share of w skip locked
    ),
    announced as (
        insert into jobs (id, kind, chat_id, webhook_id, place, payload)
        select
            gen_random_uuid(), 'webhook', chat, id, nextval('webhook_places'),
            jsonb_build_object('type', what, 'messageId', message, 'at', now(), 'data', detail)
        from listening
        returning id
    )
    select string_agg(id::text, ',') into written from announced;
    if written is not null then
        perform set_config(
            'backtalk.announced',
            concat_ws(',', nullif(current_setting('backtalk.announced', true), ''), written), true
        );
    end if;
end
$$;

-- As before, and what webhooks may want to hear is announced to them. The end of a reply comes with its message.
create or replace function tell(
    chat uuid, at_seq bigint, what text, message uuid, detail jsonb, besides text[] default '{}'
)
    returns setof text
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    held text[];
begin
    if what = 'message.created' then
        perform announce(chat, what, message, null);
    end if;
    if what = 'reply.ended' or what in ('message.created', 'message.updated') and detail ? 'state' then
        perform announce(chat, 'reply.ended', message, detail);
    end if;
    if at_seq is not null and cardinality(besides) = 0 then
        -- Whoever takes a seq holds the chat's row: nobody comes or goes meanwhile.
        return query
        with readers as materialized (
            select h.user_id
            from members m
            join inbox_heads h on h.user_id = m.user_id
            where m.chat_id = chat
            order by h.user_id
            for update of h
        ),
        moved as (
            update inbox_heads h set version = h.version + 1
            from readers
            where h.user_id = readers.user_id
            returning h.user_id, h.version
        ),
        noted as (
            insert into inbox (user_id, version, chat_id, seq, event, message_id, data)
            select moved.user_id, moved.version, chat, at_seq, what, message, detail
            from moved
        )
        select moved.user_id from moved;
    else
        held := besides || array(select m.user_id from members m where m.chat_id = chat);
        if what = 'read' and cardinality(held) > 100 then
            held := array[detail ->> 'userId'];
        end if;
        perform 1 from inbox_heads h where h.user_id = any(held) order by h.user_id for update;
        -- Looked for anew: somebody may have been removed while their inbox was waited for, and then this is not theirs.
        return query
        with moved as (
            update inbox_heads h set version = h.version + 1
            where h.user_id = any(held) and (
                h.user_id = any(besides)
                or exists (select 1 from members m where m.chat_id = chat and m.user_id = h.user_id)
            )
            returning h.user_id, h.version
        ),
        noted as (
            insert into inbox (user_id, version, chat_id, seq, event, message_id, data)
            select moved.user_id, moved.version, chat, at_seq, what, message, detail
            from moved
        )
        select moved.user_id from moved;
    end if;
end
$$;

-- What a person says in a task's chat answers the clarification that it replies to, or else the newest open one. The agent
-- hears of it. The caller holds the chat's row. It runs as its owner: people do not change what agents said.
create function answer_clarification(chat uuid, before bigint, answer uuid, replies_to uuid) returns uuid
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    asked uuid;
begin
    update messages m set answered_by = answer
    where m.chat_id = chat and m.seq = coalesce(
        (
            select c.seq from messages c
            where c.id = replies_to and c.chat_id = chat and c.type = 'CLARIFICATION'
        ),
        (
            -- Served by messages_unanswered.
            select c.seq from messages c
            where c.chat_id = chat and c.seq < before and c.type = 'CLARIFICATION' and c.answered_by is null
            order by c.seq desc
            limit 1
        )
    )
    returning m.id into asked;
    if asked is not null then
        perform announce(chat, 'clarification.answered', answer, jsonb_build_object('clarificationId', asked));
    end if;
    return asked;
end
$$;

revoke execute on function announce, answer_clarification from public;
grant execute on function answer_clarification to backtalk_app;
