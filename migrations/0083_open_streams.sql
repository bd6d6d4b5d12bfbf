-- Which streams a person has open, over all processes: on Lambda each is a whole process and a database connection, until
-- it ends, whether or not its reader is still there.
create table open_streams (
    user_id text not null,
    kind text not null check (kind in ('events', 'reply')),
    -- In the order in which they were opened.
    number bigint generated always as identity,
    -- Moved on while the stream lives: one whose process died counts no longer than this.
    expires_at timestamptz not null,
    primary key (user_id, kind, number)
) with (fillfactor = 50);

-- Seen and written by the functions below alone. Without a foreign key: a stream may be opened by somebody who was never met.
alter table open_streams enable row level security;

-- Opens a stream of a person. At most so many of a kind are open: the newest stay, for the oldest may be of a page that was
-- closed; those that lose their row are told by `keep_stream`. Answers where the inbox stands, too, for streams of events.
create function open_stream(person text, of_kind text, most integer, lease interval)
    returns table (stream bigint, inbox_version bigint)
    language plpgsql volatile security definer
    set search_path from current
    as $$
begin
    -- One after the other for a person, so that each of the statements below sees the streams opened before.
    perform pg_advisory_xact_lock(hashtextextended('open_streams ' || person, 0));
    delete from open_streams
    where user_id = person and kind = of_kind and number not in (
        select number from open_streams
        where user_id = person and kind = of_kind and expires_at > clock_timestamp()
        order by number desc
        limit most - 1
    );
    insert into open_streams (user_id, kind, expires_at)
    values (person, of_kind, clock_timestamp() + lease)
    returning number into stream;
    inbox_version := coalesce((select version from inbox_heads where user_id = person), 0);
    return next;
end
$$;

-- Whether a stream may go on. Its lease is renewed when half of it has passed, so that most calls write nothing.
create function keep_stream(person text, of_kind text, stream bigint, lease interval) returns boolean
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    until timestamptz;
begin
    select expires_at into until
    from open_streams
    where user_id = person and kind = of_kind and number = stream;
    if found and until < clock_timestamp() + lease / 2 then
        update open_streams set expires_at = clock_timestamp() + lease
        where user_id = person and kind = of_kind and number = stream;
    end if;
    return found;
end
$$;

create function close_stream(person text, of_kind text, stream bigint) returns void
    language sql volatile security definer
    set search_path from current
    as $$ delete from open_streams where user_id = person and kind = of_kind and number = stream $$;
