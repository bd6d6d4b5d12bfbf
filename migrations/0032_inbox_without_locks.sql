-- An inbox row locks nobody's row of `people` any more: the foreign key took a lock, which is a write, for each member of a
-- chat with each message. Whom an inbox belongs to is known by its head, which has the key and is held by whoever tells.
alter table inbox drop constraint inbox_user_id_fkey;

create function forget_inbox() returns trigger
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    delete from inbox where user_id = old.id;
    return null;
end
$$;

-- After the head is gone, for which whoever tells was waited: triggers fire in the order of their names, those of foreign
-- keys begin with RI.
create trigger forget_inbox after delete on people for each row execute function forget_inbox();
