-- Who wants to hear nothing from whom. It binds both: while either has blocked the other, neither writes to the other.
create table blocks (
    blocker text not null references people (id) on delete cascade,
    blocked text not null references people (id) on delete cascade check (blocked <> blocker),
    created_at timestamptz not null default now(),
    primary key (blocker, blocked)
);

-- Serves the erasure of a person.
create index blocks_blocked on blocks (blocked);

-- Nobody sees who has blocked them.
alter table blocks enable row level security;
grant select, insert, delete on blocks to backtalk_app;
create policy blocks_own on blocks for all to backtalk_app using (blocker = (select caller()));

-- Whether either of two people has blocked the other: two look-ups in blocks_pkey. It runs as its owner, for the one who
-- is blocked does not see that row.
create function blocked_between(one text, other text) returns boolean
    language plpgsql stable security definer
    set search_path from current
    as $$
begin
    return exists (select 1 from blocks where blocker = one and blocked = other)
        or exists (select 1 from blocks where blocker = other and blocked = one);
end
$$;
