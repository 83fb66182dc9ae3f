"""Decides how a tenant leaves Postgres: its sessions end, then everything goes (drop) or stays locked (retain). Pure.

The ledger is not touched here: the claim is given up as the very last act, when every backend is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from memory_contracts.conditions import Reason
from memory_operator.providers.postgres.marks import is_ours
from memory_operator.providers.postgres.plan import foreign_owner
from memory_operator.providers.postgres.privileges import privileges, privileges_before_tables
from memory_operator.providers.postgres.roles import become, close_slot, end_sessions
from memory_operator.providers.postgres.sql import statement
from memory_operator.providers.postgres.steps import Execute, Step
from memory_operator.providers.postgres.tenant import DesiredTenant, ObservedTenant
from memory_operator.providers.shapes import Blocked


def plan_deletion(desired: DesiredTenant, observed: ObservedTenant, *, drop: bool) -> list[Step] | Blocked:
    """Return the steps after which nobody can use the tenant's data (drop: after which it is gone), in order.

    What carries no mark of this tenant is left out, so that a duplicate can be deleted while the other lives on; ``[]``
    when nothing is left to do.
    """
    ours = _ours(desired, observed)
    if drop and (blocked := _foreign_schema(desired, observed, ours) or _blocked(desired, ours)):
        return blocked
    fenced = replace(desired, access="none")
    return [*_fence(fenced, ours), *(_drop(fenced, ours) if drop else ())]


def _ours(desired: DesiredTenant, observed: ObservedTenant) -> ObservedTenant:
    role_mark, schema = desired.role_mark(observed.database), observed.schema
    roles = {
        name: role for name, role in observed.roles.items() if is_ours(role.comment, role_mark, desired.predecessors)
    }
    kept = schema if schema and is_ours(schema.comment, desired.schema_mark, desired.predecessors) else None
    return replace(observed, roles=roles, schema=kept)


def _foreign_schema(desired: DesiredTenant, observed: ObservedTenant, ours: ObservedTenant) -> Blocked | None:
    """A schema without our mark that our roles own would go with them."""
    schema = observed.schema
    if (
        schema is None
        or ours.schema
        or not {schema.owner, *(group.owner for group in schema.objects)} & ours.roles.keys()
    ):
        return None
    return Blocked(
        Reason.DELETION_BLOCKED,
        f"schema {desired.schema} or what is in it belongs to the tenant's roles, but its comment says "
        f"{schema.comment!r}; ALTER SCHEMA … OWNER TO who needs it, or COMMENT ON SCHEMA {desired.schema} "
        f"IS '{desired.schema_mark}'",
    )


def _blocked(desired: DesiredTenant, ours: ObservedTenant) -> Blocked | None:
    if ours.schema and ours.schema.owner != desired.owner_role:
        return foreign_owner(desired, ours.schema, Reason.DELETION_BLOCKED)
    foreign = [group for group in ours.schema.objects if group.owner != desired.owner_role] if ours.schema else []
    if foreign:
        group = foreign[0]
        return Blocked(
            Reason.DELETION_BLOCKED,
            f"{group.kind} {group.names[0]} in schema {desired.schema} belongs to role {group.owner}, which is not "
            f"the tenant's; move it to another schema or drop it",
        )
    if ours.roles and ours.elsewhere:
        return Blocked(
            Reason.DELETION_BLOCKED,
            f"the roles of {desired.tenant} still own or may use {', '.join(ours.elsewhere)}; "
            "hand it over with REASSIGN OWNED, or give it up with DROP OWNED, in that database",
        )
    return None


def _fence(desired: DesiredTenant, ours: ObservedTenant) -> Iterator[Step]:
    present = tuple(role for role in desired.login_roles if role in ours.roles)
    for role in present:
        yield from close_slot(role, ours.roles[role])
    owner = ours.roles.get(desired.owner_role)
    if ours.schema and owner and ours.schema.owner == desired.owner_role:
        if not owner.admin_may_be:
            yield become(desired.owner_role, ours)
        yield from privileges_before_tables(desired, ours)
        yield from privileges(desired, ours)
    yield from end_sessions(ours, present)


def _drop(desired: DesiredTenant, ours: ObservedTenant) -> Iterator[Step]:
    if ours.schema:
        sql = statement("drop_schema", schema=desired.schema)
        yield Execute(f"drop schema {desired.schema} and all memories in it", sql, as_owner=True, slow=True)
    for role in (*desired.login_roles, desired.owner_role):
        state = ours.roles.get(role)
        if state and not (state.admin_may_be or _let_in_before(desired, ours, role)):
            yield become(role, ours)
        if state:
            yield Execute(f"drop role {role}", statement("drop_role", role=role))


def _let_in_before(desired: DesiredTenant, ours: ObservedTenant, role: str) -> bool:
    """Fencing needed the rights of a role already."""
    return bool(ours.schema) if role == desired.owner_role else ours.roles[role].sessions > 0
