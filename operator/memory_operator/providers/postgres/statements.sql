-- What is changed. Placeholders are identifiers or literals, quoted by sql.statement().

-- name: create_extension
-- Trigrams, for the keyword search. A trusted extension: the right to create in the database is enough.
create extension if not exists pg_trgm schema public

-- name: create_owner_role
-- Owns the schema and its tables; nobody logs in as this role.
create role {role} nologin;
comment on role {role} is {claim}

-- name: create_login_role
-- Logs in; has no password until one is set, so nobody can use it before.
create role {role} login connection limit {limit};
comment on role {role} is {claim}

-- name: become_owner
-- Postgres 15: a member may SET ROLE.
grant {role} to current_user

-- name: become_owner_with_set
-- Postgres 16 and newer: who creates a role administers it, but may SET ROLE to it only after this.
grant {role} to current_user with set true

-- name: forbid_login
-- Nobody logs in as the owner.
alter role {role} nologin

-- name: allow_login
-- The API logs in with this role.
alter role {role} login

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

-- name: revoke_membership
-- A tenant's role inherits from nobody.
revoke {group} from {role}

-- name: grant_connect
-- Needed where CONNECT was taken from PUBLIC.
grant connect on database {database} to {role}

-- name: grant_usage
-- Names in this schema can be resolved.
grant usage on schema {schema} to {role}

-- name: create_schema
-- The tenant's tables live here; the comment says who claims it.
create schema {schema} authorization {owner}

-- name: claim_schema
-- Runs as the owner.
comment on schema {schema} is {claim}

-- name: close_schema
-- Nothing in a tenant's schema is for everybody.
revoke all on schema {schema} from public;
revoke all on all tables in schema {schema} from public;
revoke all on all sequences in schema {schema} from public

-- name: revoke_create
-- The API changes rows, never the structure.
revoke create on schema {schema} from {role}

-- name: grant_tables
-- Rows may be read and written.
grant select, insert, update, delete on all tables in schema {schema} to {role}

-- name: grant_sequences
-- Identity columns count on.
grant usage, select on all sequences in schema {schema} to {role}

-- name: default_tables
-- The same for tables that later migrations make.
alter default privileges in schema {schema} grant select, insert, update, delete on tables to {role}

-- name: default_sequences
-- The same for sequences that later migrations make.
alter default privileges in schema {schema} grant usage, select on sequences to {role}

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
-- Migrations make their tables in the first schema.
set local search_path to {schema}, {extension_schema}
