-- The ledger: who holds which tenant and which objects, and who leads. Schema memory_operator of the admin database.

-- name: version
-- The ledger's mark (null: there is none), its owner, and whether we may use it.
select obj_description(n.oid, 'pg_namespace') as mark, pg_get_userbyid(n.nspowner)::text as owner,
       has_schema_privilege(n.oid, 'USAGE') as usable, current_user::text as admin
  from pg_namespace n where n.nspname = 'memory_operator'

-- name: create
-- The whole ledger, but for its mark. Closed to everybody: new schemas are, the rest is said
-- again for databases with other default privileges.
create schema memory_operator;
revoke all on schema memory_operator from public;

create table memory_operator.tenants (
    tenant       text primary key,
    uid          text not null,
    identity     text not null,
    predecessors text[] not null default '{}',
    claimed_at   timestamptz not null default now(),
    released_at  timestamptz
);
comment on table memory_operator.tenants is
    'Which object (uid) of which Kubernetes cluster (identity) holds a tenant; predecessors are uids it took over from.';

create table memory_operator.objects (
    backend    text not null,
    object     text not null,
    tenant     text not null references memory_operator.tenants on delete cascade,
    claimed_at timestamptz not null default now(),
    primary key (backend, object)
);
create index objects_tenant on memory_operator.objects (tenant);
comment on table memory_operator.objects is 'Objects of backends that can carry no mark, such as Kafka topics.';

create table memory_operator.fencing (
    identity text primary key,
    epoch    bigint not null
);
comment on table memory_operator.fencing is 'The newest leader of each Kubernetes cluster; an older one may not write.';

revoke all on all tables in schema memory_operator from public;

create function memory_operator.fence(identity text, epoch bigint) returns void
language plpgsql set search_path to pg_catalog as $$
declare
    stored bigint;
begin
    if epoch is null or epoch = 0 then
        return; -- one machine, one operator
    end if;
    select f.epoch into stored from memory_operator.fencing f where f.identity = fence.identity;
    if stored is null or stored < fence.epoch then
        insert into memory_operator.fencing as f values (fence.identity, fence.epoch)
            on conflict on constraint fencing_pkey do update set epoch = greatest(f.epoch, excluded.epoch);
    end if;
    -- Shared, so that passes do not wait for one another, but a new leader waits for what is being written.
    select f.epoch into stored from memory_operator.fencing f where f.identity = fence.identity for share;
    if stored > fence.epoch then
        raise exception using errcode = 'MO001', detail = stored, message = format(
            'another leader took over (epoch %s, this one has %s); this process may not write any more',
            stored, fence.epoch);
    end if;
end
$$;
comment on function memory_operator.fence is 'Fails when a newer leader of this Kubernetes cluster has written.';

create function memory_operator.hold(tenant text, uid text, identity text) returns void
language plpgsql set search_path to pg_catalog as $$
declare
    holder memory_operator.tenants;
begin
    select * into holder from memory_operator.tenants t where t.tenant = hold.tenant for share;
    if holder.tenant is null or holder.released_at is not null then
        raise exception using errcode = 'MO002', message = format('tenant %s is not claimed', tenant);
    elsif (holder.uid, holder.identity) is distinct from (hold.uid, hold.identity) then
        raise exception using errcode = 'MO002', message = format(
            'tenant %s is held by the object with uid %s of the Kubernetes cluster %s',
            tenant, holder.uid, holder.identity);
    end if;
end
$$;
comment on function memory_operator.hold is 'Fails when the tenant is not held by this object.';

revoke all on all functions in schema memory_operator from public

-- name: holder
-- Who holds tenant $1.
select tenant, uid, identity, predecessors, claimed_at, released_at from memory_operator.tenants where tenant = $1

-- name: claim
-- The first to commit wins; a second one waits for that and finds the row. A released claim goes to a new object of the
-- same Kubernetes cluster, or back to the one that gave it up. Where names are unique ($4), one that was not released goes
-- to a later object too, never to an earlier one. No row when somebody else keeps it.
insert into memory_operator.tenants as t (tenant, uid, identity) values ($1, $2, $3)
on conflict (tenant) do update
   set uid = $2, claimed_at = now(), released_at = null,
       predecessors = case when t.uid = $2 or t.uid = any (t.predecessors) then t.predecessors
                           else t.predecessors || t.uid end
 where t.identity = $3
   and (t.released_at is not null or ($4 and t.uid <> $2 and $2 <> all (t.predecessors)))
returning tenant, uid, identity, predecessors, claimed_at, released_at

-- name: release_tenant
-- The data stays; a successor may take it over.
update memory_operator.tenants set released_at = now()
 where tenant = $1 and uid = $2 and identity = $3 and released_at is null

-- name: forget_tenant
-- Nothing of the tenant is left; the claims of its objects go too.
delete from memory_operator.tenants where tenant = $1 and uid = $2 and identity = $3

-- name: tenants
-- All claims, the oldest first.
select tenant, uid, identity, predecessors, claimed_at, released_at from memory_operator.tenants order by claimed_at, tenant

-- name: claimed_objects
-- What tenant $1 has claimed in backend $3, while object $2 holds it.
select object from memory_operator.objects join memory_operator.tenants using (tenant)
 where tenant = $1 and uid = $2 and backend = $3

-- name: claim_objects
-- Claim objects $3; those that another tenant has stay its.
insert into memory_operator.objects (backend, object, tenant)
select $2, object, $1 from unnest($3::text[]) as object
on conflict do nothing

-- name: foreign_objects
-- Which of objects $3 belong to another tenant, and to which.
select object, tenant from memory_operator.objects where backend = $2 and object = any ($3::text[]) and tenant <> $1

-- name: release_objects
-- Give up objects that are gone.
delete from memory_operator.objects where tenant = $1 and backend = $2 and object = any ($3::text[])
