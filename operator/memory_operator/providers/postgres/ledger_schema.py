"""The ledger's schema, made on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected
from memory_operator.providers.postgres.pool import transaction
from memory_operator.providers.postgres.sql import Literal, query, statement

if TYPE_CHECKING:
    from memory_operator.providers.postgres.pool import Connection

SCHEMA = "memory_operator"
MARK = "memory-operator: ledger, version 1"


async def ensure_ledger(connection: Connection) -> None:
    """Make the ledger unless it is there. Raises `Rejected` when something else has its name, or we may not use it."""
    if await ledger_exists(connection):
        return
    async with transaction(connection, statement("begin", lock=Literal(SCHEMA))):
        if not await ledger_exists(connection):
            mark = statement("mark_schema", schema=SCHEMA, mark=Literal(MARK))
            await connection.execute(f"{query('create', 'ledger.sql')};\n{mark}")


async def ledger_exists(connection: Connection) -> bool:
    """Return whether the ledger is there. Raises `Rejected` as `ensure_ledger` does."""
    found = await connection.fetchrow(query("version", "ledger.sql"))
    if found is None:
        return False
    if found["mark"] != MARK:
        says = f"its comment says {found['mark']!r}" if found["mark"] else "it is not the operator's"
        raise Rejected(
            f"schema {SCHEMA} exists, but {says}; rename it, or use an operator of that version",
            reason=Reason.FOREIGN_OBJECT,
        )
    if not found["usable"]:
        raise Rejected(
            f"the ledger in schema {SCHEMA} belongs to role {found['owner']}; all operators of one database have to "
            f"share it: use that role, or GRANT {found['owner']} TO {found['admin']}",
            reason=Reason.FOREIGN_OBJECT,
        )
    return True
