-- What is there. Parameters are bound; a role or schema that is missing gives null, never an error.

-- name: tenants
-- One row for each tenant asked for, in that order: $1 schemas, $2 owner roles, $3 and $4 login roles; $5 are the lines
-- that describe the structure of each schema. The sweep over all tenants and the pass over one use this same query.
--
-- Objects of a schema are found by their dependency on it, for pg_class has no index by schema: so a pass costs the same
-- however many tenants there are. pg_stat_activity would join names that nobody needs here, and each new schema anywhere
-- lets a session plan this anew. ts_stat() is the one built-in function of every build that runs a text as a query.
with sessions (counted, oldest) as materialized (
    select coalesce(jsonb_object_agg(usesysid, number), '{}'), coalesce(jsonb_object_agg(usesysid, code), '{}')
      from (select usesysid, count(*) as number,
                   min(case when application_name like 'memory %' then
                       coalesce(substring(application_name from '^memory ([0-9]{1,9}) ')::int, 0) end) as code
              from pg_stat_get_activity(null)
             where usesysid is not null group by usesysid) as each_role
)
select {server},
       (select json_object_agg(r.rolname, json_build_object(
                   'comment', shobj_description(r.oid, 'pg_authid'),
                   'can_login', r.rolcanlogin,
                   'privileged', r.rolsuper or r.rolcreatedb or r.rolcreaterole or r.rolreplication or r.rolbypassrls,
                   'connection_limit', r.rolconnlimit,
                   'settings', r.rolconfig,
                   'settings_here', (select here.setconfig from pg_db_role_setting here
                                      where here.setdatabase = d.oid and here.setrole = r.oid),
                   'member_of', array(select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.roleid
                                       where m.member = r.oid order by 1),
                   'expires', coalesce(r.rolvaliduntil < 'infinity', false),
                   'may_connect', has_database_privilege(r.oid, d.oid, 'CONNECT'),
                   'may_use_extension', coalesce(has_schema_privilege(r.oid, x.oid, 'USAGE'), true),
                   'admin_may_be', pg_has_role(admin.oid, r.oid, 'USAGE') and pg_has_role(admin.oid, r.oid,
                       case when current_setting('server_version_num')::int < 160000 then 'MEMBER' else 'SET' end),
                   'sessions', coalesce(((select counted from sessions) ->> r.oid::text)::int, 0),
                   'oldest_code', ((select oldest from sessions) ->> r.oid::text)::int,
                   'oid', r.oid,
                   'verifier', {verifier}))
          from pg_roles r
         where r.rolname = any (array[a.owner, a.slot_a, a.slot_b])) as roles,
       (select json_build_object(
                   'comment', obj_description(n.oid, 'pg_namespace'),
                   'owner', pg_get_userbyid(n.nspowner),
                   'acl', n.nspacl::text[],
                   'defaults', (select json_object_agg(f.defaclobjtype, f.defaclacl::text[])
                                  from pg_default_acl f join pg_roles o on o.oid = f.defaclrole
                                 where f.defaclnamespace = n.oid and o.rolname = a.owner),
                   'objects', (
                       select json_agg(json_build_object('kind', kind, 'owner', owner, 'acl', acl, 'names', names))
                         from (select kind, pg_get_userbyid(owner) as owner, acl, array_agg(name order by name) as names
                                 from (select case c.relkind when 'S' then 'sequence' else 'table' end as kind,
                                              c.relowner as owner, c.relacl::text[] as acl, c.relname as name
                                         from pg_depend p join pg_class c on c.oid = p.objid
                                        where p.refclassid = 'pg_namespace'::regclass and p.refobjid = n.oid
                                          and p.classid = 'pg_class'::regclass
                                          and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
                                       union all
                                       select 'function', c.proowner, c.proacl::text[], c.proname
                                         from pg_depend p join pg_proc c on c.oid = p.objid
                                        where p.refclassid = 'pg_namespace'::regclass and p.refobjid = n.oid
                                          and p.classid = 'pg_proc'::regclass) as object
                                group by kind, owner, acl) as alike),
                   'lost', {lost},
                   'applied', case
                       when m.oid is null then array[]::text[]
                       when has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(m.oid, 'SELECT') then
                           array(select word from ts_stat(format(
                               'select array_to_tsvector(array[concat_ws('':'', version, stage, checksum)]) from %I.schema_migrations',
                               n.nspname)))
                   end)
          from pg_namespace n
         cross join lateral (select (select c.oid from pg_class c
                                      where c.relname = 'schema_migrations' and c.relnamespace = n.oid
                                        and c.relkind = 'r') as oid) as m
         where n.nspname = a.schema) as schema
  from unnest($1::name[], $2::name[], $3::name[], $4::name[])
       with ordinality as a (schema, owner, slot_a, slot_b, position)
 cross join {surroundings}
 order by a.position

-- name: newcomer
-- The same row for one tenant that was never looked at before: $1 its schema, $2 to $4 its roles. None when anything of it
-- is there. It takes the server a fifth of the time of the other query, which has to be planned anew for each newcomer.
select {server}, null as roles, null as schema
  from {surroundings}
 where to_regnamespace(quote_ident($1)) is null and to_regrole(quote_ident($2)) is null
   and to_regrole(quote_ident($3)) is null and to_regrole(quote_ident($4)) is null

-- name: server
-- Part of both: what tenants have in common.
current_setting('server_version_num')::int as version,
       d.datname as database,
       admin.rolname as admin,
       admin.rolinherit as admin_inherits,
       x.nspname as extension_schema,
       exists (select from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) p
                where p.grantee = 0 and p.privilege_type = 'CONNECT') as public_may_connect,
       x.nspname is null or exists (select from aclexplode(coalesce(x.nspacl, acldefault('n', x.nspowner))) p
                where p.grantee = 0 and p.privilege_type = 'USAGE') as public_may_use_extension

-- name: surroundings
-- Part of both: the database, the administrator, the schema of the extension.
(select * from pg_database where datname = current_database()) as d
 cross join (select oid, rolname, rolinherit from pg_roles where rolname = current_user) as admin
  left join (select n.oid, n.nspname, n.nspacl, n.nspowner
               from pg_extension e join pg_namespace n on n.oid = e.extnamespace
              where e.extname = 'pg_trgm') as x on true

-- name: lost
-- Part of the first: the lines that do not hold.
case when m.oid is not null then array(select unnest($5::text[]) except {structure} order by 1) end

-- name: not_looked_for
-- Part of the first, where they are known to hold: to plan that part would take twice as long as all others.
case when $5::text[] is null then array[]::text[] end

-- name: structure
-- Part of that: a line for each column, index, constraint and function of schema n. Nothing in a line depends on the
-- version of the server, on the name of the schema, or on the number of a column, which a restored backup may change.
select case p.classid
       when 'pg_class'::regclass then described.line
       when 'pg_proc'::regclass then (
           select format('function %s(%s) %s', f.proname, oidvectortypes(f.proargtypes),
                      concat_ws(' ', f.prorettype::regtype, case when f.prosecdef then 'definer' end,
                          case when f.proconfig is not null then 'set' end, md5(f.prosrc)))
             from pg_proc f where f.oid = p.objid)
       end
  from pg_depend p
  left join lateral (
      select format('column %s.%s %s', c.relname, a.attname,
                 concat_ws(' ', format_type(a.atttypid, a.atttypmod),
                     case when a.attnotnull then 'not null' end,
                     case when a.atthasdef then 'default' end,
                     nullif(a.attidentity, ''), nullif(a.attgenerated, ''))) as line
        from pg_class c join pg_attribute a on a.attrelid = c.oid
       where c.oid = p.objid and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
      union all
      select format('index %s on %s (%s)', i.relname, c.relname,
                 concat_ws(' ', h.amname, (
                     select string_agg(a.attname, ',' order by k.position)
                       from unnest(x.indkey::int2[]) with ordinality as k (number, position)
                       join pg_attribute a on a.attrelid = c.oid and a.attnum = k.number), case when x.indisunique then 'unique' end,
                     case when x.indpred is not null then 'partial' end,
                     case when not x.indisvalid then 'invalid' end))
        from pg_class c join pg_index x on x.indrelid = c.oid
        join pg_class i on i.oid = x.indexrelid join pg_am h on h.oid = i.relam
       where c.oid = p.objid and c.relkind = 'r'
      union all
      select format('constraint %s on %s (%s)', k.conname, c.relname,
                 concat_ws(' ', k.contype, (
                     select string_agg(a.attname, ',' order by b.position)
                       from unnest(k.conkey) with ordinality as b (number, position)
                       join pg_attribute a on a.attrelid = c.oid and a.attnum = b.number),
                     case when not k.convalidated then 'not valid' end))
        from pg_class c join pg_constraint k on k.conrelid = c.oid
       where c.oid = p.objid and c.relkind = 'r' and k.contype <> 'n'
  ) as described on p.classid = 'pg_class'::regclass
 where p.refclassid = 'pg_namespace'::regclass and p.refobjid = n.oid

-- name: verifier
-- What is stored about a password; for who may read it.
(select s.rolpassword from pg_authid s where s.oid = r.oid)

-- name: no_verifier
-- For who may not.
null

-- name: verifiers_readable
-- May the administrator read them?
select has_column_privilege('pg_authid', 'rolpassword', 'SELECT')

-- name: elsewhere
-- What roles $1 own outside schema $2, or own or may use in other databases; as texts for a person.
select distinct case when d.dbid in (0, h.oid) then i.type || ' ' || i.identity
                     else 'objects in database ' || o.datname end as described
  from pg_shdepend d
  join pg_roles r on r.oid = d.refobjid
 cross join (select oid from pg_database where datname = current_database()) as h
  left join pg_database o on o.oid = d.dbid
 cross join pg_identify_object(d.classid, d.objid, d.objsubid) as i
 where d.refclassid = 'pg_authid'::regclass
   and r.rolname = any ($1::name[])
   and (d.dbid not in (0, h.oid)
        or (d.deptype = 'o'
            and d.classid <> 'pg_default_acl'::regclass
            and i.schema is distinct from $2
            and not (d.classid = 'pg_namespace'::regclass and i.name = $2)))
 order by 1

-- name: facts
-- The server, who asks, and what both can.
select current_setting('server_version') as version,
       current_setting('server_version_num')::int as version_number,
       current_database() as database,
       (select rolsuper from pg_roles where rolname = current_user) as superuser,
       has_column_privilege('pg_authid', 'rolpassword', 'SELECT') as verifiers,
       exists (select from pg_extension where extname = 'pg_trgm') as trigrams,
       pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool as read_only,
       has_function_privilege('pg_control_system()', 'EXECUTE') as identified

-- name: identity
-- The number that initdb gave to this server and its replicas.
select system_identifier::text from pg_control_system()

-- name: end_sessions
-- End what runs as roles $1, and wait for each up to $2 milliseconds.
select pg_terminate_backend(pid, $2) from pg_stat_activity where usename = any ($1::name[])

-- name: end_former_leaders
-- End the sessions of leaders of Kubernetes cluster $1 before epoch $2, and wait for each up to $3 milliseconds. One that
-- is frozen, or cut off from the network, would keep its locks until somebody noticed.
select pg_terminate_backend(pid, $3) from pg_stat_activity
 where usename = current_user and pid <> pg_backend_pid() and split_part(application_name, ' ', 2) = $1
   and case when split_part(application_name, ' ', 3) ~ '^[0-9]{1,18}$'
            then split_part(application_name, ' ', 3)::bigint < $2 end
