-- What a model thinks before it answers, what models refused to read, and until when a provider wants to be left alone.

-- Of a reply that failed because its provider asks for rest: when that is over.
alter table replies add column retry_at timestamptz;

-- What the model thought before it said this, where that is to be kept (MODEL_REASONING). No part of what is said.
alter table messages add column reasoning text;

-- The thoughts of a running reply; deleted with the reply's end. One part alone, without a text, says that the model thinks.
create table reply_thoughts (
    reply_id uuid not null references replies (id) on delete cascade,
    attempt integer not null,
    -- Where this part starts, in UTF-8 bytes of the attempt's thoughts.
    byte_offset integer not null,
    text text not null,
    -- How many bytes were thought, shown or not: what a lost attempt has cost.
    bytes integer not null,
    primary key (reply_id, attempt, byte_offset)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

alter table reply_thoughts enable row level security;
grant select, insert, update, delete on reply_thoughts to backtalk_app;
create policy reply_thoughts_of_members on reply_thoughts for all to backtalk_app
    using (exists (select 1 from replies where replies.id = reply_thoughts.reply_id));

-- Messages whose images a model could not read: it is not shown them again, for one would silence the chat for ever.
create table refused_images (
    chat_id uuid not null,
    seq bigint not null,
    model text not null,
    primary key (chat_id, seq, model),
    foreign key (chat_id, seq) references messages (chat_id, seq) on delete cascade
);

alter table refused_images enable row level security;
grant select, insert on refused_images to backtalk_app;
create policy refused_images_of_members on refused_images for all to backtalk_app
    using (exists (select 1 from members where members.chat_id = refused_images.chat_id and members.user_id = (select caller())));

-- How long a prompt of a chat may be, as we estimate, since a model refused a longer one.
create table prompt_windows (
    chat_id uuid not null references chats (id) on delete cascade,
    model text not null,
    tokens integer not null,
    primary key (chat_id, model)
);

alter table prompt_windows enable row level security;
grant select, insert, update on prompt_windows to backtalk_app;
create policy prompt_windows_of_members on prompt_windows for all to backtalk_app
    using (exists (select 1 from members where members.chat_id = prompt_windows.chat_id and members.user_id = (select caller())));

-- As of 0079, and thoughts are counted with what was said.
create or replace function cost_of_lost_attempt(reply uuid, lost_attempt integer, out input bigint, out output bigint)
    language sql stable security definer
    set search_path from current
    as $$
        select
            coalesce(least(held.input_tokens, held.tokens), 0),
            coalesce(
                least(
                    estimated_tokens(
                        (
                            select coalesce(sum(octet_length(text)), 0) from reply_parts
                            where reply_id = reply and attempt = lost_attempt
                        ) + (
                            select coalesce(sum(bytes), 0) from reply_thoughts
                            where reply_id = reply and attempt = lost_attempt
                        )
                    ),
                    held.tokens - least(held.input_tokens, held.tokens)
                ),
                0
            )
        from (values (reply)) as lost (id)
        left join holds held on held.reply_id = lost.id
    $$;
