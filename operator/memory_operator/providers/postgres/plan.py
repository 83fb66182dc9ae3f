"""Decides what has to change in Postgres for one tenant: (desired, observed) → steps. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from memory_contracts.conditions import Reason
from memory_contracts.database.migrations import Migration, due
from memory_contracts.database.structure import making_of, name_of
from memory_contracts.errors import Rejected
from memory_operator.providers.postgres.marks import Mark, is_ours
from memory_operator.providers.postgres.privileges import extension_usage, privileges, privileges_before_tables
from memory_operator.providers.postgres.roles import (
    DEFAULT_EXTENSION_SCHEMA,
    SET_OPTION_VERSION,
    end_sessions,
    extension_schema,
    login_role,
    owner_role,
)
from memory_operator.providers.postgres.sql import Literal, statement
from memory_operator.providers.postgres.steps import Execute, Migrate, Step
from memory_operator.providers.postgres.tenant import DesiredTenant, ObservedSchema, ObservedTenant
from memory_operator.providers.shapes import Blocked

OLDEST_VERSION = 150000
_CREATED_TABLE = re.compile(r"^create table (\w+)", re.MULTILINE)
_DROPPED_TABLE = re.compile(r"^drop table (\w+)", re.MULTILINE)


def plan(desired: DesiredTenant, observed: ObservedTenant) -> list[Step] | Blocked:
    """Return the steps from `observed` to `desired`, in order; ``[]`` when they agree, but for `damage`."""
    if blocked := _blocked(desired, observed):
        return blocked
    try:
        return [
            *_extension(observed),
            *owner_role(desired, observed),
            *_schema(desired, observed),
            *(step for slot in desired.slots for step in login_role(desired, observed, slot)),
            *extension_usage(desired, observed),
            *privileges_before_tables(desired, observed),
            *(() if damage(desired, observed) else _tables(desired, observed)),
            *privileges(desired, observed),
            *end_sessions(observed, tuple(slot.role for slot in desired.slots if not desired.may_log_in(slot))),
        ]
    except Rejected as error:
        return Blocked(Reason.REJECTED, f"schema {desired.schema}: {error}")


def _blocked(desired: DesiredTenant, observed: ObservedTenant) -> Blocked | None:
    """Refuse what the tenant did not claim: neither the contents nor the name tell whose it is, the mark does."""
    if observed.version < OLDEST_VERSION:
        return Blocked(Reason.REJECTED, f"the server is Postgres {observed.version // 10000}; 15 or newer is needed")
    if observed.version < SET_OPTION_VERSION and not observed.admin_inherits:
        return Blocked(
            Reason.REJECTED,
            f"role {observed.admin} is NOINHERIT, so it cannot act for the roles it makes; "
            f"ALTER ROLE {observed.admin} INHERIT",
        )
    schema, role_mark = observed.schema, desired.role_mark(observed.database)
    if schema and not is_ours(schema.comment, desired.schema_mark, desired.predecessors):
        return _foreign("schema", desired.schema, schema.comment, desired.schema_mark)
    if schema and schema.owner != desired.owner_role:
        return foreign_owner(desired, schema, Reason.FOREIGN_OBJECT)
    for name, role in observed.roles.items():
        if not is_ours(role.comment, role_mark, desired.predecessors):
            return _foreign("role", name, role.comment, role_mark)
    return None


def damage(desired: DesiredTenant, observed: ObservedTenant) -> Blocked | None:
    """Return what a person has to mend; no reason to leave roles and privileges as they are, or a login open."""
    schema = observed.schema
    return (_lost_tables(desired, schema) or _lost_parts(desired, schema)) if schema else None


def foreign_owner(desired: DesiredTenant, schema: ObservedSchema, reason: Reason) -> Blocked:
    """Return the refusal to work on a schema that somebody took over."""
    return Blocked(
        reason,
        f"schema {desired.schema} belongs to role {schema.owner}, not to {desired.owner_role}; "
        "give it back with ALTER SCHEMA … OWNER TO, or drop it",
    )


def _foreign(kind: str, name: str, found: str | None, wanted: Mark) -> Blocked:
    says = f"its comment says {found!r}" if found else "it carries no claim"
    return Blocked(
        Reason.FOREIGN_OBJECT,
        f"{kind} {name} exists, but {says}; rename or drop it, or claim it with COMMENT ON {kind.upper()} {name} "
        f"IS '{wanted}'",
    )


def _lost_tables(desired: DesiredTenant, schema: ObservedSchema) -> Blocked | None:
    """A table that a migration made is no drift that could be mended: its rows are gone."""
    present = frozenset(name for group in schema.objects if group.kind == "table" for name in group.names)
    applied = schema.applied
    if applied is None and "schema_migrations" not in present:
        return None
    done = tuple(each for each in desired.migrations if applied is None or each.version in applied)
    if applied == {} and (orphans := present & tables_of(desired.migrations)):
        return Blocked(
            Reason.BLOCKED,
            f"schema {desired.schema} holds {_some(orphans)} but no record in schema_migrations; "
            "restore that table, or the whole schema, from a backup",
        )
    if lost := tables_of(done) - present:
        return Blocked(Reason.BLOCKED, f"schema {desired.schema} has lost {_some(lost)}; restore it from a backup")
    return None


def _lost_parts(desired: DesiredTenant, schema: ObservedSchema) -> Blocked | None:
    """What holds or guards data is not made anew: nobody knows what happened to the rows meanwhile."""
    if lost := [name_of(line) for line in _lost(desired, schema) if not making_of(line, desired.migrations)]:
        return Blocked(
            Reason.BLOCKED,
            f"in schema {desired.schema} somebody has dropped or changed {', '.join(lost[:5])}; "
            "undo that, or restore the schema from a backup",
        )
    return None


def _lost(desired: DesiredTenant, schema: ObservedSchema) -> tuple[str, ...]:
    """Return the lines of the structure that do not hold, once all migrations have run."""
    up_to_date = (schema.applied or {}).keys() == {each.version for each in desired.migrations}
    return schema.lost or () if up_to_date else ()


@cache
def tables_of(migrations: tuple[Migration, ...]) -> frozenset[str]:
    """Return the tables that exist after `migrations`, for any administrator could drop one."""
    made = {name for each in migrations for name in _CREATED_TABLE.findall(each.sql)}
    return frozenset(made - {name for each in migrations for name in _DROPPED_TABLE.findall(each.sql)})


def _some(tables: frozenset[str]) -> str:
    return f"table{'s' if len(tables) > 1 else ''} {', '.join(sorted(tables))}"


def _extension(observed: ObservedTenant) -> Iterator[Step]:
    if observed.extension_schema is None:
        yield Execute(f"create extension pg_trgm in schema {DEFAULT_EXTENSION_SCHEMA}", statement("create_extension"))


def _schema(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    schema, mark = desired.schema, str(desired.schema_mark)
    if observed.schema is None:
        yield Execute(f"create schema {schema}", statement("create_schema", schema=schema, owner=desired.owner_role))
    if observed.schema is None or observed.schema.comment != mark:
        sql = statement("mark_schema", schema=schema, mark=Literal(mark))
        yield Execute(f"mark schema {schema} as {desired.tenant}'s", sql, as_owner=True)


def _tables(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    yield from _migrations(desired, observed)
    yield from _indexes_and_functions(desired, observed)


def _migrations(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    applied, owner = observed.schema.applied if observed.schema else {}, observed.roles.get(desired.owner_role)
    if applied is not None:
        gone = desired.old_code_gone and not _old_code(desired, observed)
        if steps := due(applied, desired.migrations, old_code_gone=gone):
            yield Migrate(desired.schema, extension_schema(observed), tuple(steps), gone)
    elif owner is None or not owner.admin_may_be:  # it cannot be read before the administrator may act as the owner
        yield Migrate(desired.schema, extension_schema(observed), ())


def _old_code(desired: DesiredTenant, observed: ObservedTenant) -> bool:
    """Whether an API process is connected that does not know the newest migration: its image may be older than we."""
    newest = max((each.version for each in desired.migrations), default=0)
    known = [role.oldest_code for role in observed.roles.values() if role.oldest_code is not None]
    return any(each < newest for each in known)


def _indexes_and_functions(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    """Make anew what can be, from the migration it came with."""
    path = {"schema": desired.schema, "extension_schema": extension_schema(observed)}
    for line in _lost(desired, observed.schema) if observed.schema else ():
        if making := making_of(line, desired.migrations):
            sql = f"{statement('set_path', **path)};\n{making}\n{statement('reset_path')}"
            yield Execute(f"make {name_of(line)} of schema {desired.schema} anew", sql, as_owner=True, slow=True)
