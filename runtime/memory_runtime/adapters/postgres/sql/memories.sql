-- name: store
-- Write memory, vector and outbox row of each draft in one statement; $9 and $10 are the precondition.
with drafts as (
    select *
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::float8[], $7::bytea[])
        as d (id, coord, type, payload, content, importance, embedding)
), written as (
    insert into memories as m (id, coord, type, payload, content, importance)
    select d.id, d.coord::float8[], d.type, d.payload::jsonb, d.content, d.importance
    from drafts d
    where $9::bigint is null
       or exists (select from memories e where e.id = d.id and e.version = $9 and e.deleted_at is null)
    on conflict (id) do update set
        type = excluded.type,
        payload = excluded.payload,
        content = excluded.content,
        importance = excluded.importance,
        version = m.version + 1,
        created_at = case when m.deleted_at is null then m.created_at else now() end,
        updated_at = now(),
        deleted_at = null,
        changed_in = pg_current_xact_id()
    where ($9::bigint is null or (m.version = $9 and m.deleted_at is null))
      and (not $10::boolean or m.deleted_at is not null)
    returning m.seq, m.id, m.version, m.changed_in, m.coord, m.type, m.payload, m.importance
), vectors_written as (
    insert into vectors (seq, embedder_id, embedding)
    select w.seq, $8, d.embedding
    from written w join drafts d on d.id = w.id
    on conflict (seq) do update set embedder_id = excluded.embedder_id, embedding = excluded.embedding
), events as (
    insert into outbox (kind, memory_id, version, coord, type, payload, importance)
    select 'memory.stored', w.id, w.version, w.coord, w.type, w.payload, w.importance from written w
)
select seq, id, version, changed_in from written

-- name: forget
-- Turn a live memory into a tombstone, drop its vector and text, and write the outbox row; $2 is the expected version.
with gone as (
    update memories
    set deleted_at = now(), updated_at = now(), version = version + 1, payload = '{}', content = '',
        changed_in = pg_current_xact_id()
    where id = $1 and deleted_at is null and ($2::bigint is null or version = $2)
    returning seq, id, version, changed_in
), vectors_gone as (
    delete from vectors v using gone where v.seq = gone.seq
), events as (
    insert into outbox (kind, memory_id, version) select 'memory.deleted', id, version from gone
)
select seq, id, version, changed_in from gone

-- name: version_of
-- The version of a live memory.
select version from memories where id = $1 and deleted_at is null

-- name: get
-- One live memory by id.
select seq, id, coord, type, payload, importance, version, created_at, updated_at
from memories where id = $1 and deleted_at is null

-- name: by_seq
-- The live memories among some rows.
select seq, id, coord, type, payload, importance, version, created_at, updated_at
from memories where seq = any ($1::bigint[]) and deleted_at is null

-- name: matching
-- The rows whose payload contains a filter, packed as big-endian int8.
select coalesce(string_agg(int8send(seq), ''), '') as seqs
from memories where payload @> $1::jsonb and deleted_at is null

-- name: word_matches
-- Memories that hold words of the query $1, best by full-text rank, scored by word_similarity to its telling words $2;
-- at most $3, of type $4 or any, with payload $5 or any. Materialized: else the query is parsed again for each row.
-- The prefix bounds the comparison, which costs 0.2 µs a character.
with query as materialized (
    select replace(plainto_tsquery('english', $1)::text, ' & ', ' | ')::tsquery as words
), found as materialized (
    select m.seq, left(m.content, 1000) as content
    from memories m, query q
    where m.words @@ q.words
      and m.deleted_at is null
      and ($4::text is null or m.type = $4)
      and ($5::jsonb is null or m.payload @> $5)
    order by ts_rank(m.words, q.words) desc, m.seq
    limit $3
)
select seq, word_similarity($2, content) as similarity from found

-- name: spelling_matches
-- Memories that hold something spelt like the telling words $1; at most $2, of type $3 or any, with payload $4 or any.
select seq, word_similarity($1, left(content, 1000)) as similarity
from memories
where content %> $1
  and deleted_at is null
  and ($3::text is null or type = $3)
  and ($4::jsonb is null or payload @> $4)
order by similarity desc, seq
limit $2

-- name: settle
-- Merge what recent writes left in the pending lists of the text indexes; $1 asks for fresh statistics too.
select settle($1)

-- name: claim_key
-- Reserve an idempotency key; waits for a concurrent request under the same key.
insert into idempotency_keys (key, fingerprint) values ($1, $2) on conflict (key) do nothing returning true

-- name: read_key
-- What an idempotency key stands for.
select fingerprint, response from idempotency_keys where key = $1

-- name: complete_key
-- Keep the answer that was given under a key.
update idempotency_keys set response = $2 where key = $1

-- name: expire_keys
-- Drop old idempotency keys.
delete from idempotency_keys where created_at < now() - $1::interval

-- name: expire_outbox
-- Drop old outbox rows.
delete from outbox where created_at < now() - $1::interval

-- name: expire_tombstones
-- Drop tombstones that every index has had time to see.
delete from memories where deleted_at < now() - $1::interval
