-- A ticket opens a stream that ends when the token does for which the ticket was issued.
alter table stream_tickets add column token_expires_at timestamptz;

-- `ticket_holder` with what it leaves out. A ticket of the version before knows no token, and stands for itself.
create function ticket_holding(ticket_hash bytea) returns table (holder text, token_expires_at timestamptz)
    language sql stable security definer
    set search_path from current
    as $$
        select user_id, coalesce(tickets.token_expires_at, expires_at)
        from stream_tickets tickets
        where hash = ticket_hash and expires_at > now()
    $$;
