"""Decides what has to change in Postgres for one tenant: (desired, observed) → steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from memory_contracts.conditions import Reason
from memory_contracts.database.migrations import Migration, all_migrations, pending
from memory_contracts.errors import Rejected
from memory_contracts.naming import TenantNames
from memory_contracts.settings import RuntimeSettings
from memory_operator.providers.postgres.sql import Literal, split_identifiers, statement

OLDEST_VERSION = 150000
SET_OPTION_VERSION = 160000
DEFAULT_EXTENSION_SCHEMA = "public"
TABLE_PRIVILEGES = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
SEQUENCE_PRIVILEGES = frozenset({"USAGE", "SELECT"})
# Beside its pool a process holds a few connections of its own (LISTEN, loading).
CONNECTIONS_BESIDE_POOL = 4


@dataclass(frozen=True, slots=True)
class DesiredTenant:
    """What Postgres should hold for one tenant."""

    tenant: str
    schema: str
    owner_role: str
    login_role: str
    password: str = field(repr=False)
    connection_limit: int
    statement_timeout: str = "60s"
    migrations: tuple[Migration, ...] = ()

    @property
    def schema_claim(self) -> str:
        """The comment that says whose the schema is."""
        return f"memory-operator: belongs to {self.tenant}"

    def role_claim(self, database: str) -> str:
        """The comment of the roles; roles belong to the whole server, so it names the database too."""
        return f"memory-operator: belongs to {self.tenant} in database {database}"


@dataclass(frozen=True, slots=True)
class ObservedRole:
    """A role as it is; `settings` are those of ALTER ROLE … SET."""

    comment: str | None
    can_login: bool
    privileged: bool
    connection_limit: int
    settings: Mapping[str, str]
    member_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ObservedSchema:
    """A schema as it is. `applied` is version → checksum, None when the administrator cannot read it yet."""

    comment: str | None
    owner: str
    login_usage: bool
    login_create: bool
    open_to_public: bool
    tables_lacking: int
    sequences_lacking: int
    default_tables: frozenset[str]
    default_sequences: frozenset[str]
    applied: Mapping[int, str] | None


@dataclass(frozen=True, slots=True)
class ObservedTenant:
    """What Postgres holds for one tenant."""

    version: int
    database: str
    extension_schema: str | None
    owner: ObservedRole | None
    login: ObservedRole | None
    schema: ObservedSchema | None
    admin_may_be_owner: bool
    password_works: bool
    login_may_connect: bool
    extension_usable: Mapping[str, bool]  # role → may use the extension's schema


@dataclass(frozen=True, slots=True)
class Execute:
    """Run statements, as the administrator or as the owner of the schema."""

    summary: str
    sql: str = field(repr=False)
    as_owner: bool = False


@dataclass(frozen=True, slots=True)
class SetPassword:
    """Give the login role its password."""

    role: str

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"set password of role {self.role}"


@dataclass(frozen=True, slots=True)
class Migrate:
    """Bring the tables up to date, as the owner."""

    schema: str
    extension_schema: str
    steps: tuple[Migration, ...]

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        which = ", ".join(map(str, self.steps)) or "whatever is missing"
        return f"migrate schema {self.schema}: {which}"


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing is changed until a person has acted."""

    reason: Reason
    message: str


Step: TypeAlias = Execute | SetPassword | Migrate


def desired_tenant(names: TenantNames, password: str, replicas: int) -> DesiredTenant:
    """Return what a namespace with this many API processes needs."""
    # One process more than the replicas runs during a roll-out.
    each = RuntimeSettings().postgres_pool_size + CONNECTIONS_BESIDE_POOL
    return DesiredTenant(
        tenant=names.qualified,
        schema=names.schema,
        owner_role=names.owner_role,
        login_role=names.login_role,
        password=password,
        connection_limit=(replicas + 1) * each,
        migrations=tuple(all_migrations()),
    )


def plan(desired: DesiredTenant, observed: ObservedTenant) -> list[Step] | Blocked:
    """Return the steps from `observed` to `desired`, in order; ``[]`` when they agree."""
    if blocked := _blocked(desired, observed):
        return blocked
    try:
        return [
            *_extension(observed),
            *_owner_role(desired, observed),
            *_schema(desired, observed),
            *_login_role(desired, observed),
            *_extension_usage(desired, observed),
            *_default_privileges(desired, observed),
            *_migrations(desired, observed),
            *_privileges(desired, observed),
        ]
    except Rejected as error:
        return Blocked(Reason.REJECTED, f"schema {desired.schema}: {error}")


def _blocked(desired: DesiredTenant, observed: ObservedTenant) -> Blocked | None:
    """Refuse what the tenant did not claim: neither the contents nor the name tell whose it is, the claim does."""
    if observed.version < OLDEST_VERSION:
        return Blocked(Reason.REJECTED, f"the server is Postgres {observed.version // 10000}; 15 or newer is needed")
    schema, role_claim = observed.schema, desired.role_claim(observed.database)
    if schema and schema.comment != desired.schema_claim:
        return _foreign("schema", desired.schema, schema.comment, desired.schema_claim)
    if schema and schema.owner != desired.owner_role:
        return Blocked(
            Reason.BLOCKED,
            f"schema {desired.schema} belongs to role {schema.owner}, not to {desired.owner_role}; "
            "give it back with ALTER SCHEMA … OWNER TO, or drop it",
        )
    for name, role in ((desired.owner_role, observed.owner), (desired.login_role, observed.login)):
        if role and role.comment != role_claim:
            return _foreign("role", name, role.comment, role_claim)
    return None


def _foreign(kind: str, name: str, found: str | None, wanted: str) -> Blocked:
    says = f"its comment says {found!r}" if found else "it carries no claim"
    return Blocked(
        Reason.BLOCKED,
        f"{kind} {name} exists, but {says}; rename or drop it, or claim it with COMMENT ON {kind.upper()} {name} "
        f"IS '{wanted}'",
    )


def _extension_schema(observed: ObservedTenant) -> str:
    return observed.extension_schema or DEFAULT_EXTENSION_SCHEMA


def _extension(observed: ObservedTenant) -> Iterator[Step]:
    if observed.extension_schema is None:
        yield Execute(f"create extension pg_trgm in schema {DEFAULT_EXTENSION_SCHEMA}", statement("create_extension"))


def _owner_role(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    role, state = desired.owner_role, observed.owner
    if state is None:
        claim = Literal(desired.role_claim(observed.database))
        yield Execute(f"create owner role {role}", statement("create_owner_role", role=role, claim=claim))
    else:
        if state.can_login:
            yield Execute(f"forbid role {role} to log in", statement("forbid_login", role=role))
        yield from _no_power(role, state)
    if not observed.admin_may_be_owner:
        name = "become_owner_with_set" if observed.version >= SET_OPTION_VERSION else "become_owner"
        yield Execute(f"let the administrator act as role {role}", statement(name, role=role))


def _schema(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    if observed.schema is None:
        schema, owner = desired.schema, desired.owner_role
        yield Execute(f"create schema {schema}", statement("create_schema", schema=schema, owner=owner))
        claim = statement("claim_schema", schema=schema, claim=Literal(desired.schema_claim))
        yield Execute(f"claim schema {schema} for {desired.tenant}", claim, as_owner=True)


def _login_role(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    role, state, limit = desired.login_role, observed.login, desired.connection_limit
    if state is None:
        claim = Literal(desired.role_claim(observed.database))
        sql = statement("create_login_role", role=role, claim=claim, limit=limit)
        yield Execute(f"create login role {role}", sql)
    else:
        if not state.can_login:
            yield Execute(f"allow role {role} to log in", statement("allow_login", role=role))
        if state.connection_limit != limit:
            sql = statement("limit_connections", role=role, limit=limit)
            yield Execute(f"limit role {role} to {limit} connections", sql)
        yield from _no_power(role, state)
    yield from _login_settings(desired, observed)
    if not observed.login_may_connect:
        sql = statement("grant_connect", database=observed.database, role=role)
        yield Execute(f"let role {role} connect to database {observed.database}", sql)
    if not observed.password_works:
        yield SetPassword(role)


def _no_power(role: str, state: ObservedRole) -> Iterator[Step]:
    if state.privileged:
        yield Execute(
            f"take the attributes of an administrator from role {role}", statement("remove_attributes", role=role)
        )
    for group in state.member_of:
        sql = statement("revoke_membership", role=role, group=group)
        yield Execute(f"end the membership of role {role} in {group}", sql)


def _login_settings(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    role, path = desired.login_role, (desired.schema, _extension_schema(observed))
    settings = observed.login.settings if observed.login else {}
    if split_identifiers(settings.get("search_path", "")) != path:
        sql = statement("set_search_path", role=role, schema=path[0], extension_schema=path[1])
        yield Execute(f"pin search_path of role {role} to {', '.join(path)}", sql)
    if settings.get("statement_timeout") != desired.statement_timeout:
        sql = statement("set_statement_timeout", role=role, timeout=Literal(desired.statement_timeout))
        yield Execute(f"set statement_timeout of role {role} to {desired.statement_timeout}", sql)


def _extension_usage(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    schema = _extension_schema(observed)
    for role in (desired.owner_role, desired.login_role):
        if not observed.extension_usable.get(role, True):
            yield Execute(
                f"let role {role} use schema {schema}, which holds pg_trgm",
                statement("grant_usage", schema=schema, role=role),
            )


def _default_privileges(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    """Before the migrations, so that the tables they make need no further grant."""
    schema, role, state = desired.schema, desired.login_role, observed.schema
    if state is None or not state.default_tables >= TABLE_PRIVILEGES:
        sql = statement("default_tables", schema=schema, role=role)
        yield Execute(f"let role {role} read and write future tables of {schema}", sql, as_owner=True)
    if state is None or not state.default_sequences >= SEQUENCE_PRIVILEGES:
        sql = statement("default_sequences", schema=schema, role=role)
        yield Execute(f"let role {role} use future sequences of {schema}", sql, as_owner=True)


def _migrations(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    applied = observed.schema.applied if observed.schema else {}
    if applied is None:
        yield Migrate(desired.schema, _extension_schema(observed), ())
    elif steps := pending(dict(applied), list(desired.migrations)):
        yield Migrate(desired.schema, _extension_schema(observed), tuple(steps))


def _privileges(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    schema, role, state = desired.schema, desired.login_role, observed.schema
    if state is None or not state.login_usage:
        sql = statement("grant_usage", schema=schema, role=role)
        yield Execute(f"let role {role} use schema {schema}", sql, as_owner=True)
    if state is None:
        return
    if state.login_create:
        sql = statement("revoke_create", schema=schema, role=role)
        yield Execute(f"forbid role {role} to create in schema {schema}", sql, as_owner=True)
    if state.open_to_public:
        yield Execute(f"close schema {schema} to PUBLIC", statement("close_schema", schema=schema), as_owner=True)
    if state.tables_lacking:
        sql = statement("grant_tables", schema=schema, role=role)
        yield Execute(f"let role {role} read and write {state.tables_lacking} tables of {schema}", sql, as_owner=True)
    if state.sequences_lacking:
        sql = statement("grant_sequences", schema=schema, role=role)
        yield Execute(f"let role {role} use {state.sequences_lacking} sequences of {schema}", sql, as_owner=True)
