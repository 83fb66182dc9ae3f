-- What is changed. Placeholders are identifiers, literals or keywords, quoted by sql.statement().

-- name: begin
-- One pass over one tenant; other passes over it wait here.
begin;
select pg_advisory_xact_lock(hashtextextended({lock}, 0))

-- name: begin_read_only
-- A look without changes.
begin read only

-- name: fence
-- Fails when another leader took over.
select memory_operator.fence({identity}, {epoch})

-- name: create_extension
-- Trigrams, for the keyword search. A trusted extension: the right to create in the database is enough. First tenants
-- that come at once wait for one another, since "if not exists" alone can still collide.
select pg_advisory_xact_lock(hashtextextended('memory bootstrap', 0));
create extension if not exists pg_trgm schema public

-- name: create_owner_role
-- Owns the schema and its tables; nobody logs in as this role.
create role {role} nologin;
comment on role {role} is {mark}

-- name: create_login_role
-- Cannot log in before it has a password.
create role {role} nologin connection limit {limit};
comment on role {role} is {mark}

-- name: mark_role
-- After a claim was taken over.
comment on role {role} is {mark}

-- name: become
-- Postgres 15: a member may SET ROLE, and has the role's rights.
grant {role} to current_user

-- name: become_with_set
-- Postgres 16 and newer: who creates a role administers it, but may SET ROLE to it, or use its rights, only after this.
grant {role} to current_user with set true, inherit true

-- name: forbid_login
-- Nobody logs in as the owner.
alter role {role} nologin

-- name: close_role
-- Nobody logs in with it, with whatever password. The null is for whoever allows the login again by hand.
alter role {role} nologin password null

-- name: allow_login
-- The API logs in with this role.
alter role {role} login

-- name: never_expire
-- The operator decides when a password ends.
alter role {role} valid until 'infinity'

-- name: remove_attributes
-- Attributes with which a tenant could reach other tenants; only a superuser may take some of them.
alter role {role} nosuperuser nocreatedb nocreaterole noreplication nobypassrls

-- name: limit_connections
-- One tenant cannot use up the server.
alter role {role} connection limit {limit}

-- name: set_search_path
-- Unqualified names mean this tenant's tables, whatever the client says at connect.
alter role {role} set search_path to {schema}, {extension_schema}

-- name: set_statement_timeout
-- A runaway query ends.
alter role {role} set statement_timeout to {timeout}

-- name: reset_here
-- Settings for one database win over those of the role.
alter role {role} in database {database} reset all

-- name: revoke_membership
-- A tenant's role inherits from nobody.
revoke {group} from {role}

-- name: grant_connect
-- Needed where CONNECT was taken from PUBLIC. All tenants change the same row of the catalogue.
select pg_advisory_xact_lock(hashtextextended('memory bootstrap', 0));
grant connect on database {database} to {role}

-- name: create_schema
-- The tenant's tables live here.
create schema {schema} authorization {owner}

-- name: mark_schema
-- The comment says who claims it.
comment on schema {schema} is {mark}

-- name: grant_usage
-- Names in this schema can be resolved.
grant usage on schema {schema} to {roles}

-- name: revoke_schema
-- The API changes rows, never the structure; nobody else does anything.
revoke {privileges} on schema {schema} from {role} cascade

-- name: grant_tables
-- Exactly what the access of the tenant is.
grant {privileges} on table {objects} to {roles}

-- name: grant_sequences
-- Identity columns count on.
grant {privileges} on sequence {objects} to {roles}

-- name: grant_functions
-- Needed where EXECUTE was taken from PUBLIC.
grant execute on all functions in schema {schema} to {roles}

-- name: revoke_tables
-- What nobody granted on purpose.
revoke {privileges} on table {objects} from {role} cascade

-- name: revoke_sequences
-- The same for sequences.
revoke {privileges} on sequence {objects} from {role} cascade

-- name: restore_tables
-- An owner can always give itself what it lacks.
grant all on all tables in schema {schema} to {role}

-- name: restore_sequences
-- The same for sequences.
grant all on all sequences in schema {schema} to {role}

-- name: restore_functions
-- The same for functions.
grant all on all functions in schema {schema} to {role}

-- name: default_grant_tables
-- The same for tables that later migrations make.
alter default privileges in schema {schema} grant {privileges} on tables to {roles}

-- name: default_grant_sequences
-- The same for sequences that later migrations make.
alter default privileges in schema {schema} grant {privileges} on sequences to {roles}

-- name: default_revoke_tables
-- The same for tables that later migrations make.
alter default privileges in schema {schema} revoke {privileges} on tables from {role} cascade

-- name: default_revoke_sequences
-- The same for sequences that later migrations make.
alter default privileges in schema {schema} revoke {privileges} on sequences from {role} cascade

-- name: set_password
-- The verifier of SCRAM-SHA-256; the password itself never reaches a statement log.
alter role {role} password {verifier}

-- name: assume_role
-- Until the end of the transaction, or until reset_role.
set local role {role}

-- name: reset_role
-- The administrator again.
set local role none

-- name: set_path
-- Migrations make their tables in the first schema, and may have to read whole tables.
set local search_path to {schema}, {extension_schema};
set local enable_seqscan to on

-- name: reset_path
-- What the administrator's connections begin with.
set local search_path to default;
set local enable_seqscan to default

-- name: drop_schema
-- Waits for sessions that hold locks, as long as lock_timeout allows.
drop schema if exists {schema} cascade

-- name: drop_role
-- DROP OWNED takes away what was granted to it in this database, CONNECT included; it owns nothing any more. One role at
-- a time: with two the server may stumble over default privileges that one of them gave the other.
drop owned by {role};
drop role {role}

-- name: hold
-- Fails when another object holds the tenant.
select memory_operator.hold({tenant}, {uid}, {identity})

-- name: hand_over
-- For a person: leave a tenant that nobody uses any more to this Kubernetes cluster.
update memory_operator.tenants set released_at = now(), identity = {identity} where tenant = {tenant} and uid = {uid}
