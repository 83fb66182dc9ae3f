"""What the login roles, and everybody else, may do inside the schema. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from memory_operator.providers.postgres.acl import WITH_GRANT_OPTION, Acl, Privileges, excess, lacking
from memory_operator.providers.postgres.roles import extension_schema
from memory_operator.providers.postgres.sql import Identifiers, Keywords, Qualified, statement
from memory_operator.providers.postgres.steps import Execute, Step
from memory_operator.providers.postgres.tenant import (
    SCHEMA_PRIVILEGES,
    SEQUENCE_PRIVILEGES,
    TABLE_PRIVILEGES,
    DesiredTenant,
    ObjectKind,
    ObservedObjects,
    ObservedSchema,
    ObservedTenant,
)

EXECUTE: Privileges = frozenset({"EXECUTE"})
OWNER_NEEDS: Mapping[ObjectKind, Privileges] = {
    "table": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"}),
    "sequence": frozenset({"USAGE", "SELECT", "UPDATE"}),
    "function": EXECUTE,
}


def extension_usage(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    """Yield the steps after which each role may use the schema that holds the extension."""
    schema = extension_schema(observed)
    for role in desired.roles:
        state = observed.roles.get(role)
        if not (state.may_use_extension if state else observed.public_may_use_extension):
            sql = statement("grant_usage", schema=schema, roles=Identifiers((role,)))
            yield Execute(f"let role {role} use schema {schema}, which holds pg_trgm", sql)


def privileges_before_tables(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    """Yield the steps about the schema itself and about future objects, so that those need no further grant."""
    yield from _on_schema(desired, observed.schema)
    defaults = observed.schema.defaults if observed.schema else {}
    for kind, wanted in _wanted(desired).items():
        acl = defaults.get(kind, {})
        for grantee, privileges in excess(acl, desired.login_roles, wanted, desired.owner_role).items():
            sql = statement(
                f"default_revoke_{kind}s", schema=desired.schema, role=grantee, privileges=_keywords(privileges)
            )
            yield Execute(f"take future {kind}s of {desired.schema} from {grantee}", sql, as_owner=True)
        if lacking(acl, desired.login_roles, wanted):
            roles = Identifiers(desired.login_roles)
            sql = statement(f"default_grant_{kind}s", schema=desired.schema, roles=roles, privileges=_keywords(wanted))
            what = f"{_verbs(kind, wanted)} future {kind}s of {desired.schema}"
            yield Execute(f"let the login roles {what}", sql, as_owner=True)


def privileges(desired: DesiredTenant, observed: ObservedTenant) -> Iterator[Step]:
    """Yield the steps that open what is in the schema to the login roles as far as `access` goes, to nobody else."""
    if observed.schema is None:
        return
    ours = [group for group in observed.schema.objects if group.owner == desired.owner_role and group.acl is not None]
    for kind, wanted in _wanted(desired).items():
        yield from _on_objects(
            desired, kind, wanted, [group for group in observed.schema.objects if group.kind == kind]
        )
    yield from _of_owner(desired, ours)
    yield from _on_functions(desired, ours)


def _wanted(desired: DesiredTenant) -> Mapping[ObjectKind, Privileges]:
    return {"table": TABLE_PRIVILEGES[desired.access], "sequence": SEQUENCE_PRIVILEGES[desired.access]}


def _on_schema(desired: DesiredTenant, state: ObservedSchema | None) -> Iterator[Step]:
    schema, roles, wanted = desired.schema, desired.login_roles, SCHEMA_PRIVILEGES[desired.access]
    acl = state.acl if state else {}
    for grantee, extra in excess(acl, roles, wanted, desired.owner_role).items():
        sql = statement("revoke_schema", schema=schema, role=grantee, privileges=_keywords(extra))
        yield Execute(f"take {_listed(extra)} on schema {schema} from {grantee}", sql, as_owner=True)
    if lacking(acl, roles, wanted):
        sql = statement("grant_usage", schema=schema, roles=Identifiers(roles))
        yield Execute(f"let the login roles use schema {schema}", sql, as_owner=True)


def _on_objects(
    desired: DesiredTenant, kind: ObjectKind, wanted: Privileges, groups: Iterable[ObservedObjects]
) -> Iterator[Step]:
    """Take first, then grant: what a role may pass on is taken whole and granted again without that option."""
    groups = [group for group in groups if group.owner == desired.owner_role]
    for group in groups:
        for grantee, extra in excess(group.acl or {}, desired.login_roles, wanted, desired.owner_role).items():
            objects = Qualified(desired.schema, group.names)
            sql = statement(f"revoke_{kind}s", objects=objects, role=grantee, privileges=_keywords(extra))
            what = f"{_listed(extra)} on {len(group.names)} {kind}s of {desired.schema}"
            yield Execute(f"take {what} from {grantee}", sql, as_owner=True)
    names = _names(group for group in groups if lacking(group.acl or {}, desired.login_roles, wanted))
    if names:
        objects, roles = Qualified(desired.schema, names), Identifiers(desired.login_roles)
        sql = statement(f"grant_{kind}s", objects=objects, roles=roles, privileges=_keywords(wanted))
        what = f"{_verbs(kind, wanted)} {len(names)} {kind}s of {desired.schema}"
        yield Execute(f"let the login roles {what}", sql, as_owner=True)


def _of_owner(desired: DesiredTenant, groups: Iterable[ObservedObjects]) -> Iterator[Step]:
    """The functions of the schema work with the owner's rights, and so do migrations."""
    owner = (desired.owner_role,)
    needy = [group for group in groups if lacking(_passed_on(group.acl or {}), owner, OWNER_NEEDS[group.kind])]
    for kind in sorted({group.kind for group in needy}):
        sql = statement(f"restore_{kind}s", schema=desired.schema, role=desired.owner_role)
        yield Execute(f"give role {desired.owner_role} back its {kind}s of {desired.schema}", sql, as_owner=True)


def _on_functions(desired: DesiredTenant, groups: Iterable[ObservedObjects]) -> Iterator[Step]:
    """Everybody may execute a function unless that was taken away; who may not use the schema cannot name it."""
    if desired.access == "none":
        return
    functions = [group for group in groups if group.kind == "function"]
    if any(lacking(group.acl or {}, desired.login_roles, EXECUTE) and not _public(group) for group in functions):
        sql = statement("grant_functions", schema=desired.schema, roles=Identifiers(desired.login_roles))
        yield Execute(f"let the login roles execute the functions of {desired.schema}", sql, as_owner=True)


def _public(group: ObservedObjects) -> bool:
    return not lacking(group.acl or {}, ("public",), EXECUTE)


def _passed_on(acl: Acl) -> Acl:
    return {grantee: frozenset(map(_plain, held)) for grantee, held in acl.items()}


def _names(groups: Iterable[ObservedObjects]) -> tuple[str, ...]:
    return tuple(sorted(name for group in groups for name in group.names))


def _plain(privilege: str) -> str:
    return privilege.removesuffix(WITH_GRANT_OPTION)


def _keywords(found: Privileges) -> Keywords:
    return Keywords(tuple(sorted(set(map(_plain, found)))))


def _listed(found: Privileges) -> str:
    return ", ".join(sorted(found))


def _verbs(kind: ObjectKind, wanted: Privileges) -> str:
    if kind == "sequence":
        return "use"
    return "read and write" if "INSERT" in wanted else "read"
