-- Which chat a person's request has opened or found, by the client's key: a retry finds it again for as long as the chat is
-- there. Not a column of `chats`: a direct chat belongs to both, and each of them has keys of their own.
create table chat_keys (
    owner_id text not null references people (id) on delete cascade,
    client_id text not null,
    chat_id uuid not null references chats (id) on delete cascade,
    -- What the request asked for.
    request_hash bytea not null,
    created_at timestamptz not null default now(),
    primary key (owner_id, client_id)
);

-- Serves the deletion of a chat.
create index chat_keys_chat on chat_keys (chat_id);

alter table chat_keys enable row level security;
grant select, insert on chat_keys to backtalk_app;
create policy chat_keys_own on chat_keys for all to backtalk_app using (owner_id = (select caller()));
