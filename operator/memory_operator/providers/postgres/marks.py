"""The mark that says whose a schema or a role is: its comment. Pure.

The ledger decides who holds a tenant; the mark keeps an object apart that no ledger knows, for instance because the
database was restored without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = re.compile(
    r"memory-operator: belongs to (?P<tenant>\S+)(?: in database (?P<database>.+?))?(?: \(uid (?P<uid>[^()\s]+)\))?"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A claim on one object. Roles belong to the whole server, so theirs names the database too."""

    tenant: str
    uid: str = ""
    database: str | None = None

    def __str__(self) -> str:
        where = f" in database {self.database}" if self.database else ""
        who = f" (uid {self.uid})" if self.uid else ""
        return f"memory-operator: belongs to {self.tenant}{where}{who}"


def parse_mark(comment: str | None) -> Mark | None:
    """Return the mark, or None when the comment is none."""
    match = _MARK.fullmatch(comment or "")
    return Mark(match["tenant"], match["uid"] or "", match["database"]) if match else None


def is_ours(comment: str | None, wanted: Mark, predecessors: frozenset[str]) -> bool:
    """Return whether the comment is `wanted`, or that of an object whose claim this one has taken over.

    A mark without a uid comes from a version that wrote none; the ledger tells who may have it.
    """
    found = parse_mark(comment)
    if found is None or (found.tenant, found.database) != (wanted.tenant, wanted.database):
        return False
    return found.uid in {wanted.uid, "", *predecessors}
