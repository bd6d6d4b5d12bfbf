-- Posts of a person's site; each may have an AI chat attached.
create table posts (
    id uuid primary key,
    owner_id text not null references people (id) on delete cascade,
    content text not null,
    providers text[] not null default '{}',
    auth_provider_ids text[] not null default '{}',
    status text not null default 'DRAFT' check (status in ('DRAFT', 'SCHEDULED', 'SENT', 'FAILED')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    sent_at timestamptz
);

create index posts_owner on posts (owner_id, created_at desc, id);
