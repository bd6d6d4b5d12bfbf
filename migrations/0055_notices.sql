-- Notices: what an agent tells one person of one task.

alter table messages
    -- 1 is high, 0 normal, -1 low: the order of the unread list before all else. Notices alone have one.
    add column priority smallint not null default 0 check (priority between -1 and 1),
    -- Of a clarification: what it was answered by last, or the cancellation that made it moot.
    add column answered_by uuid;

-- Serves the unread list: what comes before and after the rest.
create index messages_by_priority on messages (chat_id, priority, seq) where priority <> 0;
-- A notice is sent once, whichever way its sender tries again.
create unique index messages_notice_key on messages (chat_id, client_id) where type <> 'TEXT' and client_id is not null;
create index messages_unanswered on messages (chat_id, seq) where type = 'CLARIFICATION' and answered_by is null;

-- Stores a notice in the person's chat of the task, which is made on demand, or finds the one that its key names. One call
-- for the whole, for a statement cannot lock a row that it has inserted itself. It runs as its owner: an agent is no member
-- of the chat. From the chat's row on, writers come one after the other, so that keys cannot race.
create function send_notice(
    person text, task text, organisation text, message uuid, new_chat uuid, what text, says text, detail jsonb,
    urgency smallint, key text, may_introduce boolean
) returns jsonb
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    chat chats;
    notice messages;
    is_new boolean := false;
    told text[];
begin
    if not exists (select 1 from people where id = person) then
        if not may_introduce then
            return jsonb_build_object('outcome', 'no_such_person');
        end if;
        perform introduce(array[person]);
    end if;
    loop
        -- Served by chats_task.
        select * into chat from chats c where c.owner_id = person and c.task_id = task and c.kind = 'task' for update;
        exit when found;
        insert into chats (id, kind, owner_id, org_id, task_id)
        values (new_chat, 'task', person, organisation, task)
        on conflict (owner_id, task_id) where kind = 'task' do nothing
        returning * into chat;
        if found then
            is_new := true;
            insert into members (chat_id, user_id, role) values (chat.id, person, 'owner');
            exit;
        end if;
    end loop;
    if chat.org_id is distinct from organisation and organisation is not null then
        return jsonb_build_object('outcome', 'other_organisation');
    end if;
    select * into notice from messages m where m.chat_id = chat.id and m.client_id = key and m.type <> 'TEXT';
    if found then
        return jsonb_build_object(
            'outcome', 'known', 'message', message_json(notice), 'audience', '[]'::jsonb, 'is_new_chat', false
        );
    end if;
    update chats c
    set last_seq = c.last_seq + 1, last_number = c.last_number + 1, last_message_seq = c.last_seq + 1,
        last_message_at = now(), active_at = now()
    where c.id = chat.id
    returning * into chat;
    insert into messages (
        chat_id, seq, id, number, changed_seq, role, type, client_id, content, metadata, priority
    ) values (
        chat.id, chat.last_seq, message, chat.last_number, chat.last_seq, 'system', what, key, says, detail, urgency
    ) returning * into notice;
    if what = 'CANCELLATION' then
        -- What is cancelled asks nothing any more.
        update messages m set answered_by = message
        where m.chat_id = chat.id and m.type = 'CLARIFICATION' and m.answered_by is null;
    end if;
    if is_new then
        perform tell(chat.id, 0, 'chat.updated', null, null);
    end if;
    told := array(select tell(chat.id, chat.last_seq, 'message.created', message, null));
    return jsonb_build_object(
        'outcome', 'stored', 'message', message_json(notice), 'audience', told, 'is_new_chat', is_new
    );
end
$$;

revoke execute on function send_notice from public;
grant execute on function send_notice to backtalk_app;
