-- A large chat is deleted in batches: it is gone for everybody at once, and its rows go by a job. What is left until then is
-- a chat of kind `deleted`, which has no members, no owner, no pair, no post and no task: no policy and no statement of a
-- person's reaches it, and whatever it was the only one of can be made anew.
--
-- Rows of before keep to narrower checks, and need not be looked at.
alter table chats
    drop constraint chats_kind_check,
    add constraint chats_kind_check
        check (kind in ('direct', 'channel', 'assistant', 'post', 'task', 'deleted')) not valid;
alter table jobs
    drop constraint jobs_kind_check,
    add constraint jobs_kind_check
        check (kind in ('reply', 'welcome', 'follow_up', 'notice', 'webhook', 'erase', 'delete_chat')) not valid;

-- A chat is deleted by one job. Whose it was, their erasure looks for.
create unique index jobs_delete_chat on jobs (chat_id) where kind = 'delete_chat';
create index jobs_delete_chats_of on jobs ((payload ->> 'userId')) where kind = 'delete_chat';

-- Deletes a chat of the caller's: who was told, and whether `job` is to delete the rest. Null where there is none.
--
-- Locks: the chat, its replies, their holds, budgets, members, inboxes; uploads after all else. It waits for none of the
-- messages. Every seq, reaction, edit and coming or going takes a place in `last_seq`: where that is small so is the chat,
-- and it goes here with all that hangs on it.
create function dissolve_chat(chat uuid, job uuid, out told text[], out is_left_to_job boolean) returns record
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    small constant bigint := 200;
    place chats;
begin
    -- Nobody is the caller where none is set, and nobody's is nothing.
    select c.* into place from chats c
    where c.id = chat and c.owner_id = caller() and c.kind in ('assistant', 'channel', 'post')
    for update;
    if not found then
        return;
    end if;
    -- All of them before the first budget: an end has its reply, and waits for the budget.
    perform 1 from replies r where r.chat_id = chat and r.state in ('queued', 'streaming') order by r.id for update;
    -- What they have reserved is free again, but for what one that is being written has cost by now.
    perform settle_reply(
        unanswered.id, case when unanswered.state = 'streaming' then cost.input + cost.output else 0 end
    )
    from (
        select r.id, r.state, r.attempt from replies r
        where r.chat_id = chat and r.state in ('queued', 'streaming')
    ) as unanswered
    cross join lateral cost_of_lost_attempt(unanswered.id, unanswered.attempt) as cost;
    -- With their jobs and their text: whoever writes one finds that it is not theirs any more.
    delete from replies r where r.chat_id = chat and r.state in ('queued', 'streaming');
    delete from jobs j where j.chat_id = chat and j.webhook_id is null;
    perform 1 from members m where m.chat_id = chat order by m.user_id for update;
    -- An archived one takes no place among the active.
    update people p set assistant_chats = p.assistant_chats - 1
    where place.kind = 'assistant' and p.id = place.owner_id and p.assistant_chats > 0
        and exists (select 1 from members m where m.chat_id = chat and m.user_id = p.id and not m.archived);
    told := array(select tell(chat, null, 'chat.deleted', null, null));
    is_left_to_job := place.last_seq > small;
    if not is_left_to_job then
        delete from chats c where c.id = chat;
        return;
    end if;
    delete from members m where m.chat_id = chat;
    -- A seq is taken: a send that waits for this row looks again whether its sender is a member.
    update chats c
    set kind = 'deleted', last_seq = c.last_seq + 1, updated_at = now(), title = null, owner_id = null, org_id = null,
        direct_low = null, direct_high = null, post_id = null, task_id = null
    where c.id = chat;
    insert into jobs (id, kind, chat_id, payload)
    values (job, 'delete_chat', chat, jsonb_build_object('userId', place.owner_id));
end
$$;

revoke execute on function dissolve_chat from public;
grant execute on function dissolve_chat to backtalk_app;

-- Deletes some of what hangs on a chat, and the chat once nothing does: whether something is left. Of no table go more than
-- ten times as many rows as `most` messages.
create function empty_chat(chat uuid, most integer) returns boolean
    language plpgsql volatile
    set search_path from current
    as $$
declare
    oldest uuid[];
    gone bigint;
begin
    perform 1 from chats c where c.id = chat for update;
    if not found then
        return false;
    end if;
    oldest := array(select m.id from messages m where m.chat_id = chat order by m.seq limit most);
    delete from reactions r where r.ctid = any (array(
        select other.ctid from reactions other where other.message_id = any (oldest) limit 10 * most
    ));
    get diagnostics gone = row_count;
    if gone = 10 * most then
        return true;
    end if;
    delete from message_versions v where v.ctid = any (array(
        select other.ctid from message_versions other where other.message_id = any (oldest) limit most
    ));
    get diagnostics gone = row_count;
    if gone = most then
        return true;
    end if;
    delete from messages m where m.id = any (oldest);
    if cardinality(oldest) = most then
        return true;
    end if;
    delete from replies r where r.ctid = any (array(
        select other.ctid from replies other where other.chat_id = chat limit most
    ));
    get diagnostics gone = row_count;
    if gone = most then
        return true;
    end if;
    delete from jobs j where j.ctid = any (array(
        select other.ctid from jobs other where other.chat_id = chat and other.kind <> 'delete_chat' limit most
    ));
    get diagnostics gone = row_count;
    if gone = most then
        return true;
    end if;
    delete from chats c where c.id = chat;
    return false;
end
$$;

revoke execute on function empty_chat from public;
