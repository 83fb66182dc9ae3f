"""The changes that the plans consist of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from memory_contracts.database.migrations import Migration


@dataclass(frozen=True, slots=True)
class Execute:
    """Run statements, as the administrator or as the owner of the schema; `slow` ones may take minutes."""

    summary: str
    sql: str = field(repr=False)
    as_owner: bool = False
    slow: bool = False


@dataclass(frozen=True, slots=True)
class SetPassword:
    """Give a login role the password that is wanted for it."""

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
    old_code_gone: bool = False

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        which = ", ".join(map(str, self.steps)) or "whatever is missing"
        return f"migrate schema {self.schema}: {which}"


@dataclass(frozen=True, slots=True)
class EndSessions:
    """Commit what was done so far, then end the sessions of the roles: earlier they could simply log in again."""

    roles: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"end the sessions of {' and '.join(self.roles)}"


Step: TypeAlias = Execute | SetPassword | Migrate | EndSessions
