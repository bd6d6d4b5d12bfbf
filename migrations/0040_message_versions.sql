-- What a message said before: before its sender edited it (where edit history is kept), or before the AI's answer was
-- written anew. The present text is in `messages` alone. Deleting a message empties its history, too.
create table message_versions (
    message_id uuid not null references messages (id) on delete cascade,
    -- 1 is what it said first.
    version integer not null check (version > 0),
    role text not null check (role in ('user', 'assistant', 'system')),
    type text not null default 'TEXT',
    content text not null,
    metadata jsonb not null default '{}',
    -- {inputTokens, outputTokens, cachedTokens, model} of an answer.
    usage jsonb,
    -- What replaced it.
    reason text not null check (reason in ('edited', 'regenerated')),
    -- When it was written, and until when it stood.
    created_at timestamptz not null,
    replaced_at timestamptz not null default now(),
    primary key (message_id, version)
);

alter table message_versions enable row level security;
grant select, insert, delete on message_versions to backtalk_app;

-- The policy of `messages` applies inside: nobody sees a version whose message they do not see. Answers that were written
-- anew are everybody's; what a person said before an edit is for themselves and for those who run the channel.
create policy message_versions_seen on message_versions for select to backtalk_app
    using (
        exists (
            select 1 from messages m
            where m.id = message_versions.message_id
                and (message_versions.reason = 'regenerated' or m.sender_id = (select caller()) or caller_manages(m.chat_id))
        )
    );
create policy message_versions_added on message_versions for insert to backtalk_app
    with check (exists (select 1 from messages m where m.id = message_versions.message_id));
-- The history of a message goes with what its sender said.
create policy message_versions_removed on message_versions for delete to backtalk_app
    using (
        exists (
            select 1 from messages m
            where m.id = message_versions.message_id and m.sender_id = (select caller())
        )
    );
