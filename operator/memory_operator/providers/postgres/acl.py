"""Privileges as Postgres stores them: reading ``aclitem`` texts, and what has to be granted and taken away.

An item is ``grantee=letters/grantor`` (the manual, section "Privileges"); an empty grantee is PUBLIC. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import TypeAlias

Privileges: TypeAlias = frozenset[str]
Acl: TypeAlias = Mapping[str, Privileges]

PUBLIC = "public"
WITH_GRANT_OPTION = " WITH GRANT OPTION"
_ITEM = re.compile(r'(?P<grantee>"(?:[^"]|"")*"|[^"=]*)=(?P<letters>[a-zA-Z*]*)/')
_WORDS = {
    "r": "SELECT",
    "a": "INSERT",
    "w": "UPDATE",
    "d": "DELETE",
    "D": "TRUNCATE",
    "x": "REFERENCES",
    "t": "TRIGGER",
    "m": "MAINTAIN",
    "U": "USAGE",
    "C": "CREATE",
    "X": "EXECUTE",
}
# A role of some tenant, as memory_contracts.naming makes them.
_TENANT_ROLE = re.compile(r"mem_\w+_[0-9a-f]{8}_(owner|a|b)")


def parse_acl(items: Sequence[str]) -> Acl:
    """Return grantee → privileges; one that may be passed on is another word, for a tenant's role must not have it."""
    return {_grantee(match["grantee"]): _privileges(match["letters"]) for match in map(_ITEM.match, items) if match}


def lacking(acl: Acl, roles: Collection[str], wanted: Privileges) -> bool:
    """Return whether one of `roles` has less than `wanted`."""
    return any(wanted - acl.get(role, frozenset()) for role in roles)


def excess(acl: Acl, roles: Collection[str], wanted: Privileges, owner: str) -> Acl:
    """Return grantee → what it has beyond `wanted`; nothing is wanted for PUBLIC and for other tenants' roles.

    What a person granted to other roles, such as one for backups, is theirs to decide.
    """
    found = {
        grantee: privileges - (wanted if grantee in roles else frozenset())
        for grantee, privileges in acl.items()
        if grantee != owner and (grantee in roles or grantee == PUBLIC or _TENANT_ROLE.fullmatch(grantee))
    }
    return {grantee: privileges for grantee, privileges in found.items() if privileges}


def _grantee(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text or PUBLIC


@cache
def _privileges(letters: str) -> Privileges:
    pairs = re.findall(r"([a-zA-Z])(\*?)", letters)
    return frozenset(_WORDS.get(letter, letter) + (WITH_GRANT_OPTION if star else "") for letter, star in pairs)
