"""Reads what is there, for one tenant or for all with the same query."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from memory_operator.providers.postgres.passwords import PasswordMemory
from memory_operator.providers.postgres.pool import COMMAND_SECONDS
from memory_operator.providers.postgres.rows import observed_tenant, parameters, raw_roles
from memory_operator.providers.postgres.sql import query
from memory_operator.providers.postgres.tenant import DesiredTenant, ObservedTenant

if TYPE_CHECKING:
    from memory_operator.providers.postgres.pool import Connection

# Each tenant takes about a millisecond.
SWEEP_SECONDS = 60.0


class Observer:
    """Remembers about a server whether stored passwords may be read, which matched, and which schemas were whole.

    Of a schema that was whole only the sweep looks again whether it is.
    """

    def __init__(self, passwords: PasswordMemory) -> None:
        self._passwords = passwords
        self._readable: bool | None = None
        self._whole: set[str] = set()

    async def one(
        self, connection: Connection, desired: DesiredTenant, *, for_deletion: bool, is_new: bool
    ) -> ObservedTenant:
        """Return what is there for one tenant, applied migrations included; of a new one probably nothing."""
        row = await _newcomer(connection, desired) if is_new else None
        if row is None:
            known = desired.schema in self._whole
            (row,) = await self.rows(connection, [desired], with_structure=not known)
        else:
            self._whole.add(desired.schema)
        elsewhere: list[Any] = []
        if for_deletion:
            elsewhere = await connection.fetch(query("elsewhere"), list(desired.roles), desired.schema)
        return await self.tenant(desired, row, [each["described"] for each in elsewhere])

    async def rows(
        self, connection: Connection, tenants: Sequence[DesiredTenant], *, with_structure: bool
    ) -> list[Any]:
        """Return one row for each tenant, in that order."""
        if self._readable is None:
            self._readable = await connection.fetchval(query("verifiers_readable"))
        verifier = query("verifier" if self._readable else "no_verifier")
        lost = _completed("lost") if with_structure else query("not_looked_for")
        text = _completed("tenants").replace("{verifier}", verifier).replace("{lost}", lost)
        seconds = COMMAND_SECONDS if len(tenants) == 1 else SWEEP_SECONDS
        return await connection.fetch(text, *parameters(tenants), timeout=seconds)

    async def tenant(self, desired: DesiredTenant, row: Any, elsewhere: Sequence[str] = ()) -> ObservedTenant:
        """Return what a row says, with what is known of the passwords."""
        states = await self._passwords.states(desired, raw_roles(row), readable=bool(self._readable))
        observed = observed_tenant(row, states, elsewhere)
        if observed.schema and observed.schema.lost is not None:
            (self._whole.discard if observed.schema.lost else self._whole.add)(desired.schema)
        return observed

    def look_again(self) -> None:
        """Ask the server anew what may be read."""
        self._readable = None


async def _newcomer(connection: Connection, desired: DesiredTenant) -> Any:
    return await connection.fetchrow(_completed("newcomer"), desired.schema, *desired.roles)


@cache
def _completed(name: str) -> str:
    """Return the query with the parts that it shares with another."""
    text = query(name)
    for part in ("server", "surroundings", "structure"):
        text = text.replace(f"{{{part}}}", query(part))
    return text
