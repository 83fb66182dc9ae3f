-- What is there. Parameters are bound; a role or schema that is missing gives no row or false, never an error.

-- name: server
-- The server, who asks, and where the trigram extension lives.
select current_setting('server_version_num')::int as version,
       current_database() as database,
       current_user as admin,
       (select rolsuper from pg_roles where rolname = current_user) as superuser,
       (select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace
         where e.extname = 'pg_trgm') as extension_schema

-- name: role
-- Role $1: attributes, claim, settings, and the roles it is a member of.
select r.rolcanlogin as can_login,
       r.rolsuper or r.rolcreatedb or r.rolcreaterole or r.rolreplication or r.rolbypassrls as privileged,
       r.rolconnlimit as connection_limit,
       coalesce(r.rolconfig, '{}') as settings,
       shobj_description(r.oid, 'pg_authid') as comment,
       array(select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.roleid
              where m.member = r.oid order by 1) as member_of
  from pg_roles r
 where r.rolname = $1

-- name: schema
-- Schema $1: claim, owner, and what login role $2 and everybody may do with it.
select pg_get_userbyid(n.nspowner)::text as owner,
       obj_description(n.oid, 'pg_namespace') as comment,
       coalesce(has_schema_privilege(l.oid, n.oid, 'USAGE'), false) as login_usage,
       coalesce(has_schema_privilege(l.oid, n.oid, 'CREATE'), false) as login_create,
       exists (select from aclexplode(n.nspacl) a where a.grantee = 0) as open_to_public
  from pg_namespace n
  left join pg_roles l on l.rolname = $2
 where n.nspname = $1

-- name: relations
-- Tables, views and sequences of schema $1: does login role $2 lack something, has everybody something?
select c.relkind = 'S' as is_sequence,
       case when c.relkind = 'S'
            then coalesce(has_sequence_privilege(l.oid, c.oid, 'USAGE')
                          and has_sequence_privilege(l.oid, c.oid, 'SELECT'), false)
            else coalesce(has_table_privilege(l.oid, c.oid, 'SELECT')
                          and has_table_privilege(l.oid, c.oid, 'INSERT')
                          and has_table_privilege(l.oid, c.oid, 'UPDATE')
                          and has_table_privilege(l.oid, c.oid, 'DELETE'), false)
       end as login_may,
       exists (select from aclexplode(c.relacl) a where a.grantee = 0) as open_to_public
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_roles l on l.rolname = $2
 where n.nspname = $1
   and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')

-- name: default_privileges
-- What login role $3 gets on objects that owner role $2 will make in schema $1: kind of object, privilege.
select d.defaclobjtype::text as kind, a.privilege_type as privilege
  from pg_default_acl d
  join pg_namespace n on n.oid = d.defaclnamespace
  join pg_roles o on o.oid = d.defaclrole
 cross join aclexplode(d.defaclacl) a
  join pg_roles g on g.oid = a.grantee
 where n.nspname = $1
   and o.rolname = $2
   and g.rolname = $3

-- name: may_use_schema
-- May role $1 use schema $2? True when the role does not exist yet and everybody may.
select coalesce(
         (select has_schema_privilege(r.oid, n.oid, 'USAGE') from pg_roles r where r.rolname = $1),
         exists (select from aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
                  where a.grantee = 0 and a.privilege_type = 'USAGE'))
  from pg_namespace n
 where n.nspname = $2

-- name: may_connect
-- May role $1 connect to this database? True when the role does not exist yet and everybody may.
select coalesce(
         (select has_database_privilege(r.oid, d.oid, 'CONNECT') from pg_roles r where r.rolname = $1),
         exists (select from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                  where a.grantee = 0 and a.privilege_type = 'CONNECT'))
  from pg_database d
 where d.datname = current_database()

-- name: may_become_member
-- May the administrator SET ROLE to role $1? (Postgres 15)
select pg_has_role(current_user, oid, 'MEMBER') from pg_roles where rolname = $1

-- name: may_become_set
-- May the administrator SET ROLE to role $1? (Postgres 16 and newer ask for a membership WITH SET TRUE)
select pg_has_role(current_user, oid, 'SET') from pg_roles where rolname = $1

-- name: migrations_table
-- Has anything been migrated in schema $1?
select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = $1 and c.relname = 'schema_migrations')
