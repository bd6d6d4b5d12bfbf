-- What the request that made a message, a notice or a post asked for, as a hash: the same key with other content is refused,
-- and the same content replays even where it was edited or deleted since. Null of what was made before, which replays
-- whatever is asked.
alter table messages add column request_hash bytea;
alter table posts add column request_hash bytea;
grant update (request_hash) on posts to backtalk_app;

-- Has a notice stored by `send_notice`, or finds the one that its key names: `other_content` where that asked for something
-- else. `send_notice` holds the chat's row, so that this sees what it has made or found.
create function send_notice_once(
    person text, task text, organisation text, message uuid, new_chat uuid, what text, says text, detail jsonb,
    urgency smallint, key text, may_introduce boolean, request bytea
) returns jsonb
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    sent jsonb := send_notice(
        person, task, organisation, message, new_chat, what, says, detail, urgency, key, may_introduce
    );
begin
    if sent ->> 'outcome' = 'stored' and key is not null then
        update messages m set request_hash = request where m.id = message;
    elsif sent ->> 'outcome' = 'known' and exists (
        select 1 from messages m
        where m.id = (sent -> 'message' ->> 'id')::uuid and m.request_hash <> request
    ) then
        return jsonb_build_object('outcome', 'other_content');
    end if;
    return sent;
end
$$;

revoke execute on function send_notice_once from public;
grant execute on function send_notice_once to backtalk_app;

-- The same of a post and `create_post`: null where its key has made a post that asked for something else. It runs as its
-- caller, under their policies.
create function create_post_once(
    post uuid, chat uuid, welcome uuid, job uuid, person text, org text, client text,
    content text, providers text[], auth_provider_ids text[],
    input bigint, output bigint, default_person_limit bigint, default_org_limit bigint, period text, request bytea
) returns jsonb
    language plpgsql volatile
    set search_path from current
    as $$
declare
    made jsonb := create_post(
        post, chat, welcome, job, person, org, client, content, providers, auth_provider_ids,
        input, output, default_person_limit, default_org_limit, period
    );
begin
    if (made ->> 'is_new')::boolean then
        if client is not null then
            update posts p set request_hash = request where p.id = post;
        end if;
    elsif exists (
        select 1 from posts p
        where p.id = (made -> 'post' ->> 'id')::uuid and p.request_hash <> request
    ) then
        return null;
    end if;
    return made;
end
$$;
