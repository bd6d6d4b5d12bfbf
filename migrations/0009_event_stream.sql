-- What the event stream needs beside the inbox.

-- Which replies a person's devices are to be told of, piece by piece.
create index replies_streaming_of_person on replies (asked_by) where state = 'streaming';

-- Short-lived stand-ins for a bearer token, for a browser's EventSource cannot send headers. The ticket itself is never
-- stored, only its SHA-256.
create table stream_tickets (
    hash bytea primary key check (length(hash) = 32),
    user_id text not null references people (id) on delete cascade,
    expires_at timestamptz not null
);

create index stream_tickets_user on stream_tickets (user_id);
create index stream_tickets_expires_at on stream_tickets (expires_at);

alter table stream_tickets enable row level security;
grant select, insert, delete on stream_tickets to backtalk_app;
create policy stream_tickets_own on stream_tickets for all to backtalk_app using (user_id = (select caller()));

-- Whose ticket this is. It runs as its owner: until it has answered there is no caller.
create function ticket_holder(ticket_hash bytea) returns text
    language sql stable security definer
    set search_path from current
    as $$ select user_id from stream_tickets where hash = ticket_hash and expires_at > now() $$;
