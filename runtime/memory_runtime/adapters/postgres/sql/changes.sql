-- name: horizon
-- The lowest transaction that may still be running: everything below it has ended.
select pg_snapshot_xmin(pg_current_snapshot()) as horizon

-- name: changes
-- All visible changes by transactions at or above $1, with the horizon of the same snapshot; one row without seq if none.
select pg_snapshot_xmin(pg_current_snapshot()) as horizon, m.seq, m.version, m.changed_in
from (values (true)) as always left join memories m on m.changed_in >= $1::xid8

-- name: entries
-- What the vector index needs of some rows; a tombstone comes without an embedding.
select m.seq, m.id, m.version, m.type, m.importance, m.deleted_at is null as alive, v.embedder_id, v.embedding
from memories m left join vectors v on v.seq = m.seq
where m.seq = any ($1::bigint[])

-- name: page_of_entries
-- The next live rows after seq $1, $2 of them, for loading the whole index.
select m.seq, m.id, m.version, m.type, m.importance, true as alive, v.embedder_id, v.embedding
from memories m left join vectors v on v.seq = m.seq
where m.seq > $1 and m.deleted_at is null
order by m.seq
limit $2

-- name: claim_embedder
-- Record the embedder of this namespace unless one is recorded.
insert into metadata (name, value) values ('embedder', $1) on conflict (name) do nothing

-- name: read_embedder
-- The embedder that the stored vectors come from.
select value from metadata where name = 'embedder'

-- name: announce
-- Wake the processes that listen on this namespace's channel; $2 names the sender, which need not wake itself.
select pg_notify($1, $2)
