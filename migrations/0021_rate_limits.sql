-- How fast a person may go, per class of routes. Unlogged: it is written with every request that changes something, and all
-- that a crash of the database forgets is a minute's counting. Without a foreign key: a request is counted before its
-- person is known.
create unlogged table rate_limits (
    user_id text not null,
    class text not null,
    -- The theoretical arrival time of the generic cell rate algorithm (ITU-T I.371): when the allowance is whole again.
    tat timestamptz not null,
    -- What the sweeper goes by. It changes once a day, so that the updates in between stay HOT.
    touched_on date not null,
    primary key (user_id, class)
) with (fillfactor = 50);

create index rate_limits_touched_on on rate_limits (touched_on);

-- Seen and written by `spend_rate` alone.
alter table rate_limits enable row level security;

-- Spends one request of `quota` in each `per`, if there is one left; a request too many moves nothing. An allowance comes
-- back bit by bit, one request every `per / quota`: there is no window at whose start everybody begins anew.
--
-- One statement decides. The time is read once the row is held (`at_time` is for tests): who waited for it would otherwise
-- come too early, and be refused what is theirs.
create function spend_rate(person text, of_class text, quota integer, per interval, at_time timestamptz default null)
    returns table (is_allowed boolean, remaining integer, reset_after_seconds integer, retry_after_seconds integer)
    language plpgsql volatile security definer
    set search_path from current
    as $$
declare
    -- Rounded down: `quota` of them must fit.
    step interval := make_interval(secs => greatest(floor(extract(epoch from per) * 1000000 / quota), 1) / 1000000);
    arrival timestamptz;
    moment timestamptz;
begin
    insert into rate_limits as known (user_id, class, tat, touched_on)
    values (
        person, of_class, coalesce(at_time, clock_timestamp()) + step,
        (coalesce(at_time, clock_timestamp()) at time zone 'utc')::date
    )
    on conflict (user_id, class) do update
        set tat = greatest(known.tat, coalesce(at_time, clock_timestamp())) + step, touched_on = excluded.touched_on
        where greatest(known.tat, coalesce(at_time, clock_timestamp())) + step
            <= coalesce(at_time, clock_timestamp()) + per
    returning known.tat into arrival;
    is_allowed := found;
    if not is_allowed then
        select tat into arrival from rate_limits where user_id = person and class = of_class;
    end if;
    moment := coalesce(at_time, clock_timestamp());
    remaining := greatest(floor(extract(epoch from moment + per - arrival) / extract(epoch from step)), 0);
    reset_after_seconds := ceil(extract(epoch from arrival - moment));
    retry_after_seconds := case
        when is_allowed then 0
        -- It may have come back a moment ago.
        else greatest(ceil(extract(epoch from arrival + step - per - moment)), 1)
    end;
    return next;
end
$$;
