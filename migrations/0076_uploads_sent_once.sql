-- An upload is sent once: its signed address takes no second one while an object is there. Where the object is deleted while
-- the address is still good, which an erasure does, it could be sent again, and nothing would know of it. So the object is
-- deleted once more when the address is good no longer.
create table erased_uploads (
    id uuid primary key,
    expires_at timestamptz not null
);

-- Serves the sweeper.
create index erased_uploads_expires_at on erased_uploads (expires_at);

-- It names nobody, and is for the system alone.
alter table erased_uploads enable row level security;
