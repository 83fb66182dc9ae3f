-- Memories, their vectors, the outbox, idempotency keys. Runs with search_path set to the namespace's schema.

-- Bounded, so that Postgres makes no TOAST table for it: two files less for each namespace.
create table metadata (
    name  varchar(40) primary key,
    value varchar(400) not null
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
create index memories_words on memories using gin (words)
    with (gin_pending_list_limit = 8192) where deleted_at is null;
create index memories_payload on memories using gin (payload jsonb_path_ops)
    with (gin_pending_list_limit = 8192) where deleted_at is null;
create index memories_tombstones on memories (deleted_at) where deleted_at is not null;

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

create table vocabulary (
    word    text primary key,
    matches float8 not null default 0
);
comment on table vocabulary is 'The word stems of the memories: what a query may have meant, and how common each is.';
comment on column vocabulary.matches is 'Memories that hold the word, by the last statistics; 0 for a rare one.';
create index vocabulary_trigrams on vocabulary using gin (word gin_trgm_ops);

-- A stem as a tsquery that matches just it.
create function as_query(stem text) returns text
language sql immutable strict parallel safe as $$
    select '''' || replace(replace(stem, '\', '\\'), '''', '''''') || ''''
$$;

-- The API may not own tables, and only owners may merge and analyse; this function is all it gets of that.
create function settle(with_statistics boolean) returns void
language plpgsql security definer set search_path from current as $$
declare
    since xid8;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('memory settle ' || current_schema(), 0)) then
        return; -- another process is at it
    end if;
    select value::xid8 into since from metadata where name = 'settled';
    insert into metadata values ('settled', pg_snapshot_xmin(pg_current_snapshot())::text)
        on conflict (name) do update set value = excluded.value;
    insert into vocabulary (word)
        select distinct stem from memories, unnest(tsvector_to_array(words)) as stem
        where changed_in >= coalesce(since, '0'::xid8) and deleted_at is null
        on conflict do nothing;
    perform gin_clean_pending_list('memories_words'::regclass);
    perform gin_clean_pending_list('memories_payload'::regclass);
    perform gin_clean_pending_list('vocabulary_trigrams'::regclass);
    if with_statistics then
        analyze memories (words, type, deleted_at, changed_in);
        analyze vocabulary;
        update vocabulary v set matches = common.matches
            from (
                select listed.word, listed.share * c.reltuples as matches
                from pg_class c
                join pg_stats s on s.schemaname = current_schema() and s.tablename = 'memories' and s.attname = 'words',
                     unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) as listed (word, share)
                where c.oid = 'memories'::regclass
            ) as common
            where v.word = common.word;
    end if;
end
$$;
comment on function settle is 'Take recent writes into the vocabulary and the text indexes, and renew statistics.';
