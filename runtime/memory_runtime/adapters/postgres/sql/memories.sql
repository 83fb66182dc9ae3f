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
-- The live memories among some rows, of type $2 or any, with payload $3 or any.
select seq, id, coord, type, payload, importance, version, created_at, updated_at
from memories
where seq = any ($1::bigint[])
  and deleted_at is null
  and ($2::text is null or type = $2)
  and ($3::jsonb is null or payload @> $3)

-- name: matching
-- The rows whose payload contains a filter, packed as big-endian int8.
select coalesce(string_agg(int8send(seq), ''), '') as seqs
from memories where payload @> $1::jsonb and deleted_at is null

-- name: keyword_matches
-- Memories that hold words of the query $1, best by full-text rank, scored by word_similarity to its telling words $2;
-- at most $3, of type $4 or any, with payload $5 or any. A word that the vocabulary lacks, and every memory too (the
-- newest are taken into it a little later), stands for its nearest spellings as well. The rarest words choose the candidates, as many words as about $6 memories hold; all words rank them.
-- Materialized: else the query is parsed again for each row. The prefix bounds the comparison, 0.2 µs a character.
with asked as materialized (
    select a.word, v.matches
    from unnest(tsvector_to_array(to_tsvector('english', $1))) as a (word) left join vocabulary v using (word)
), lacking as (
    select word from asked where matches is null and length(word) >= 4 order by length(word) desc, word limit 3
), unknown as (
    select word from lacking l
    where not exists (select from memories m where m.words @@ as_query(l.word)::tsquery and m.deleted_at is null)
), meant as (
    select word, coalesce(matches, 0) as matches from asked
    union
    select near.word, near.matches
    from unknown u,
    lateral (
        select v.word, v.matches
        from vocabulary v
        where v.word % u.word
        order by similarity(v.word, u.word) desc, v.word
        limit 3
    ) as near
), ranked as (
    select as_query(word) as word, sum(matches) over rarest as matches, row_number() over rarest as place
    from meant
    window rarest as (order by matches, word)
), query as materialized (
    select (string_agg(word, ' | ') filter (where matches <= $6 or place = 1))::tsquery as rare,
           string_agg(word, ' | ')::tsquery as words
    from ranked
), found as materialized (
    select m.seq, left(m.content, 1000) as content
    from memories m, query q
    where m.words @@ q.rare
      and m.deleted_at is null
      and ($4::text is null or m.type = $4)
      and ($5::jsonb is null or m.payload @> $5)
    order by ts_rank(m.words, q.words) desc, m.seq
    limit $3
)
select seq, word_similarity($2, content) as similarity from found

-- name: settle
-- Take recent writes into the vocabulary and the text indexes; $1 asks for fresh statistics too.
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

-- name: expire_words
-- Of the $2 words after $1, drop those that no memory holds any more; returns the last word looked at.
with looked as materialized (
    select word from vocabulary where word > $1 order by word limit $2
), dropped as (
    delete from vocabulary v
    using looked l
    where v.word = l.word
      and not exists (
          select from memories m where m.words @@ as_query(l.word)::tsquery and m.deleted_at is null
      )
)
select max(word) from looked

-- name: expire_tombstones
-- Drop tombstones that every index has had time to see.
delete from memories where deleted_at < now() - $1::interval
