"""The owner role and the two login roles: attributes, settings, passwords. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from memory_operator.providers.postgres.sql import Literal, split_identifiers, statement
from memory_operator.providers.postgres.steps import EndSessions, Execute, SetPassword, Step
from memory_operator.providers.postgres.tenant import DesiredTenant, ObservedRole, ObservedTenant, Slot

SET_OPTION_VERSION = 160000
DEFAULT_EXTENSION_SCHEMA = "public"


def owner_role(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    """Yield the steps that make or mend the owner, and let the administrator act as it."""
    role, state = desired.owner_role, observed.roles.get(desired.owner_role)
    if state is None:
        mark = Literal(str(desired.role_mark(observed.database)))
        yield Execute(f"create owner role {role}", statement("create_owner_role", role=role, mark=mark))
    else:
        yield from _mark(desired, observed, role, state)
        if state.can_login:
            yield Execute(f"forbid role {role} to log in", statement("forbid_login", role=role))
        yield from _no_power(role, state)
    if state is None or not state.admin_may_be:
        yield become(role, observed)


def login_role(desired: DesiredTenant, observed: ObservedTenant, slot: Slot) -> Iterator[Step]:
    """Yield the steps that make or mend one login role."""
    role, state, limit = slot.role, observed.roles.get(slot.role), desired.connection_limit
    if state is None:
        mark = Literal(str(desired.role_mark(observed.database)))
        sql = statement("create_login_role", role=role, mark=mark, limit=limit)
        yield Execute(f"create login role {role}", sql)
    else:
        yield from _mark(desired, observed, role, state)
        yield from _no_power(role, state)
        if state.connection_limit != limit:
            sql = statement("limit_connections", role=role, limit=limit)
            yield Execute(f"limit role {role} to {limit} connections", sql)
    yield from _settings(desired, observed, role, state)
    if not (state.may_connect if state else observed.public_may_connect):
        sql = statement("grant_connect", database=observed.database, role=role)
        yield Execute(f"let role {role} connect to database {observed.database}", sql)
    yield from _password(desired, slot, state)


def become(role: str, observed: ObservedTenant) -> Execute:
    """Return the step that lets the administrator act as `role`."""
    name = "become_with_set" if observed.version >= SET_OPTION_VERSION else "become"
    return Execute(f"let the administrator act as role {role}", statement(name, role=role))


def extension_schema(observed: ObservedTenant) -> str:
    """Return where pg_trgm lives, or will."""
    return observed.extension_schema or DEFAULT_EXTENSION_SCHEMA


def close_slot(role: str, state: ObservedRole | None) -> Iterator[Step]:
    """Yield the step after which nobody can log in as `role`."""
    if state and state.may_be_open:
        yield Execute(f"close role {role}: no login, no password", statement("close_role", role=role))


def end_sessions(observed: ObservedTenant, roles: tuple[str, ...]) -> Iterator[Step]:
    """Yield the steps that end what runs as `roles`; they must not be able to log in any more."""
    busy = tuple(role for role in roles if role in observed.roles and observed.roles[role].sessions)
    for role in busy:
        if not observed.roles[role].admin_may_be:
            yield become(role, observed)
    if busy:
        yield EndSessions(busy)


def _mark(desired: DesiredTenant, observed: ObservedTenant, role: str, state: ObservedRole) -> Iterator[Step]:
    mark = str(desired.role_mark(observed.database))
    if state.comment != mark:
        yield Execute(f"mark role {role} as {desired.tenant}'s", statement("mark_role", role=role, mark=Literal(mark)))


def _no_power(role: str, state: ObservedRole) -> Iterator[Step]:
    if state.privileged:
        yield Execute(
            f"take the attributes of an administrator from role {role}", statement("remove_attributes", role=role)
        )
    for group in state.member_of:
        sql = statement("revoke_membership", role=role, group=group)
        yield Execute(f"end the membership of role {role} in {group}", sql)


def _settings(
    desired: DesiredTenant, observed: ObservedTenant, role: str, state: ObservedRole | None
) -> Iterator[Step]:
    path, settings = (desired.schema, extension_schema(observed)), state.settings if state else {}
    if split_identifiers(settings.get("search_path", "")) != path:
        sql = statement("set_search_path", role=role, schema=path[0], extension_schema=path[1])
        yield Execute(f"pin search_path of role {role} to {', '.join(path)}", sql)
    if settings.get("statement_timeout") != desired.statement_timeout:
        sql = statement("set_statement_timeout", role=role, timeout=Literal(desired.statement_timeout))
        yield Execute(f"set statement_timeout of role {role} to {desired.statement_timeout}", sql)
    if state and state.settings_here:
        sql = statement("reset_here", role=role, database=observed.database)
        yield Execute(f"drop the settings of role {role} in database {observed.database}", sql)


def _password(desired: DesiredTenant, slot: Slot, state: ObservedRole | None) -> Iterator[Step]:
    """A role is created without LOGIN, so that nobody can use it before its password is set."""
    role = slot.role
    if not desired.may_log_in(slot):
        yield from close_slot(role, state)
        return
    if state and state.expires:
        yield Execute(f"let the password of role {role} hold for ever", statement("never_expire", role=role))
    if state is None or state.password_is_missing:
        yield SetPassword(role)
    if state is None or not state.can_login:
        yield Execute(f"allow role {role} to log in", statement("allow_login", role=role))
