-- Memories, their vectors, the outbox, idempotency keys. Runs with search_path set to the namespace's schema.

create table metadata (
    name  text primary key,
    value text not null
);
comment on table metadata is 'Facts about the whole namespace, such as the embedder of its vectors.';

create table memories (
    seq         bigint generated always as identity unique,
    id          uuid primary key,
    coord       float8[] not null,
    type        text not null check (type in ('episodic', 'semantic')),
    payload     jsonb not null check (jsonb_typeof(payload) = 'object'),
    content     text not null,
    importance  float8 not null,
    version     bigint not null default 1,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    deleted_at  timestamptz,
    changed_in  xid8 not null default pg_current_xact_id(),
    words       tsvector not null generated always as (to_tsvector('english', content)) stored
);
comment on column memories.seq is 'Short key of the row inside the API processes.';
comment on column memories.content is 'The text that is searched: the payload''s text fields, not its JSON.';
comment on column memories.deleted_at is 'Set on a tombstone, which stays until every index has seen the deletion.';
comment on column memories.changed_in is 'Transaction of the last change; the change feed follows it.';

create index memories_changed_in on memories (changed_in);
-- GIN indexes take new rows into a pending list first. The limits keep the merge out of the writers' way; settle()
-- below does it in the background, for a long list makes every search slow.
create index memories_content_trigrams on memories using gin (content gin_trgm_ops)
    with (gin_pending_list_limit = 32768) where deleted_at is null;
create index memories_words on memories using gin (words)
    with (gin_pending_list_limit = 8192) where deleted_at is null;
create index memories_payload on memories using gin (payload jsonb_path_ops)
    with (gin_pending_list_limit = 8192) where deleted_at is null;
create index memories_tombstones on memories (deleted_at) where deleted_at is not null;

-- Without statistics of the text, planning a trigram search need not compare it with a hundred samples (5 ms each time).
alter table memories alter column content set statistics 0;

create table vectors (
    seq         bigint primary key references memories (seq) on delete cascade,
    embedder_id text not null,
    embedding   bytea not null
);
comment on column vectors.embedding is 'float32, little-endian, L2-normalised.';
-- Vectors do not compress; without this Postgres would try for each row over 2 kB.
alter table vectors alter column embedding set storage external;

create table outbox (
    position   bigint generated always as identity primary key,
    kind       text not null check (kind in ('memory.stored', 'memory.deleted')),
    memory_id  uuid not null,
    version    bigint not null,
    coord      float8[],
    type       text,
    payload    jsonb,
    importance float8,
    created_at timestamptz not null default now()
);
comment on table outbox is
    'One row for each committed change, written by the statement that makes it; a deletion leaves coord to importance out.';
create index outbox_created_at on outbox using brin (created_at);

create table idempotency_keys (
    key         text primary key,
    fingerprint bytea not null,
    response    text,
    created_at  timestamptz not null default now()
);
create index idempotency_keys_created_at on idempotency_keys (created_at);

-- The API may not own tables, and only owners may merge and analyse; this function is all it gets of that.
create function settle(with_statistics boolean) returns void
language plpgsql security definer set search_path from current as $$
begin
    if not pg_try_advisory_xact_lock(hashtextextended('memory settle ' || current_schema(), 0)) then
        return; -- another process is at it
    end if;
    perform gin_clean_pending_list('memories_words'::regclass);
    perform gin_clean_pending_list('memories_payload'::regclass);
    perform gin_clean_pending_list('memories_content_trigrams'::regclass);
    if with_statistics then
        analyze memories;
        analyze vectors;
    end if;
end
$$;
comment on function settle is 'Merge the pending lists of the text indexes, and bring statistics up to date.';
