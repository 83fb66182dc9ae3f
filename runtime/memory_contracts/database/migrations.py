"""Applying the migrations: in order, once each, in one transaction, under a lock of the schema.

Files are named ``NNNN_pre_title.sql`` (safe before the new code runs) or ``NNNN_post_title.sql`` (after the old code is
gone). An applied file never changes: its checksum is stored and compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

from memory_contracts.errors import Rejected

_OPENING = """
select pg_advisory_xact_lock(hashtextextended('memory migrations ' || current_schema(), 0));
create table if not exists schema_migrations (
    version    int primary key,
    title      varchar(200) not null,
    checksum   varchar(64) not null,
    applied_at timestamptz not null default now()
)
"""


class Connection(Protocol):
    """The part of an asyncpg connection that is needed here."""

    async def execute(self, query: str, *args: Any) -> str:
        """Run statements."""
        ...

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """Run a query and return its rows."""
        ...

    def transaction(self) -> Any:
        """Return an async context manager that commits, or rolls back on an error."""
        ...


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file."""

    version: int
    title: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the SQL."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        return f"migration {self.version:04d} {self.title}"


@cache
def all_migrations() -> tuple[Migration, ...]:
    """Return the migrations of this build, in order."""
    found = (entry for entry in files("memory_contracts.database").iterdir() if entry.name.endswith(".sql"))
    parsed = (_parse(entry.name, entry.read_text("utf-8")) for entry in found)
    return tuple(sorted(parsed, key=lambda each: each.version))


def pending(applied: Mapping[int, str], available: Sequence[Migration]) -> list[Migration]:
    """Return the migrations still to run, given version → checksum of those that ran.

    Raises `Rejected` when an applied file has changed since, or when the database is newer than this build.
    """
    known = {each.version: each for each in available}
    for version, checksum in applied.items():
        if version not in known:
            raise Rejected(f"the schema is at version {version}, newer than this build ({max(known)}); upgrade it")
        if known[version].checksum != checksum:
            raise Rejected(f"{known[version]} was changed after it ran; restore the file")
    return [each for each in available if each.version not in applied]


async def migrate(connection: Connection) -> list[Migration]:
    """Bring the schema that the connection's search_path names first up to date, and return what ran.

    Concurrent callers wait for one another; the later ones find nothing to do.
    """
    async with connection.transaction():
        await connection.execute(_OPENING)
        steps = pending(await applied_migrations(connection), all_migrations())
        for step in steps:
            await connection.execute(step.sql)
            await connection.execute(
                "insert into schema_migrations (version, title, checksum) values ($1, $2, $3)",
                step.version,
                step.title,
                step.checksum,
            )
    return steps


async def applied_migrations(connection: Connection) -> dict[int, str]:
    """Return version → checksum of what ran; the table must exist."""
    rows = await connection.fetch("select version, checksum from schema_migrations")
    return {row["version"]: row["checksum"] for row in rows}


def _parse(filename: str, sql: str) -> Migration:
    number, stage, title = filename.removesuffix(".sql").split("_", 2)
    if stage not in ("pre", "post"):
        raise Rejected(f"{filename}: a migration is NNNN_pre_title.sql or NNNN_post_title.sql")
    return Migration(int(number), title, sql)
