"""Applying the migrations: in order, once each, in one transaction, under a lock of the schema.

Files are named ``NNNN_pre_title.sql`` or ``NNNN_post_title.sql``. A `pre` one runs before the code that needs it, and
the code of before goes on with it. A `post` one, such as the removal of a column, waits until the code of before is
gone; so no `pre` one may need an earlier `post` one. An applied file never changes: its checksum is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, cast

from memory_contracts.errors import Rejected

_OPENING = """
select pg_advisory_xact_lock(hashtextextended('memory migrations ' || current_schema(), 0));
create table if not exists schema_migrations (
    version    int primary key,
    title      varchar(200) not null,
    stage      varchar(4) not null,
    checksum   varchar(64) not null,
    applied_at timestamptz not null default now()
)
"""


Stage: TypeAlias = Literal["pre", "post"]


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


class Applied(NamedTuple):
    """What is recorded of a migration that ran."""

    stage: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file."""

    version: int
    stage: Stage
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


def code_label() -> str:
    """Return how the ``application_name`` of the API's sessions begins: with the newest migration that it knows."""
    return f"memory {max(each.version for each in all_migrations())}"


def pending(applied: Mapping[int, Applied], available: Sequence[Migration]) -> list[Migration]:
    """Return the migrations still to run, given those that ran.

    Raises `Rejected` when an applied file has changed since, or when a newer build has ended the time of this one.
    """
    known = {each.version: each for each in available}
    for version, (stage, checksum) in applied.items():
        if version not in known:
            if stage == "pre":
                continue
            raise Rejected(f"the schema is at version {version}, newer than this build ({max(known)}); upgrade it")
        if known[version].checksum != checksum:
            raise Rejected(f"{known[version]} was changed after it ran; restore the file")
    return [each for each in available if each.version not in applied]


def due(applied: Mapping[int, Applied], available: Sequence[Migration], *, old_code_gone: bool) -> list[Migration]:
    """Return those of the pending migrations that may run now; in an empty schema there is no code of before."""
    waiting = pending(applied, available)
    return waiting if old_code_gone or not applied else [each for each in waiting if each.stage == "pre"]


async def migrate(
    connection: Connection, available: Sequence[Migration] | None = None, *, old_code_gone: bool = True
) -> list[Migration]:
    """Bring the schema that the connection's search_path names first up to date, and return what ran.

    Concurrent callers wait for one another; the later ones find nothing to do.
    """
    async with connection.transaction():
        await connection.execute(_OPENING)
        applied = await applied_migrations(connection)
        steps = due(applied, all_migrations() if available is None else available, old_code_gone=old_code_gone)
        for step in steps:
            await connection.execute(step.sql)
            await connection.execute(
                "insert into schema_migrations (version, title, stage, checksum) values ($1, $2, $3, $4)",
                step.version,
                step.title,
                step.stage,
                step.checksum,
            )
    return steps


async def applied_migrations(connection: Connection) -> dict[int, Applied]:
    """Return what ran, by version; the table must exist."""
    rows = await connection.fetch("select version, stage, checksum from schema_migrations")
    return {row["version"]: Applied(row["stage"], row["checksum"]) for row in rows}


def _parse(filename: str, sql: str) -> Migration:
    number, stage, title = filename.removesuffix(".sql").split("_", 2)
    if stage not in ("pre", "post"):
        raise Rejected(f"{filename}: a migration is NNNN_pre_title.sql or NNNN_post_title.sql")
    return Migration(int(number), cast(Stage, stage), title, sql)
