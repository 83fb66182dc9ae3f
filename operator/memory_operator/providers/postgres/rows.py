"""From the rows of ``observe.sql`` to what the plans read. Pure, but for the JSON in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from memory_contracts.database.migrations import Applied
from memory_operator.providers.postgres.acl import parse_acl
from memory_operator.providers.postgres.tenant import (
    DesiredTenant,
    ObjectKind,
    ObservedObjects,
    ObservedRole,
    ObservedSchema,
    ObservedTenant,
    PasswordState,
)

_DEFAULT_KINDS: Mapping[str, ObjectKind] = {"r": "table", "S": "sequence", "f": "function"}
_ROLE_FIELDS = (
    "comment",
    "can_login",
    "privileged",
    "connection_limit",
    "expires",
    "may_connect",
    "may_use_extension",
    "admin_may_be",
    "sessions",
    "oldest_code",
)


def parameters(tenants: Sequence[DesiredTenant]) -> tuple[list[str], list[str], list[str], list[str], list[str]]:
    """Return what the query is asked with, in the order of `tenants`; all of them have the same structure."""
    return (
        [each.schema for each in tenants],
        [each.owner_role for each in tenants],
        [each.slots[0].role for each in tenants],
        [each.slots[1].role for each in tenants],
        list(tenants[0].structure) if tenants else [],
    )


def raw_roles(row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return role → what the row says about it."""
    return json.loads(row["roles"]) if row["roles"] else {}


def observed_tenant(
    row: Mapping[str, Any], passwords: Mapping[str, PasswordState], elsewhere: Sequence[str] = ()
) -> ObservedTenant:
    """Return the tenant of one row; `passwords` says what is known of each role's password."""
    schema = json.loads(row["schema"]) if row["schema"] else None
    return ObservedTenant(
        version=row["version"],
        database=row["database"],
        admin=row["admin"],
        admin_inherits=row["admin_inherits"],
        extension_schema=row["extension_schema"],
        public_may_connect=row["public_may_connect"],
        public_may_use_extension=row["public_may_use_extension"],
        roles={name: _role(found, passwords.get(name, "unknown")) for name, found in raw_roles(row).items()},
        schema=_schema(schema) if schema else None,
        elsewhere=tuple(elsewhere),
    )


def _role(found: Mapping[str, Any], password: PasswordState) -> ObservedRole:
    return ObservedRole(
        **{name: found[name] for name in _ROLE_FIELDS},
        settings=dict(each.split("=", 1) for each in found["settings"] or ()),
        settings_here=tuple(found["settings_here"] or ()),
        member_of=tuple(found["member_of"]),
        password=password,
    )


def _schema(found: Mapping[str, Any]) -> ObservedSchema:
    applied = found["applied"]
    return ObservedSchema(
        comment=found["comment"],
        owner=found["owner"],
        acl=parse_acl(found["acl"] or ()),
        defaults={_DEFAULT_KINDS[kind]: parse_acl(acl) for kind, acl in _known(found["defaults"])},
        objects=tuple(
            ObservedObjects(
                kind=each["kind"],
                owner=each["owner"],
                acl=None if each["acl"] is None else parse_acl(each["acl"]),
                names=tuple(each["names"]),
            )
            for each in found["objects"] or ()
        ),
        lost=None if found["lost"] is None else tuple(found["lost"]),
        applied=None if applied is None else dict(map(_applied, applied)),
    )


def _applied(word: str) -> tuple[int, Applied]:
    version, stage, checksum = word.split(":")
    return int(version), Applied(stage, checksum)


def _known(defaults: Mapping[str, Sequence[str]] | None) -> Iterable[tuple[str, Sequence[str]]]:
    return ((kind, acl) for kind, acl in (defaults or {}).items() if kind in _DEFAULT_KINDS)
